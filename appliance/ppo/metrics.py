"""What is measured at every step. The table is the documentation: docs/metrics.md is made from it and a test compares.

A response's tokens include its end token. "Trained tokens" are those of the responses that PPO trains on. All means are
over kept tokens or over responses, never over padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.data.ngrams import distinct
from appliance.ppo.advantages import masked_mean, masked_var
from appliance.ppo.kl import kl_per_token
from appliance.ppo.scoring import Shaped
from appliance.ppo.types import Batch, Composite, ScoreFn
from appliance.ppo.update import Progress


@dataclass(frozen=True)
class Metric:
    """One number per step: its unit, its formula and what it tells."""

    unit: str
    formula: str
    meaning: str


METRICS: dict[str, Metric] = {
    "step": Metric("steps", "n", "rollouts so far, this one included"),
    "sequences": Metric("responses", "n * batch.rollout", "responses sampled so far"),
    "score_mean": Metric("score", "mean_b(score_b)", "what the reward source gives, unchanged"),
    "score_std": Metric("score", "std_b(score_b), n - 1", "its spread over the batch"),
    "score_shaped_mean": Metric("reward", "mean_b(s_b)", "after scaling, clipping and the end-token penalty"),
    "saturated_share": Metric("share", "mean_b(|s_b| >= scores.clip)", "scores at the clip; 1 if all scores are equal"),
    "objective": Metric("reward", "score_shaped_mean - kl_coef * kl", "what PPO maximizes"),
    "kl": Metric("nats/response", "mean_b(sum_t(lp_t - ref_t))", "drift from the starting policy (k1, signed)"),
    "kl_k3": Metric("nats/response", "mean_b(sum_t(exp(ref_t - lp_t) - 1 + lp_t - ref_t))", "the same, never negative"),
    "kl_coef": Metric("reward/nat", "beta", "price of the drift in this step"),
    "entropy": Metric("nats/token", "mean_t(H(policy_t))", "how undecided the policy is"),
    "length_mean": Metric("tokens", "mean_b(length_b)", "response length"),
    "ended_share": Metric("share", "mean_b(ended_b)", "responses that the policy ended by itself"),
    "distinct_1": Metric("share", "distinct words / words", "variety of words over the batch"),
    "distinct_2": Metric("share", "distinct word pairs / word pairs", "variety of word pairs over the batch"),
    "score_length_correlation": Metric("-1..1", "pearson_b(score_b, length_b)", "high: longer is scored better"),
    "engine_gap": Metric("nats/token", "mean_t(|engine_lp_t - lp_t|)", "generation engine against trainer"),
    "reward_mean": Metric("reward", "mean_b(sum_t(r_t))", "score with the KL price, per response"),
    "return_mean": Metric("reward", "mean_t(R_t)", "what the critic should predict"),
    "return_std": Metric("reward", "std_t(R_t), n - 1", "its spread"),
    "value_mean": Metric("reward", "mean_t(V_t)", "what the critic predicted"),
    "explained_variance": Metric("share", "1 - var_t(R_t - V_t) / var_t(R_t)", "1: the critic knows; 0: it guesses"),
    "policy_loss": Metric("loss", "mean_t(max(-A ratio, -A clip(ratio)))", "over the trained tokens of all epochs"),
    "value_loss": Metric("loss", "mean_t(max((V - R)^2, (V_clipped - R)^2) / 2)", "before ppo.value_coef"),
    "kl_loss": Metric("nats/token", "mean_t(kl estimator)", "0 unless kl.placement is loss"),
    "entropy_bonus": Metric("nats/token", "mean_t(H)", "0 unless ppo.entropy_coef is set"),
    "approx_kl": Metric(
        "nats/token", "mean_t((new_lp - lp)^2 / 2)", "how far the epochs moved from the rollout policy"
    ),
    "clip_share": Metric("share", "mean_t(clipped loss > plain loss)", "tokens whose ratio was clipped"),
    "value_clip_share": Metric("share", "mean_t(clipped error > plain error)", "tokens whose value was clipped"),
    "ratio_mean": Metric("ratio", "mean_t(exp(new_lp - lp))", "near 1 when all is well"),
    "ratio_max": Metric("ratio", "max_t(exp(new_lp - lp))", "the largest"),
    "grad_norm": Metric("norm", "max over optimizer steps", "before clipping"),
    "learning_rate": Metric("1", "of the last optimizer step", "by optimizer.schedule"),
    "optimizer_steps": Metric("steps", "count", "taken in this step"),
    "skipped_steps": Metric("steps", "count", "left out: not finite, or ratio over ppo.max_ratio"),
    "stopped_early": Metric("0/1", "approx_kl > ppo.stop_kl", "the epochs ended before their time"),
    "microbatch": Metric("responses", "batch.microbatch, halved when memory ran out", "per forward and backward"),
}

EVAL_METRICS: dict[str, Metric] = {
    "eval_score_mean": Metric("score", "mean_b(score_b)", "what the reward source gives the held-out prompts' answers"),
    "eval_opinion_mean": Metric("score", "mean_b(opinion_b)", "the second opinion of them; only if there is one"),
    "eval_kl": Metric("nats/response", "mean_b(sum_t(lp_t - ref_t))", "drift on the held-out prompts"),
    "eval_length_mean": Metric("tokens", "mean_b(length_b)", "response length on them"),
    "eval_ended_share": Metric("share", "mean_b(ended_b)", "answers that the policy ended by itself"),
    "eval_distinct_2": Metric("share", "distinct word pairs / word pairs", "variety of word pairs over them"),
}
"""Measured on the held-out prompts before the first step, every evaluation.every_steps, at checkpoints and at the end."""


PART_METRICS: dict[str, Metric] = {
    "score": Metric("its own", "mean_b(x_b)", "what the source itself gives, over the responses it was asked about"),
    "score_spread": Metric("its own", "std_b(x_b), n - 1", "its spread over them"),
    "normalized": Metric("std", "mean_b((x_b - mean) / std)", "the same on the blend's common scale"),
    "added": Metric("score", "mean_b(weight * normalized_b - penalty_b)", "its share of score_mean; they sum up to it"),
    "asked_share": Metric("share", "mean_b(asked_b)", "responses that the gates before it let through to it"),
}
"""Of each source of a blend, as `score/NAME` and so on; with `eval_` and `eval_opinion_` before it on held-out prompts.
A source that no response was sent to has no `score`, `score_spread` and `normalized` in that line."""


def part_metrics(source: ScoreFn, parts: Tensor | None, *, prefix: str = "") -> dict[str, float]:
    """PART_METRICS of each part of a Composite, from its parts' scores [B, C]; nothing for a source that is not one."""
    if parts is None or not isinstance(source, Composite):
        return {}
    asked, normalized, added = ~parts.isnan(), source.normalized(parts), source.added(parts)
    found: dict[str, float] = {}
    for column, name in enumerate(source.names):
        rows = asked[:, column]
        if bool(rows.any()):
            found[f"{prefix}score/{name}"] = float(parts[rows, column].mean())
            found[f"{prefix}score_spread/{name}"] = std(parts[rows, column])
            found[f"{prefix}normalized/{name}"] = float(normalized[rows, column].mean())
        found[f"{prefix}added/{name}"] = float(added[:, column].mean())
        found[f"{prefix}asked_share/{name}"] = float(rows.float().mean())
    return found


