"""This engine's PPO loop, held after each of its steps until the next `step`: the loop itself, its logs included."""

import tempfile
from pathlib import Path
from typing import Any

from setting import Gate, Task, read_task

from appliance import parts
from appliance.config import PpoConfig, parse
from appliance.engines._choice import make_engine
from appliance.models.build import build_policy
from appliance.models.precision import choose
from appliance.models.tokens import decoder, stop_ids, to_text
from appliance.ppo.feed import prompts_from_ids
from appliance.ppo.journal import Journal
from appliance.ppo.loop import train
from appliance.ppo.pieces import Pieces
from appliance.ppo.state import State, new_state
from appliance.ppo.update import make_learner
from appliance.progress import progress
from appliance.store import rundir

STEPS = 1_000_000
"""More than anyone asks for; nothing that happens every so many steps falls into the measurement."""


def config_of(task: Task) -> PpoConfig:
    """The benchmark's settings as a config of this project."""
    setting = task.setting
    batch = {"steps": STEPS, "rollout": setting.rollout, "minibatch": setting.minibatch}
    kl = {"coef": setting.kl_coef, "target_nats_per_sequence": setting.kl_target}
    ppo = {"epochs": setting.epochs, "clip": setting.clip, "value_clip": setting.clip}
    values = {
        "stage": "ppo",
        "name": "bench",
        "seed": task.seed,
        "device": "cpu",
        "compute": task.compute,
        "compile": task.compiled,
        "policy": {"model": str(task.policy)},
        "reward": {"source": "classifier", "model": str(task.classifier), "label": "POSITIVE", "output": "logit"},
        "prompts": {"source": "prompts.json", "length_tokens": list(setting.prompt_tokens)},
        "sampling": {"response_tokens": list(setting.response_tokens)},
        "batch": batch,
        "ppo": ppo | {"value_coef": setting.value_coef, "gamma": setting.gamma, "lam": setting.lam},
        "kl": kl | {"horizon_sequences": setting.kl_horizon},
        "optimizer": {"learning_rate": task.learning_rate, "schedule": "constant"},
        "evaluation": {"every_steps": STEPS},
        "checkpoint": {"every_steps": STEPS},
        "alarms": {"ended_share": 0},  # these policies have never seen an end token
    }
    config = parse(values, origin="the benchmark")
    assert isinstance(config, PpoConfig)
    return config


def assemble(task: Task) -> tuple[Pieces, State]:
    """What the loop needs, put together as the stage does it; the prompts are the same token ids that TRL gets."""
    config = config_of(task)
    precision = choose(config.device, config.compute)
    policy, loaded = build_policy(config, precision)
    if config.compile:
        policy.compile()
    train_on, held_out = (
        prompts_from_ids(ids, to_text(loaded.tokenizer, ids))
        for ids in (task.prompts("train"), task.prompts("held_out"))
    )
    source, options = parts.load("rewards", "classifier"), config.reward.items()
    judge = source.Options.model_validate({key: value for key, value in options if key != "source"})
    pieces = Pieces(
        learner=make_learner(policy, config),
        engine=make_engine(policy, config.sampling, stop_ids(policy.model.lm, loaded.tokenizer)),
        source=source.make(judge, precision.device),
        opinion=None,
        held_out=held_out,
        decode=decoder(loaded.tokenizer),
    )
    return pieces, new_state(config, train_on, print)


class HeldJournal(Journal):
    """A journal that answers the driver when it has written a step, and returns when the next one is asked for."""

    def __init__(self, gate: Gate, *rest: Any) -> None:
        super().__init__(*rest)
        self.gate = gate

    def step(
        self,
        metrics: dict[str, float],
        *,
        samples: list[dict[str, Any]],
        alarms: list[dict[str, str]] | None = None,
        timings: dict[str, float] | None = None,
    ) -> None:
        """As `Journal.step`; the entry before the first step answers nothing."""
        super().step(metrics, samples=samples, alarms=alarms, timings=timings)
        if timings is not None:
            self.clock.phases |= {name: timings[name] for name in ("generate", "score", "evaluate", "update")}
            figures = {name: metrics[name] for name in ("score_mean", "kl", "kl_coef")}
            tokens = {"response_tokens": timings["response_tokens"]}
            self.gate.answer(self.clock.record(**figures, **tokens, alarms=alarms or []))
        self.clock = self.gate.wait()


def main() -> None:
    """Steps until the driver leaves."""
    task = read_task()
    pieces, state = assemble(task)
    lm = pieces.learner.policy.model.lm

    def export(place: Path) -> dict[str, Any]:
        lm.save_pretrained(place)
        return {}

    with tempfile.TemporaryDirectory() as folder, progress("bench", STEPS) as shown:
        run = rundir.create(Path(folder) / "run", pieces.learner.config)
        journal = HeldJournal(Gate(export), run, STEPS, shown, None)
        train(pieces, state, run, journal, lambda: False, unfinished=None)


if __name__ == "__main__":
    main()
