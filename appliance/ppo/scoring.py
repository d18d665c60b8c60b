"""From a reward source's scores to the batch that PPO learns from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.config.ppo import Kl, Ppo, Scores
from appliance.ppo.advantages import Moments, gae, token_rewards, whiten
from appliance.ppo.kl import kl_per_token
from appliance.ppo.memory import ChunkSize, in_chunks
from appliance.ppo.types import Batch, Composite, Prompts, Responses, Rollout, ScoreFn
from appliance.rewards._checked import checked


@dataclass(frozen=True)
class Scored:
    """What a source says of B responses: `total` [B], and of a Composite its `parts` [B, C] (NaN: not asked), or None."""

    total: Tensor
    parts: Tensor | None = None


def score(source: ScoreFn, prompts: Prompts, responses: Responses, *, chunk: ChunkSize) -> Scored:
    """The source's scores, float32 on the CPU, unchanged. Raises ApplianceError for one that is not a number.

    Texts are scored in order of length, so that each piece is padded little.
    """
    lengths = [len(p) + len(r) for p, r in zip(prompts.texts, responses.texts, strict=True)]
    order = torch.tensor(lengths).argsort(descending=True, stable=True)

    def some(rows: Tensor) -> Tensor:
        chosen = rows.tolist()
        some_prompts, some_responses = [prompts.texts[i] for i in chosen], [responses.texts[i] for i in chosen]
        if isinstance(source, Composite):
            return source.parts(some_prompts, some_responses)  # [b, C]
        return checked(source(some_prompts, some_responses), some_prompts, some_responses)  # [b]

    found = torch.cat(in_chunks(some, order, chunk))
    given = torch.empty_like(found)
    given[order] = found
    if isinstance(source, Composite):
        return Scored(source.combine(given), given)
    return Scored(given)


@dataclass(frozen=True)
class Shaped:
    """Scores [B] as PPO uses them, which rows are trained on [B], and the share of scores at the clip."""

    scores: Tensor
    trained: Tensor
    saturated: float


def shape_scores(raw: Tensor, ended: Tensor, options: Scores, moments: Moments) -> Shaped:
    """Scaled, clipped, and corrected where the end token is missing; raw, ended [B]. `moments` learn from `raw`.

    The penalty comes last, so it is in units of the scaled score and no clip weakens it.
    """
    moments.update(raw)
    scores = raw
    if options.scale == "running":
        scores = (scores - moments.mean if options.center else scores) / moments.std
    saturated = 0.0
    if options.clip is not None:
        saturated = float((scores.abs() >= options.clip).float().mean())
        scores = scores.clamp(-options.clip, options.clip)
    if options.missing_eos == "replace":
        scores = torch.where(ended, scores, -options.missing_eos_penalty)
    elif options.missing_eos == "subtract":
        scores = scores - options.missing_eos_penalty * (~ended)
    trained = ended.clone() if options.missing_eos == "drop" else torch.ones_like(ended)
    return Shaped(scores, trained, saturated)


def make_batch(rollout: Rollout, shaped: Shaped, *, ppo: Ppo, kl: Kl, kl_coef: float, whiten_rewards: bool) -> Batch:
    """Token rewards, advantages and returns of a rollout, whitened over all of its trained tokens at once."""
    device = rollout.logprobs.device
    mask = rollout.responses.mask & shaped.trained.to(device)[:, None]
    scores = shaped.scores.to(device)
    per_token = kl_per_token(rollout.logprobs, rollout.ref_logprobs, estimator=kl.estimator)
    rewards = token_rewards(scores, per_token, mask, kl_coef=kl_coef if kl.placement == "reward" else 0.0)
    if whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards, rollout.values, mask, gamma=ppo.gamma, lam=ppo.lam)
    if ppo.whiten_advantages:
        advantages = whiten(advantages, mask, shift_mean=True)
    return Batch(rollout, scores, rewards, advantages, returns, mask)
