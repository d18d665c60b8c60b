"""The loop over a tiny GPT-2 in this process: what it measures when, what it keeps, when it refuses to go on."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from appliance.engines._choice import make_engine
from appliance.errors import ApplianceError, RewardUnavailable, StoppedByUser
from appliance.models.build import build_policy
from appliance.ppo import checkpoint, loop
from appliance.ppo.feed import prompts_from_ids
from appliance.ppo.invariants import InvariantError
from appliance.ppo.journal import Journal
from appliance.ppo.metrics import EVAL_METRICS, METRICS
from appliance.ppo.pieces import Pieces
from appliance.ppo.state import State, new_state
from appliance.ppo.update import make_learner
from appliance.progress import Progress
from appliance.store.rundir import RunDir

PROMPTS = [[2 + row, 5, 9 + row][: 1 + row % 3] for row in range(12)]
SMALL = {
    "batch": {"steps": 3, "rollout": 4, "minibatch": 2},
    "sampling": {"response_tokens": [2, 4]},
    "evaluation": {"every_steps": 2},
    "checkpoint": {"every_steps": 2},
    "ppo": {"epochs": 1},
    "scores": {"scale": "running", "center": True},
}


def even_tokens(prompts: list[str], responses: list[str]) -> torch.Tensor:
    """A score for each word whose number is even."""
    return torch.tensor([sum(int(word[1:]) % 2 == 0 for word in text.split()) for text in responses]).float()


def decode(prompts: list[list[int]], responses: list[list[int]]) -> list[str]:
    """Words named after their tokens."""
    return [" ".join(f"w{i}" for i in row) for row in responses]


class Loop:
    """A run over the tiny GPT-2 in a folder; the same folder again is the same run resumed."""

    def __init__(self, config: Any, precision: Any, folder: Path, **changed: Any) -> None:
        self.run = RunDir(folder)
        policy, _ = build_policy(config, precision)
        prompts = prompts_from_ids(PROMPTS, [" ".join(map(str, row)) for row in PROMPTS])
        pieces: dict[str, Any] = {
            "learner": make_learner(policy, config),
            "engine": make_engine(policy, config.sampling, (0,)),
            "source": even_tokens,
            "opinion": None,
            "held_out": prompts.rows(torch.arange(3)),
            "decode": decode,
        }
        self.pieces = Pieces(**(pieces | changed))
        shown = Progress("PPO", config.batch.steps, 0, bars=False, stream=StringIO())
        self.journal = Journal(self.run, config.batch.steps, shown, None)
        self.state: State = new_state(config, prompts.rows(torch.arange(3, 12)), self.journal.notice)

    def train(self, stop: Callable[[], bool] = lambda: False, *, resume: bool = False) -> list[dict[str, Any]]:
        """The metrics of the whole run."""
        unfinished = loop.resume(self.pieces, self.state, self.run, self.journal) if resume else None
        loop.train(self.pieces, self.state, self.run, self.journal, stop, unfinished=unfinished)
        return self.run.read_log("metrics.jsonl")


@pytest.fixture
def begin(folder_of: Any, ppo_config: Any, precision: Any, tmp_path: Path) -> Callable[..., Loop]:
    """begin(section={...}, source=...): a Loop; sections replace those of SMALL key by key."""

    def make(name: str = "run", pieces: dict[str, Any] | None = None, **sections: Any) -> Loop:
        chosen = {key: SMALL.get(key, {}) | sections.get(key, {}) for key in SMALL.keys() | sections.keys()}
        (tmp_path / name).mkdir(exist_ok=True)
        return Loop(ppo_config(folder_of("gpt2"), **chosen), precision, tmp_path / name, **(pieces or {}))

    return make


def test_each_step_has_every_metric_and_held_out_ones_when_they_are_due(begin):
    metrics = begin().train()
    held_out = EVAL_METRICS.keys() - {"eval_opinion_mean"}
    assert [line["step"] for line in metrics] == [0, 1, 2, 3]
    assert metrics[0].keys() == {"step"} | held_out  # before the first step
    assert metrics[1].keys() == METRICS.keys()
    assert metrics[2].keys() == METRICS.keys() | held_out  # every second
    assert metrics[3].keys() == METRICS.keys() | held_out  # the last
    assert [line["sequences"] for line in metrics[1:]] == [4, 8, 12]


def test_held_out_prompts_are_scored_at_checkpoints_too(begin):
    metrics = begin(evaluation={"every_steps": 9}, checkpoint={"every_steps": 1}).train()
    assert all("eval_score_mean" in line for line in metrics)


def test_only_as_many_checkpoints_stay_as_are_asked_for_and_the_best(begin, monkeypatch):
    values = {0: 0.0, 1: 1.0, 2: 5.0, 3: 2.0, 4: 3.0, 5: 1.0}
    plain = loop.measure_held_out

    def told(pieces: Pieces, state: State) -> Any:
        measured, samples = plain(pieces, state)
        return measured | {"eval_score_mean": values[state.step], "eval_kl": 0.0}, samples

    monkeypatch.setattr(loop, "measure_held_out", told)
    one = begin(batch={"steps": 5}, checkpoint={"every_steps": 1, "keep": 2})
    one.train()
    assert [place.step for place in checkpoint.found(one.run.checkpoints)] == [2, 4, 5]
    assert one.state.best == {"step": 2, "objective": 5.0}


def test_the_best_is_by_score_minus_the_price_of_its_kl(begin, monkeypatch):
    kls = {0: 0.0, 1: 1.0, 2: 30.0, 3: 40.0}
    plain = loop.measure_held_out

    def told(pieces: Pieces, state: State) -> Any:
        measured, samples = plain(pieces, state)
        return measured | {"eval_score_mean": float(state.step), "eval_kl": kls[state.step]}, samples

    monkeypatch.setattr(loop, "measure_held_out", told)
    one = begin(checkpoint={"every_steps": 1}, kl={"coef": 0.5})
    one.train()
    assert one.state.best == {"step": 1, "objective": 0.5}  # 1 - .5; 2 - 15; 3 - 20


def test_the_kl_price_follows_the_kl_of_the_step_and_holds_from_the_next_on(begin):
    kl = {"coef": 0.2, "adaptive": True, "target_nats_per_sequence": 6.0, "horizon_sequences": 40}
    metrics = begin(kl=kl).train()
    assert metrics[1]["kl_coef"] == 0.2
    # error = clip(kl / 6 - 1, -.2, .2) is -.2 near the start; 4 of 40 responses: 1 - .2 * .1 = .98 a step
    assert [line["kl"] < 4.8 for line in metrics[1:3]] == [True, True]
    assert [line["kl_coef"] for line in metrics[2:]] == pytest.approx([0.2 * 0.98, 0.2 * 0.98**2])
    fixed = begin("fixed", kl={"coef": 0.2, "adaptive": False}).train()
    assert {line["kl_coef"] for line in fixed[1:]} == {0.2}


def test_every_training_prompt_comes_before_any_comes_again(begin):
    asked: list[str] = []

    def listen(prompts: list[str], responses: list[str]) -> torch.Tensor:
        asked.extend(prompts)
        return even_tokens(prompts, responses)

    begin(
        "run", {"source": listen}, batch={"steps": 2, "rollout": 9, "minibatch": 9}, evaluation={"every_steps": 9}
    ).train()
    rollouts = [asked[3:12], asked[12:21]]  # after three held-out ones
    train = sorted(" ".join(map(str, row)) for row in PROMPTS[3:])
    assert [sorted(rollout) for rollout in rollouts] == [train, train]


def test_numbers_that_contradict_each_other_end_the_run_before_the_first_optimizer_step(begin, monkeypatch):
    one = begin()
    weights = [p.detach().clone() for p in one.pieces.learner.parameters.values()]
    plain = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", lambda *a, **o: _shifted(plain(*a, **o)))
    with pytest.raises(InvariantError, match="ratio is not 1"):
        one.train()
    assert all(torch.equal(a, b) for a, b in zip(weights, one.pieces.learner.parameters.values(), strict=True))
    assert [line["step"] for line in one.run.read_log("metrics.jsonl")] == [0]


def _shifted(rollout: Any) -> Any:
    from dataclasses import replace

    return replace(rollout, logprobs=rollout.logprobs - 0.5)


def test_a_score_that_is_no_number_ends_the_run_with_the_text(begin):
    def broken(prompts: list[str], responses: list[str]) -> torch.Tensor:
        return torch.full((len(prompts),), float("nan"))

    with pytest.raises(ApplianceError, match="the reward source gave nan for 3 of 3 texts"):
        begin("run", {"source": broken}).train()


def test_a_run_that_is_stopped_before_its_first_step_measures_once(begin):
    whole = begin("whole").train()
    with pytest.raises(StoppedByUser) as stopped:
        begin().train(lambda: True)
    assert stopped.value.checkpoint.endswith("step-000000")
    assert begin().train(resume=True) == whole


@pytest.mark.parametrize("asked", range(2, 12))
def test_a_run_that_is_stopped_whenever_it_looks_ends_the_same(asked, begin):
    """The `asked`-th time that the loop looks whether it should stop, it should."""
    whole = begin("whole").train()
    looks = iter(range(1, 99))
    with pytest.raises(StoppedByUser):
        begin().train(lambda: next(looks) >= asked)
    assert begin().train(resume=True) == whole


@pytest.mark.parametrize(
    "sections",
    [
        {"policy": {"train": "lora"}},
        {"policy": {"train": "top_layers", "top_layers": 1}},
        {"kl": {"placement": "loss", "estimator": "k2"}},
        {"ppo": {"epochs": 2, "stop_kl": 1e-9}},  # the epochs end after their first minibatch but one
        {"batch": {"steps": 3, "rollout": 4, "minibatch": 2, "microbatch": 1}},
    ],
    ids=["lora", "top layers", "kl in the loss", "stopped early", "micro-batches"],
)
@pytest.mark.parametrize("asked", [4, 6])
def test_a_step_that_was_left_in_the_middle_goes_on_there(asked, sections, begin):
    whole = begin("whole", **sections).train()
    looks = iter(range(1, 99))
    with pytest.raises(StoppedByUser):
        begin(**sections).train(lambda: next(looks) >= asked)
    assert begin(**sections).train(resume=True) == whole


@pytest.mark.parametrize("call", range(1, 7))  # held out, step 1, step 2, held out, step 3, held out
def test_a_run_whose_reward_is_gone_for_a_while_ends_the_same(call, begin):
    whole = begin("whole").train()
    calls = iter(range(1, 99))

    def gone(prompts: list[str], responses: list[str]) -> torch.Tensor:
        if next(calls) == call:
            raise RewardUnavailable("the server is silent", "start it")
        return even_tokens(prompts, responses)

    one = begin("run", {"source": gone})
    with pytest.raises(RewardUnavailable, match=r"the server is silent\. The run is kept as it was, in") as told:
        one.train()
    kept = {
        1: "step-000000",
        2: "step-000000",
        3: "step-000001",
        4: "step-000001+2",
        5: "step-000002",
        6: "step-000002+2",
    }
    assert told.value.what.endswith(f"checkpoints/{kept[call]}")
    assert told.value.fix == "start it"
    assert begin().train(resume=True) == whole


def test_who_is_stopped_while_the_reward_is_gone_was_stopped(begin):
    def gone(prompts: list[str], responses: list[str]) -> torch.Tensor:
        if len(prompts) == 4:
            raise RewardUnavailable("the server is silent", "start it")
        return even_tokens(prompts, responses)

    looks = iter(range(1, 99))
    with pytest.raises(StoppedByUser):
        begin("run", {"source": gone}).train(lambda: next(looks) > 1)
    assert begin().train(resume=True) == begin("whole").train()


class TwoParts:
    """Even words, and the number of words where there are at least two: a Composite without any file."""

    names = ("even", "words")

    def __call__(self, prompts: list[str], responses: list[str]) -> torch.Tensor:
        return self.combine(self.parts(prompts, responses))

    def parts(self, prompts: list[str], responses: list[str]) -> torch.Tensor:
        words = torch.tensor([float(len(text.split())) for text in responses])
        return torch.stack([even_tokens(prompts, responses), torch.where(words > 2, words, torch.nan)], dim=1)

    def normalized(self, parts: torch.Tensor) -> torch.Tensor:
        return parts / 2

    def added(self, parts: torch.Tensor) -> torch.Tensor:
        return (parts / 2).nan_to_num()

    def combine(self, parts: torch.Tensor) -> torch.Tensor:
        return self.added(parts).sum(dim=1)


def test_each_part_of_a_reward_is_logged_and_the_parts_sum_up(begin):
    metrics = begin("run", {"source": TwoParts(), "opinion": TwoParts()}).train()
    for line in metrics[1:]:
        assert line["added/even"] + line["added/words"] == pytest.approx(line["score_mean"], abs=1e-6)
        assert line["normalized/even"] == pytest.approx(line["score/even"] / 2)
        assert line["asked_share/even"] == 1.0
    for line in (metrics[0], metrics[2], metrics[3]):
        for of, total in (("eval_", "eval_score_mean"), ("eval_opinion_", "eval_opinion_mean")):
            assert line[f"{of}added/even"] + line[f"{of}added/words"] == pytest.approx(line[total], abs=1e-6)


@pytest.mark.parametrize("asked", [2, 3, 4, 6])
def test_parts_survive_a_stop_in_the_middle_of_a_step(asked, begin):
    pieces = {"source": TwoParts()}
    whole = begin("whole", pieces).train()
    looks = iter(range(1, 99))
    with pytest.raises(StoppedByUser):
        begin("run", pieces).train(lambda: next(looks) >= asked)
    assert begin("run", pieces).train(resume=True) == whole


def test_a_run_without_any_whole_checkpoint_begins_anew(begin):
    whole = begin("whole").train()
    with pytest.raises(StoppedByUser):
        begin().train(lambda: True)
    one = begin()
    (one.run.checkpoints / "step-000000" / "manifest.json").unlink()
    assert one.train(resume=True) == whole
    said = [event["what"] for event in one.run.read_log("events.jsonl")]
    assert "there is no checkpoint yet: beginning anew" in said


def test_a_checkpoint_of_another_model_is_refused(begin):
    begin(batch={"steps": 2}).train()
    with pytest.raises(ApplianceError, match="the config changed since"):
        begin(policy={"train": "lora"}, batch={"steps": 2}).train(resume=True)


def test_a_checkpoint_of_other_prompts_is_refused(begin):
    begin(batch={"steps": 2}).train()
    again = begin(batch={"steps": 2})
    again.state.feed.prompts.ids[0, 0] += 1
    with pytest.raises(ApplianceError, match="the prompts changed since"):
        again.train(resume=True)


def test_weights_that_overflow_end_the_run_with_a_message(begin):
    one = begin(optimizer={"learning_rate": 1e38}, batch={"steps": 4}, evaluation={"every_steps": 9})
    with pytest.raises(ApplianceError) as caught:
        one.train()
    assert caught.value.what.startswith("after step 1 the policy's log-probabilities are not finite")
    assert "lower optimizer.learning_rate" in caught.value.fix
    assert not isinstance(caught.value, InvariantError)


def test_tiny_rewards_do_not_stop_the_run(begin):
    def tiny(prompts: list[str], responses: list[str]) -> torch.Tensor:
        return even_tokens(prompts, responses) * 1e-4

    metrics = begin("run", {"source": tiny}, scores={"scale": "none", "center": False}).train()
    assert [line["step"] for line in metrics] == [0, 1, 2, 3]


def test_a_damaged_newest_checkpoint_is_removed(begin):
    """Else pruning would count it among the newest, and remove whole ones in its stead."""
    begin(checkpoint={"every_steps": 1, "keep": 2}).train()
    one = begin(checkpoint={"every_steps": 1, "keep": 2})
    (one.run.checkpoints / "step-000003" / "weights.safetensors").write_bytes(b"x")
    loop.resume(one.pieces, one.state, one.run, one.journal)
    assert one.state.step == 2
    assert 3 not in [place.step for place in checkpoint.found(one.run.checkpoints)]
    assert not (one.run.checkpoints / "step-000003").exists()


def test_a_checkpoint_whose_replacement_was_killed_between_the_renames_is_taken(begin):
    whole = begin("whole").train()
    begin().train()
    place = begin().run.checkpoints / "step-000003"
    shutil.copytree(place, place.with_name(".step-000003.tmp"))  # the new one, complete, and the old one moved away
    place.rename(place.with_name(".step-000003.old"))
    one = begin()
    loop.resume(one.pieces, one.state, one.run, one.journal)
    assert one.state.step == 3
    assert place.is_dir()
    assert begin().train(resume=True) == whole


@pytest.mark.parametrize("stop_at_eos", [True, False])
def test_responses_that_may_not_end_sound_no_alarm_for_it(stop_at_eos, begin):
    sections = {"sampling": {"stop_at_eos": stop_at_eos}, "alarms": {"ended_share": 1.0}}
    looks = iter(range(1, 99))
    with pytest.raises(StoppedByUser):
        begin(**sections).train(lambda: next(looks) == 3)
    one = begin(**sections)
    one.train(resume=True)
    names = {event["name"] for event in one.run.read_log("events.jsonl") if event["kind"] == "alarm"}
    assert ("ended" in names) == stop_at_eos
    assert one.state.watch.may_end == stop_at_eos
