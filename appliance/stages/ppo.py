"""PPO from a config to a result that is compared with its start.

Flow: config -> policy, prompts, reward source, engine -> ppo.loop.train -> export (model/) -> both models read from disk
and compared (report/) -> model card. What is held while training is let go before the comparison.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from appliance.config import PpoConfig
from appliance.engines._choice import engine_name, make_engine
from appliance.engines.compiled import CompiledEngine
from appliance.errors import RewardUnavailable, StoppedByUser
from appliance.evaluate.answers import Judges
from appliance.models.build import build_policy
from appliance.models.graphs import require_compiler
from appliance.models.parameters import trainable_line
from appliance.models.policy import Policy
from appliance.models.precision import Precision, choose
from appliance.models.tokens import decoder, stop_ids
from appliance.ppo import checkpoint
from appliance.ppo.invariants import settle_reading
from appliance.ppo.journal import Journal
from appliance.ppo.loop import origin, train
from appliance.ppo.loop import resume as go_back
from appliance.ppo.pieces import Pieces, Stop
from appliance.ppo.probe import probe
from appliance.ppo.state import new_state
from appliance.ppo.types import Prompts
from appliance.ppo.update import make_learner
from appliance.progress import progress
from appliance.stages.evaluation import evaluate, judges_of
from appliance.stages.export import export, use_result
from appliance.stages.normalization import normalized, settled
from appliance.stages.prompts import PromptSets, prompt_sets
from appliance.stages.reward_gate import warn_of_gate
from appliance.stages.session import session
from appliance.stages.trackers import tracking
from appliance.store.rundir import RunDir


def run(
    config: PpoConfig, run: RunDir, *, resume: bool = False, earlier: dict[str, float] | None = None
) -> dict[str, Any]:
    """Train in `run`, leave model/ and report/ there, and return the report (report.json's content).

    `earlier` are seconds of stages before this one, for the report. Raises StoppedByUser with a checkpoint written, and
    ApplianceError for what the user must mend.
    """
    with session(run) as stop, _to_be_resumed(run):
        began = time.perf_counter()
        precision = choose(config.device, config.compute)
        if config.compile and precision.device.type == "cpu":
            require_compiler()
        judges = judges_of(config, precision)
        asked = _train(config, run, precision, judges, stop, resume=resume)
        gc.collect()
        if precision.device.type == "cuda":
            torch.cuda.empty_cache()
        if stop():
            raise StoppedByUser(str(checkpoint.found(run.checkpoints)[-1].folder))
        trained = sum(record["seconds"] for record in run.read_log("timings.jsonl"))
        seconds = {**(earlier or {}), "ppo": max(trained, time.perf_counter() - began)}
        return evaluate(config, run, precision, settled(judges, run), prompts=asked, seconds=seconds)


@contextmanager
def _to_be_resumed(run: RunDir) -> Iterator[None]:
    """Adds the command that goes on to the error of a reward source that is gone for now."""
    try:
        yield
    except RewardUnavailable as error:
        command = f"appliance train ppo --run-dir {run.path} --resume"
        raise RewardUnavailable(error.what, f"{error.fix}. Then go on with: {command}") from error


def _train(
    config: PpoConfig, run: RunDir, precision: Precision, judges: Judges, stop: Stop, *, resume: bool
) -> Prompts:
    """Trains and exports; returns the report's prompts."""
    policy, loaded = build_policy(config, precision)
    sets = prompt_sets(config, policy.model.lm, loaded.tokenizer)
    steps = config.batch.steps
    with progress("PPO", steps) as shown, tracking(config, run) as tracker:
        journal = Journal(run, steps, shown, tracker)
        problem = settle_reading(policy, sets.train, config.sampling.response_tokens.high)
        if config.compile:
            policy.compile(learn_entropy=config.ppo.entropy_coef > 0)
        learner = make_learner(policy, config)
        state = new_state(config, sets.train, journal.notice)
        pieces = Pieces(
            learner=learner,
            engine=make_engine(policy, config.sampling, stop_ids(policy.model.lm, loaded.tokenizer)),
            source=judges.source,
            opinion=judges.opinion,
            held_out=sets.held_out,
            decode=decoder(loaded.tokenizer, policy.model.lm),
        )
        pieces = normalized(pieces, sets.train, run, origin=origin(pieces, state), notice=journal.notice)
        unfinished = go_back(pieces, state, run, journal) if resume else None
        if not run.read_log("metrics.jsonl"):  # a resumed run has said it before
            _introduce(config, policy, sets, journal, problem)
        shown.begin_at(state.step)
        if state.step < steps:
            if config.compile:
                journal.notice("compiling the policy: from ten seconds to two minutes the first time")
            longest, most = int(sets.train.lengths.max()), config.sampling.response_tokens.high
            probe(learner, longest, most, chunk=state.chunks.update)
            if isinstance(pieces.engine, CompiledEngine):
                with policy.precision.active():
                    pieces.engine.warm_up()
        train(pieces, state, run, journal, stop, unfinished=unfinished)
        fallback = getattr(pieces.engine, "fallback", None)
        if fallback:
            journal.notice(f"generation went on without CUDA graphs: {fallback}")
        use_result(learner, state, run, journal.notice)
        export(learner, loaded, run)
    return sets.report


def _introduce(
    config: PpoConfig, policy: Policy, sets: PromptSets, journal: Journal, packing_problem: str | None
) -> None:
    """Says what was noticed in the prompts, and what will run."""
    warn_of_gate(config.reward, journal)
    for note in sets.notes:
        journal.notice(note)
    if packing_problem is not None:
        journal.notice(f"this model is read with padding, which is slower: {packing_problem}")
    if config.policy.train == "lora" and config.policy.lora.dropout:
        journal.notice(
            f"policy.lora.dropout {config.policy.lora.dropout} is for supervised fine-tuning: PPO trains without it, "
            "or the probability ratio would not be 1 before an update"
        )
    computing = f"{policy.device.type}, {policy.precision.compute}{', compiled' if policy.compiled else ''}"
    journal.notice(
        f"{computing}, engine {engine_name(policy, config.sampling.engine)}; "
        f"{trainable_line(policy)}; {len(sets.train)} prompts to train on, "
        f"{len(sets.held_out)} held out, {len(sets.report)} for the report"
    )
