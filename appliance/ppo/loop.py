"""The one flow of PPO: prompts -> generate -> evaluate -> score -> advantages -> update -> log -> checkpoint.

Data flow of a step: the feed gives prompts [B, P], the dice each response's limit [B] and random numbers [B, R]; the
engine makes responses [B, R]; one reading of policy and reference makes the rollout; the reward source's scores [B] make
it a batch; the update moves the weights minibatch by minibatch. What is carried to the next step is in `State` alone.
"""

import hashlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from appliance.config import to_yaml
from appliance.errors import ApplianceError, RewardUnavailable, StoppedByUser
from appliance.ppo import checkpoint
from appliance.ppo.clock import Clock
from appliance.ppo.held_out import measure_held_out
from appliance.ppo.invariants import check_start
from appliance.ppo.journal import Journal
from appliance.ppo.kl import next_kl_coef
from appliance.ppo.metrics import part_metrics, response_kl, step_metrics
from appliance.ppo.pieces import Pieces, Stop
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.scoring import Shaped, make_batch, score, shape_scores
from appliance.ppo.state import State
from appliance.ppo.types import Batch
from appliance.ppo.update import Interrupted, Progress, update
from appliance.store.files import put_back_all
from appliance.store.rundir import RunDir


@dataclass(frozen=True)
class Work:
    """One step under way: what was collected, the plan of its minibatches, and how far they are."""

    batch: Batch
    plan: Tensor
    raw: Tensor
    parts: Tensor | None
    shaped: Tensor
    trained: Tensor
    saturated: float
    progress: Progress


def train(pieces: Pieces, state: State, run: RunDir, journal: Journal, stop: Stop, *, unfinished: Work | None) -> None:
    """Run the steps that are left; `unfinished` is a step that a checkpoint was written in the middle of.

    Raises StoppedByUser, with a checkpoint written, soon after `stop` begins to say True; InvariantError when the engine's
    numbers contradict each other; RewardUnavailable, with a checkpoint written too; ApplianceError for what the user
    must mend.
    """
    learner = pieces.learner
    config, policy = learner.config, learner.policy
    work, checked = unfinished, unfinished is not None
    if state.step == 0 and not run.read_log("metrics.jsonl"):  # a run that was stopped in its first step has it
        try:
            measured, samples = measure_held_out(pieces, state)
        except RewardUnavailable as error:
            raise _kept(error, save(pieces, state, run, None)) from error
        journal.step({"step": 0} | measured, samples=samples)
    while state.step < config.batch.steps:
        clock = Clock(policy.device)
        if work is None:
            before, dice = state.record(), state.dice.state()
            silent: RewardUnavailable | None = None
            try:
                work = None if stop() else collect(pieces, state, clock)
            except RewardUnavailable as error:
                silent = error
            if work is None or stop():  # nothing was learned from it yet, so the step begins anew after the resume
                state.restore(before)
                state.dice.restore(dice)
                folder = save(pieces, state, run, None)
                if silent is not None and not stop():
                    raise _kept(silent, folder)
                raise StoppedByUser(str(folder))
        if not bool(work.batch.rollout.logprobs.isfinite().all()):
            raise ApplianceError(
                f"after step {state.step} the policy's log-probabilities are not finite: its weights have overflowed",
                "lower optimizer.learning_rate (with compute: bf16 try fp32) and begin anew; earlier checkpoints are whole",
            )
        if not checked:
            check_start(policy, work.batch, config, at_reference=state.step == 0, rows=state.chunks.update.size)
            checked = True
        try:
            with clock.phase("update"):
                update(
                    learner,
                    work.batch,
                    work.plan,
                    work.progress,
                    step=state.step,
                    kl_coef=state.kl_coef,
                    chunk=state.chunks.update,
                    stop=stop,
                )
        except Interrupted:
            raise StoppedByUser(str(save(pieces, state, run, work))) from None
        _finish(pieces, state, run, journal, work, clock)
        work = None


def collect(pieces: Pieces, state: State, clock: Clock) -> Work:
    """A batch from the next prompts, and the order in which its rows will be learned from."""
    config, policy, chunks = pieces.learner.config, pieces.learner.policy, state.chunks
    size = config.batch.rollout
    prompts = state.feed.take(size).to(policy.device)
    limits, uniforms = state.dice.responses(size, config.sampling.response_tokens)
    with clock.phase("generate"), policy.precision.active():
        responses = sample(
            pieces.engine,
            prompts,
            limits,
            uniforms,
            decode=pieces.decode,
            chunk=chunks.generate,
        )
    with clock.phase("evaluate"):
        rollout = evaluate(policy, prompts, responses, temperature=config.sampling.temperature, chunk=chunks.evaluate)
    with clock.phase("score"):
        scored = score(pieces.source, prompts, responses, chunk=chunks.score)
        shaped = shape_scores(scored.total, responses.ended.cpu(), config.scores, state.moments)
    batch = make_batch(
        rollout,
        shaped,
        ppo=config.ppo,
        kl=config.kl,
        kl_coef=state.kl_coef,
        whiten_rewards=config.scores.whiten_rewards,
    )
    plan = state.dice.plan(size, config.batch.minibatch, config.ppo.epochs)
    return Work(batch, plan, scored.total, scored.parts, shaped.scores, shaped.trained, shaped.saturated, Progress())


