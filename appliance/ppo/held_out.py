"""How the policy does on prompts that it never learns from, always with the same random numbers."""

import math
from typing import Any

import torch

from appliance.data.ngrams import distinct
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.metrics import part_metrics, response_kl
from appliance.ppo.pieces import Pieces
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.scoring import Scored, score
from appliance.ppo.state import State
from appliance.ppo.types import Composite, ScoreFn


def measure_held_out(pieces: Pieces, state: State) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """EVAL_METRICS, and each held-out prompt with its responses and scores. Changes nothing in `state` but chunk sizes.

    There are evaluation.samples responses to each prompt, one after another.
    """
    config, policy = pieces.learner.config, pieces.learner.policy
    generator = torch.Generator().manual_seed(seed_for(config.seed, "held out"))
    asked = pieces.held_out.rows(torch.arange(len(pieces.held_out)).repeat_interleave(config.evaluation.samples))
    limits, uniforms = draw_responses(len(asked), config.sampling.response_tokens, generator)
    prompts = asked.to(policy.device)
    with policy.precision.active():
        responses = sample(
            pieces.engine,
            prompts,
            limits,
            uniforms,
            decode=pieces.decode,
            chunk=state.chunks.generate,
        )
    rollout = evaluate(policy, prompts, responses, temperature=config.sampling.temperature, chunk=state.chunks.evaluate)
    scored = score(pieces.source, prompts, responses, chunk=state.chunks.score)
    measured = {"eval_score_mean": float(scored.total.mean())}
    if pieces.opinion is not None:
        opinions = score(pieces.opinion, prompts, responses, chunk=state.chunks.score)
        measured["eval_opinion_mean"] = float(opinions.total.mean())
        measured |= part_metrics(pieces.opinion, opinions.parts, prefix="eval_opinion_")
    measured |= {
        "eval_kl": response_kl(rollout.logprobs, rollout.ref_logprobs, responses.mask),
        "eval_length_mean": float(responses.lengths.float().mean()),
        "eval_ended_share": float(responses.ended.float().mean()),
        "eval_distinct_2": distinct(responses.texts, 2),
    }
    measured |= part_metrics(pieces.source, scored.parts, prefix="eval_")
    rows = zip(prompts.texts, responses.texts, scored.total.tolist(), _named(pieces.source, scored), strict=True)
    return measured, [{"prompt": p, "response": r, "score": s} | parts for p, r, s, parts in rows]


def _named(source: ScoreFn, scored: Scored) -> list[dict[str, Any]]:
    """Of each response what a sample's record adds: its parts' own scores by name (None: not asked), or nothing."""
    if scored.parts is None or not isinstance(source, Composite):
        return [{}] * len(scored.total)
    rows = [[None if math.isnan(value) else value for value in row] for row in scored.parts.tolist()]
    return [{"parts": dict(zip(source.names, row, strict=True))} for row in rows]
