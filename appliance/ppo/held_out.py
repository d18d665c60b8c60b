"""How the policy does on prompts that it never learns from, always with the same random numbers."""

from typing import Any

import torch

from appliance.data.ngrams import distinct
from appliance.ppo.feed import draw_responses, seed_for
from appliance.ppo.metrics import response_kl
from appliance.ppo.pieces import Pieces
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.scoring import score
from appliance.ppo.state import State


def measure_held_out(pieces: Pieces, state: State) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """EVAL_METRICS, and each held-out prompt with its response and score. Changes nothing in `state` but chunk sizes."""
    config, policy = pieces.learner.config, pieces.learner.policy
    generator = torch.Generator().manual_seed(seed_for(config.seed, "held out"))
    limits, uniforms = draw_responses(len(pieces.held_out), config.sampling.response_tokens, generator)
    prompts = pieces.held_out.to(policy.device)
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
    scores = score(pieces.source, prompts, responses, chunk=state.chunks.score)
    measured = {"eval_score_mean": float(scores.mean())}
    if pieces.opinion is not None:
        opinions = score(pieces.opinion, prompts, responses, chunk=state.chunks.score)
        measured["eval_opinion_mean"] = float(opinions.mean())
    measured |= {
        "eval_kl": response_kl(rollout.logprobs, rollout.ref_logprobs, responses.mask),
        "eval_length_mean": float(responses.lengths.float().mean()),
        "eval_ended_share": float(responses.ended.float().mean()),
        "eval_distinct_2": distinct(responses.texts, 2),
    }
    rows = zip(prompts.texts, responses.texts, scores.tolist(), strict=True)
    return measured, [{"prompt": p, "response": r, "score": s} for p, r, s in rows]
