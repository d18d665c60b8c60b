"""The losses of one micro-batch, as sums over its kept tokens.

Every loss is a sum; the caller divides by the number of kept tokens of the whole optimizer step, fixed before the first
backward. So the result does not depend on how a minibatch is split into micro-batches, and short responses weigh no
more than long ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.ppo.kl import LOG_RATIO_LIMIT


@dataclass(frozen=True)
class PolicyLoss:
    """Sums over kept tokens: the loss (with a gradient), and what the metrics are made of (without)."""

    loss: Tensor
    approx_kl: Tensor
    clipped: Tensor
    ratio: Tensor
    ratio_max: Tensor


@dataclass(frozen=True)
class ValueLoss:
    """Sums over kept tokens: the loss (with a gradient) and how many values were clipped."""

    loss: Tensor
    clipped: Tensor


def policy_loss(
    new_logprobs: Tensor,
    logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip: float,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """The clipped surrogate, summed: max(-A * ratio, -A * clip(ratio, 1 - clip, 1 + clip)), all inputs [B, R].

    ratio = exp(new_logprobs - logprobs). With `dual_clip` c, tokens of negative advantage lose at most -c * A.
    approx_kl is the sum of (log-ratio)^2 / 2. Sources: Schulman et al. 2017, eq. 7; Ye et al. 2020, eq. 5 (dual clip).
    """
    log_ratio = torch.where(mask, new_logprobs - logprobs, 0.0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = log_ratio.exp()
    advantages = torch.where(mask, advantages, 0.0)
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = torch.maximum(plain, bounded)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    total = torch.where(mask, loss, 0.0).sum()
    with torch.no_grad():
        return PolicyLoss(
            loss=total,
            approx_kl=(0.5 * log_ratio.square()).sum(),
            clipped=((bounded > plain) & mask).sum(),
            ratio=torch.where(mask, ratio, 0.0).sum(),
            ratio_max=torch.where(mask, ratio, 0.0).amax(),
        )


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float | None) -> ValueLoss:
    """Half the squared error to the returns, summed; the larger of it and that of the value kept within +- clip.

    1/2 max((V - R)^2, (V_old + clamp(V - V_old, -clip, clip) - R)^2), all inputs [B, R].
    Source: the PPO code of Dhariwal et al. 2017 (OpenAI baselines, ppo2).
    """
    error = (values - returns).square()
    clipped_count = torch.zeros((), device=values.device)
    if clip is not None:
        kept_near = old_values + (values - old_values).clamp(-clip, clip)
        bounded = (kept_near - returns).square()
        clipped_count = ((bounded > error) & mask).sum()
        error = torch.maximum(error, bounded)
    return ValueLoss(loss=0.5 * torch.where(mask, error, 0.0).sum(), clipped=clipped_count)
