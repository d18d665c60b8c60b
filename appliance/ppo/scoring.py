"""From a reward source's scores to the batch that PPO learns from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.config.ppo import Kl, Ppo, Scores
from appliance.errors import ApplianceError
from appliance.ppo.advantages import Moments, gae, token_rewards, whiten
from appliance.ppo.kl import kl_per_token
from appliance.ppo.memory import ChunkSize, in_chunks
from appliance.ppo.types import Batch, Prompts, Responses, Rollout, ScoreFn


def score(source: ScoreFn, prompts: Prompts, responses: Responses, *, chunk: ChunkSize) -> Tensor:
    """The source's scores [B], float32 on the CPU, unchanged. Raises ApplianceError for one that is not a number.

    Texts are scored in order of length, so that each piece is padded little.
    """
    lengths = [len(p) + len(r) for p, r in zip(prompts.texts, responses.texts, strict=True)]
    order = torch.tensor(lengths).argsort(descending=True, stable=True)

    def some(rows: Tensor) -> Tensor:
        chosen = rows.tolist()
        given = source([prompts.texts[i] for i in chosen], [responses.texts[i] for i in chosen]).float().cpu()
        if given.shape != (len(chosen),):
            raise ApplianceError(
                f"the reward source was given {len(chosen)} texts and returned scores of shape {list(given.shape)}",
                "correct the source: one number for each text",
            )
        return given

    scores = torch.empty(len(lengths))
    scores[order] = torch.cat(in_chunks(some, order, chunk))
    broken = (~scores.isfinite()).nonzero().flatten().tolist()
    if broken:
        text = prompts.texts[broken[0]] + responses.texts[broken[0]]
        raise ApplianceError(
            f"the reward source gave {scores[broken[0]]} for {len(broken)} of {len(scores)} texts, first {text[:80]!r}",
            "score this text alone; a model whose weights are damaged or overflow does this",
        )
    return scores


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
