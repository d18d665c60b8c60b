"""The scales of a blend: measured once on the starting policy's own responses, kept in the run, and used ever after.

The run's reward_normalization.json is what training, resuming, evaluation and `appliance score --run` read, so that all
of them give the same number for the same text.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from appliance.errors import ApplianceError
from appliance.evaluate.answers import Judges
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.memory import ChunkSize, Notice
from appliance.ppo.pieces import Pieces
from appliance.ppo.rollout import sample
from appliance.ppo.types import Prompts, Responses, ScoreFn
from appliance.rewards._blending import Blend, Scale, scales_of
from appliance.store.files import write_json
from appliance.store.rundir import RunDir

FILE = "reward_normalization.json"


def settled(judges: Judges, run: RunDir) -> Judges:
    """The judges with the scales of the run, as they are where none is needed. Raises ApplianceError without its file."""
    if not _open(judges):
        return judges
    if not (run.path / FILE).exists():
        raise ApplianceError(
            f"{run.path} has no {FILE}: it stopped before its reward was normalized",
            f"let it begin: appliance train ppo --run-dir {run.path} --resume",
        )
    return _with(judges, _read(run.path / FILE))


def normalized(pieces: Pieces, prompts: Prompts, run: RunDir, *, origin: dict[str, str], notice: Notice) -> Pieces:
    """The pieces with every scale that is needed: the run's own, or measured now and written into the run.

    To be called while the policy is still the starting one. Its responses are to `prompts`, again from the first one where
    there are too few, with random numbers of their own, so that the rest of the run is as it would be without. `origin`
    is what the numbers belong to; those of another config or other prompts are not used. Raises ApplianceError when
    they stand in a run that has checkpoints, and for a source that cannot be normalized.
    """
    judges = Judges(pieces.source, pieces.opinion)
    if not _open(judges):
        return pieces
    file = run.path / FILE
    if file.exists() and _read(file).get("origin") != origin:
        if run.checkpoints.exists():
            raise ApplianceError(
                f"{file} belongs to this run as it was: the config or the prompts changed since",
                "put back what was changed, or begin a new run",
            )
        file.unlink()
    if not file.exists():
        measured = _measured(judges, pieces, prompts, notice)
        for key, samples in measured["samples"].items():
            told = ", ".join(f"{name} {of['mean']:.4g} +- {of['std']:.4g}" for name, of in measured[key].items())
            notice(f"{key.replace('_', ' ')} on {samples} responses of the starting policy: {told}")
        write_json(file, {"origin": origin} | measured)
    found = _with(judges, _read(file))
    return replace(pieces, source=found.source, opinion=found.opinion)


def _open(judges: Judges) -> dict[str, Blend]:
    """The blends that lack a scale, by their place in the config."""
    both = {"reward": judges.source, "second_opinion": judges.opinion}
    return {key: source for key, source in both.items() if isinstance(source, Blend) and source.unsettled}


def _with(judges: Judges, kept: dict[str, Any]) -> Judges:
    def of(key: str, source: ScoreFn) -> ScoreFn:
        if not isinstance(source, Blend) or not source.unsettled:
            return source
        scales = {name: Scale(**scale) for name, scale in kept.get(key, {}).items()}
        missing = [name for name in source.unsettled if name not in scales]
        if missing:
            raise ApplianceError(
                f"the run's {FILE} has no numbers for {missing[0]!r} of {key}; it has {', '.join(scales) or 'none'}",
                "use the run's own reward, or name its sources as the run does",
            )
        return source.settled(scales)

    opinion = None if judges.opinion is None else of("second_opinion", judges.opinion)
    return Judges(of("reward", judges.source), opinion)


def _measured(judges: Judges, pieces: Pieces, prompts: Prompts, notice: Notice) -> dict[str, Any]:
    """How many responses each blend was measured on, and the scales of its parts."""
    blends = _open(judges)
    asked, responses = _responses(max(blend.samples for blend in blends.values()), pieces, prompts, notice)
    found: dict[str, Any] = {"samples": {key: blend.samples for key, blend in blends.items()}}
    for key, blend in blends.items():
        scores = blend.each(asked.texts[: blend.samples], responses.texts[: blend.samples])  # [N, C]
        wanted = [column for column, name in enumerate(blend.names) if name in blend.unsettled]
        found[key] = {name: asdict(scale) for name, scale in scales_of(blend.unsettled, scores[:, wanted]).items()}
    return found


@torch.no_grad()
def _responses(count: int, pieces: Pieces, prompts: Prompts, notice: Notice) -> tuple[Prompts, Responses]:
    config, policy = pieces.learner.config, pieces.learner.policy
    generator = torch.Generator().manual_seed(seed_for(config.seed, "reward normalization"))
    order = torch.randperm(len(prompts), generator=generator)
    rows = order.repeat(-(-count // len(order)))[:count]
    limits, uniforms = draw_responses(count, config.sampling.response_tokens, generator)
    asked = prompts.rows(rows).to(policy.device)
    chunk = ChunkSize("generation", config.batch.rollout, notice)
    with policy.precision.active():
        return asked, sample(pieces.engine, asked, limits, uniforms, decode=pieces.decode, chunk=chunk)


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ApplianceError(
            f"{file} is damaged: {error}", "put back the file as it was; without it the run's scores cannot be repeated"
        ) from None
    return found