def step_metrics(
    batch: Batch, raw: Tensor, shaped: Shaped, progress: Progress, *, step: int, kl_coef: float, microbatch: int
) -> dict[str, float]:
    """Every metric of METRICS for one finished step; raw and shaped scores [B]."""
    rollout, responses = batch.rollout, batch.rollout.responses
    mask = responses.mask
    trained = batch.mask if batch.mask.any() else mask
    kl = response_kl(rollout.logprobs, rollout.ref_logprobs, mask)
    score = float(shaped.scores.mean())
    tokens = max(1, progress.tokens)
    lengths = responses.lengths.cpu().double()
    error_var, return_var = masked_var(batch.returns - rollout.values, trained), masked_var(batch.returns, trained)
    metrics: dict[str, float] = {
        "step": step + 1,
        "sequences": (step + 1) * len(raw),
        "score_mean": float(raw.mean()),
        "score_std": std(raw),
        "score_shaped_mean": score,
        "saturated_share": 1.0 if len(raw) > 1 and float(raw.max()) == float(raw.min()) else shaped.saturated,
        "objective": score - kl_coef * kl,
        "kl": kl,
        "kl_k3": response_kl(rollout.logprobs, rollout.ref_logprobs, mask, estimator="k3"),
        "kl_coef": kl_coef,
        "entropy": float(masked_mean(rollout.entropy, mask)),
        "length_mean": float(lengths.mean()),
        "ended_share": float(responses.ended.float().mean()),
        "distinct_1": distinct(responses.texts, 1),
        "distinct_2": distinct(responses.texts, 2),
        "score_length_correlation": correlation(raw.double(), lengths),
        "engine_gap": float(masked_mean((responses.engine_logprobs - rollout.logprobs).abs(), mask)),
        "reward_mean": float(batch.rewards.sum(dim=1).mean()),
        "return_mean": float(masked_mean(batch.returns, trained)),
        "return_std": float(return_var.sqrt()),
        "value_mean": float(masked_mean(rollout.values, trained)),
        "explained_variance": float(1.0 - error_var / return_var) if float(return_var) > 0 else 0.0,
        "policy_loss": progress.sums["policy_loss"] / tokens,
        "value_loss": progress.sums["value_loss"] / tokens,
        "kl_loss": progress.sums["kl_loss"] / tokens,
        "entropy_bonus": progress.sums["entropy"] / tokens,
        "approx_kl": progress.sums["approx_kl"] / tokens,
        "clip_share": progress.sums["clipped"] / tokens,
        "value_clip_share": progress.sums["value_clipped"] / tokens,
        "ratio_mean": progress.sums["ratio"] / tokens if progress.tokens else 1.0,
        "ratio_max": progress.ratio_max,
        "grad_norm": progress.grad_norm,
        "learning_rate": progress.learning_rate,
        "optimizer_steps": progress.steps,
        "skipped_steps": progress.skipped,
        "stopped_early": int(progress.stopped_early),
        "microbatch": microbatch,
    }
    return metrics


def response_kl(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, estimator: str = "k1") -> float:
    """KL to the reference in nats per response: summed over a response's tokens, averaged over responses."""
    per_token = kl_per_token(logprobs, ref_logprobs, estimator=estimator)
    return float(torch.where(mask, per_token, 0.0).sum(dim=1).mean())


def std(values: Tensor) -> float:
    """The unbiased standard deviation of [B]; 0 for one value."""
    return float(values.std()) if len(values) > 1 else 0.0


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two [B] tensors; 0 when either does not vary."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0
