"""From scores to what PPO learns from: token rewards, generalized advantages, whitening."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask`; whatever stands outside it, NaN included, does not count."""
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """The unbiased (n - 1) variance of `values` where `mask`; 0 for fewer than two kept values."""
    centered = torch.where(mask, values - masked_mean(values, mask), 0.0)
    return centered.square().sum() / (mask.sum() - 1).clamp_min(1)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool) -> Tensor:
    """`values` with unbiased variance 1 over the kept positions, zero elsewhere; mean 0 if `shift_mean`, else kept.

    (x - mean) / sqrt(var + 1e-8) [+ mean]. Source: Ziegler et al. 2019 code, with Bessel's correction.
    """
    dtype, values = values.dtype, values.double()  # an fp32 mean is a bit off, and 1 / sqrt(1e-8) makes that large
    mean = masked_mean(values, mask)
    whitened = (values - mean) * torch.rsqrt(masked_var(values, mask) + 1e-8)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0).to(dtype)


def last_token(mask: Tensor) -> Tensor:
    """[B] index of the last kept position of each row of `mask` [B, R]; 0 for a row without any."""
    return (mask.sum(dim=1) - 1).clamp_min(0)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
    """Rewards [B, R]: -kl_coef * kl at every kept token, plus the score [B] at the last kept one; zero elsewhere.

    Source: Ziegler et al. 2019, eq. 2.
    """
    rewards = torch.where(mask, -kl_coef * kl, 0.0)
    at_last = torch.zeros_like(rewards).scatter_(1, last_token(mask)[:, None], scores[:, None])
    return rewards + torch.where(mask, at_last, 0.0)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalized advantages and returns, both [B, R]; zero where masked. Not normalized (see `whiten`).

    delta_t = r_t + gamma * V_{t+1} - V_t with V = 0 after the last kept token; A_t = delta_t + gamma * lam * A_{t+1};
    returns = A + V. Source: Schulman et al. 2016, eq. 16. Raises ValueError if shapes differ.
    """
    if not rewards.shape == values.shape == mask.shape:
        raise ValueError(f"shapes differ: rewards {rewards.shape}, values {values.shape}, mask {mask.shape}")
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])  # [B]: A_{t+1}
    for t in range(values.shape[1] - 1, -1, -1):
        next_value = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(following)
        following = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * following
        advantages[:, t] = following
    return torch.where(mask, advantages, 0.0), torch.where(mask, advantages + values, 0.0)


class Moments:
    """Running count, mean and unbiased standard deviation of the scores seen so far. Source: Chan et al. 1983."""

    def __init__(self, count: int = 0, mean: float = 0.0, squares: float = 0.0) -> None:
        self.count, self.mean, self.squares = count, mean, squares

    def update(self, values: Tensor) -> None:
        """Add the values of one batch [B]."""
        batch = values.double()
        n, mean = batch.numel(), float(batch.mean())
        delta, total = mean - self.mean, self.count + n
        self.squares += float((batch - mean).square().sum()) + delta * delta * self.count * n / total
        self.mean += delta * n / total
        self.count = total

    @property
    def std(self) -> float:
        """The standard deviation; 1 until two different values were seen, so that scaling by it is safe."""
        variance = self.squares / (self.count - 1) if self.count > 1 else 0.0
        return variance**0.5 if variance > 0 else 1.0

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps; `Moments(**state)` restores it."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}
