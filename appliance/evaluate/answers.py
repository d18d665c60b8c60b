"""The same prompts answered by the starting policy and by the result, both read from disk, with the same random numbers."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from appliance.config import PpoConfig
from appliance.engines._choice import make_engine
from appliance.errors import ApplianceError
from appliance.evaluate.records import Answers, Comparison
from appliance.models.build import frozen_policy
from appliance.models.loading import load_policy_model
from appliance.models.policy import Policy
from appliance.models.precision import Precision
from appliance.models.start import load_start
from appliance.models.tokens import decoder, stop_ids
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.invariants import settle_reading
from appliance.ppo.memory import ChunkSize, Notice
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.scoring import score
from appliance.ppo.types import Decode, Prompts, Rollout, ScoreFn
from appliance.progress import Progress

AT_A_TIME = 128
"""Responses that are sampled and read together."""


@dataclass(frozen=True)
class Judges:
    """The reward that PPO learned from, and a second opinion that it never saw, or None."""

    source: ScoreFn
    opinion: ScoreFn | None


def compare(
    config: PpoConfig,
    result: Path,
    prompts: Prompts,
    samples: int,
    judges: Judges,
    *,
    precision: Precision,
    notice: Notice,
    shown: Progress,
) -> Comparison:
    """`samples` answers to each prompt before and after; the reference of both sides is the starting policy.

    Sample s of prompt p has the same length limit and random numbers on both sides. Raises ModelError when a model
    cannot be read.
    """
    start = load_start(config.policy, precision)
    after = load_policy_model(str(result), None, dtype=start.model.dtype)
    before = frozen_policy(start.model, precision)
    lm = before.model.lm
    sides = {"before": before, "after": frozen_policy(after.model, precision, reference=lm)}
    rows = torch.arange(len(prompts)).repeat_interleave(samples)
    asked = prompts.rows(rows)
    generator = torch.Generator().manual_seed(seed_for(config.seed, "report"))
    limits, uniforms = draw_responses(len(asked), config.sampling.response_tokens, generator)
    decode = decoder(start.tokenizer, lm)
    stops = stop_ids(lm, start.tokenizer)
    found = {}
    for name, policy in sides.items():
        settle_reading(policy, prompts, config.sampling.response_tokens.high)
        answered, start_logprobs = _answer(
            policy, config, asked, limits, uniforms, decode=decode, stops=stops, notice=notice
        )
        found[name] = _answers(answered, start_logprobs, judges, samples, notice)
        shown.advance(len(asked))
    return Comparison(prompts=list(prompts.texts), before=found["before"], after=found["after"])


def _answer(
    policy: Policy,
    config: PpoConfig,
    asked: Prompts,
    limits: Tensor,
    uniforms: Tensor,
    *,
    decode: Decode,
    stops: tuple[int, ...],
    notice: Notice,
) -> tuple[Rollout, Tensor]:
    """The answers as a rollout, and the starting model's own log-probs of them (at temperature 1) [B, R]."""
    device, temperature = policy.device, config.sampling.temperature
    engine = make_engine(policy, config.sampling, stops)
    on_device = asked.to(device)
    with torch.no_grad(), policy.precision.active():
        responses = sample(
            engine,
            on_device,
            limits,
            uniforms,
            decode=decode,
            chunk=ChunkSize("generation", AT_A_TIME, notice),
        )
    chunk = ChunkSize("the evaluation of responses", AT_A_TIME, notice)
    rollout = evaluate(policy, on_device, responses, temperature=temperature, chunk=chunk)
    if not bool(rollout.logprobs.isfinite().all()):
        raise ApplianceError(
            "a model's log-probabilities are not finite: its weights have overflowed",
            "lower optimizer.learning_rate (with compute: bf16 try fp32) and train anew",
        )
    if temperature == 1.0:
        return rollout, rollout.ref_logprobs
    return rollout, evaluate(policy, on_device, responses, temperature=1.0, chunk=chunk).ref_logprobs


def _answers(rollout: Rollout, start_logprobs: Tensor, judges: Judges, samples: int, notice: Notice) -> Answers:
    prompts, responses = rollout.prompts, rollout.responses
    mask = responses.mask
    drift = torch.where(mask, rollout.logprobs - rollout.ref_logprobs, 0.0).sum(1)
    surprise = -torch.where(mask, start_logprobs, 0.0).sum(1)

    def rows(values: list[object]) -> list[list[object]]:
        return [values[i : i + samples] for i in range(0, len(values), samples)]

    def judged(source: ScoreFn) -> list[list[object]]:
        chunk = ChunkSize("scoring", AT_A_TIME, notice)
        return rows(score(source, prompts, responses, chunk=chunk).total.tolist())

    return Answers(
        texts=rows(list(responses.texts)),
        scores=judged(judges.source),
        tokens=rows(responses.lengths.tolist()),
        ended=rows(responses.ended.tolist()),
        kl=rows(drift.tolist()),
        start_nll=rows(surprise.tolist()),
        opinion=judged(judges.opinion) if judges.opinion is not None else None,
    )
