"""Estimates of the KL divergence to the reference, and the controller of its price."""

from collections.abc import Callable

import torch
from torch import Tensor


def _k1(log_ratio: Tensor) -> Tensor:
    return log_ratio


def _k2(log_ratio: Tensor) -> Tensor:
    return 0.5 * log_ratio.square()


def _k3(log_ratio: Tensor) -> Tensor:
    return torch.exp(-log_ratio) - 1.0 + log_ratio


def _abs(log_ratio: Tensor) -> Tensor:
    return log_ratio.abs()


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": _k1, "k2": _k2, "k3": _k3, "abs": _abs}

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to +- this before an exponential: e^20 already says that something is broken."""


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor, *, estimator: str) -> Tensor:
    """KL(policy || reference) estimated at each sampled token, in nats; same shape as the inputs.

    With d = logprobs - ref_logprobs: k1 = d (unbiased, signed), k2 = d^2 / 2, k3 = exp(-d) - 1 + d (unbiased, never
    negative), abs = |d|. Source: Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = (logprobs - ref_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return ESTIMATORS[estimator](log_ratio)


def next_kl_coef(coef: float, kl: float, *, target: float, sequences: int, horizon: int) -> float:
    """The adaptive controller's next coefficient: up when `kl` is over `target`, down when under.

    `kl` and `target` are in nats per sequence (summed over a response's tokens, averaged over responses).
    coef * (1 + clip(kl / target - 1, -0.2, 0.2) * sequences / horizon).
    Source: Ziegler et al. 2019, section 2.2.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * sequences / horizon)