def _finish(pieces: Pieces, state: State, run: RunDir, journal: Journal, work: Work, clock: Clock) -> None:
    """Measure a finished step, steer the KL price, score the held-out prompts, log, and checkpoint where it is due."""
    config, before = pieces.learner.config, state.record()
    metrics = step_metrics(
        work.batch,
        work.raw,
        Shaped(work.shaped, work.trained, work.saturated),
        work.progress,
        step=state.step,
        kl_coef=state.kl_coef,
        microbatch=state.chunks.update.size,
    ) | part_metrics(pieces.source, work.parts)
    rollout = work.batch.rollout
    if config.kl.adaptive:
        state.kl_coef = next_kl_coef(
            state.kl_coef,
            response_kl(rollout.logprobs, rollout.ref_logprobs, rollout.responses.mask),
            target=config.kl.target_nats_per_sequence,
            sequences=len(work.raw),
            horizon=config.kl.horizon_sequences,
        )
    state.step += 1
    last = state.step == config.batch.steps
    keeps = last or state.step % config.checkpoint.every_steps == 0
    alarms = state.watch.look(metrics)
    samples: list[dict[str, object]] = []
    if keeps or state.step % config.evaluation.every_steps == 0:
        try:
            with clock.phase("held_out"):
                measured, samples = measure_held_out(pieces, state)
        except RewardUnavailable as error:  # all minibatches are done; only this is left of the step after the resume
            state.restore(before)
            raise _kept(error, save(pieces, state, run, work)) from error
        metrics |= measured
    journal.step(metrics, samples=samples, alarms=alarms, timings=clock.record(int(rollout.responses.lengths.sum())))
    if keeps:
        value = metrics["eval_score_mean"] - config.kl.coef * metrics["eval_kl"]
        if math.isfinite(value) and (state.best is None or value > state.best["objective"]):
            state.best = {"step": state.step, "objective": value}
        save(pieces, state, run, None)
        checkpoint.prune(
            run.checkpoints, keep=config.checkpoint.keep, best=int(state.best["step"]) if state.best else None
        )


def _kept(error: RewardUnavailable, checkpoint_folder: Path) -> RewardUnavailable:
    """The error with where the run stands."""
    return RewardUnavailable(f"{error.what}. The run is kept as it was, in {checkpoint_folder}", error.fix)


def origin(pieces: Pieces, state: State) -> dict[str, str]:
    """SHA-256 of the config and of the training prompts' tokens: a checkpoint goes on with the same ones only."""
    ids, lengths = state.feed.prompts.ids, state.feed.prompts.lengths
    return {
        "config": hashlib.sha256(to_yaml(pieces.learner.config).encode()).hexdigest(),
        "prompts": hashlib.sha256(ids.numpy().tobytes() + lengths.numpy().tobytes()).hexdigest(),
    }


def save(pieces: Pieces, state: State, run: RunDir, work: Work | None) -> Path:
    """Write a checkpoint; with `work`, in the middle of a step. Returns its folder."""
    record = {"state": state.record(), "origin": origin(pieces, state)}
    interlude, minibatch = None, 0
    if work is not None:
        interlude = checkpoint.Interlude(work.batch, work.plan, work.raw, work.shaped, work.trained, work.parts)
        record |= {"progress": work.progress.state(), "saturated": work.saturated}
        minibatch = work.progress.minibatch
    folder = checkpoint.folder_of(run.checkpoints, state.step, minibatch)
    checkpoint.write(folder, pieces.learner, checkpoint.random_states(state.dice), record, interlude)
    return folder


def resume(pieces: Pieces, state: State, run: RunDir, journal: Journal) -> Work | None:
    """Go back to the newest whole checkpoint, logs included; returns the step it stands in the middle of, if any.

    Without any whole checkpoint the run begins anew. Raises ApplianceError when a checkpoint is another model's.
    """
    put_back_all(run.checkpoints)
    for place in reversed(checkpoint.found(run.checkpoints)):
        damage = checkpoint.damage(place.folder)
        if damage is not None:
            journal.notice(f"{damage}: going on from the checkpoint before it")
            shutil.rmtree(place.folder)  # or pruning would count it as the newest and remove whole ones
            continue
        ours, theirs = origin(pieces, state), checkpoint.origin_of(place.folder)
        changed = [name for name in ours if ours[name] != theirs.get(name)]
        if changed:
            raise ApplianceError(
                f"{place.folder} belongs to this run as it was: the {' and the '.join(changed)} changed since",
                "put back what was changed, or begin a new run",
            )
        record, interlude = checkpoint.read(place.folder, pieces.learner, state.dice, verified=True)
        state.restore(record["state"])
        journal.at_step = state.step
        run.truncate_logs(state.step)
        journal.notice(f"going on after step {state.step} ({place.folder.name})")
        if interlude is None:
            return None
        return Work(
            interlude.batch,
            interlude.plan,
            interlude.raw,
            interlude.parts,
            interlude.shaped,
            interlude.trained,
            record["saturated"],
            Progress(**record["progress"]),
        )
    run.truncate_logs(-1)
    journal.notice("there is no checkpoint yet: beginning anew")
    return None
