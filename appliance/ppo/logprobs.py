"""Log-probabilities and entropies of sampled tokens, from the hidden states that predict them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_BYTES = 256 * 2**20
"""Logits of more than this (as fp32) are made chunk by chunk, and made again in the backward pass."""


class _TokenLogprobs(torch.autograd.Function):
    """logprobs [M] and entropy [M] of softmax(logits / temperature), fp32 whatever the logits are.

    Written out because autograd keeps three [M, V] tensors and passes over them eight times where this keeps one and
    passes four times.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor]:
        scaled = logits if logits.dtype == torch.float64 else logits.float()
        if temperature != 1.0:
            scaled = scaled / temperature
        log_p = scaled.log_softmax(dim=-1)  # [M, V]
        logprobs = log_p.gather(-1, targets[:, None]).squeeze(-1)
        entropy = -torch.linalg.vecdot(log_p.exp(), log_p) if with_entropy else torch.zeros_like(logprobs)
        ctx.dtype, ctx.temperature, ctx.with_entropy = logits.dtype, temperature, with_entropy
        ctx.save_for_backward(log_p, targets, entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        log_p, targets, entropy = ctx.saved_tensors
        if ctx.with_entropy:  # dH/dlogit = -p (log p + H), dlogprob/dlogit = onehot - p
            weight = (log_p + entropy[:, None]).mul_(grad_entropy[:, None]).add_(grad_logprobs[:, None])
            grad = log_p.exp().mul_(weight.neg_())
        else:
            grad = log_p.exp().mul_(-grad_logprobs[:, None])
        grad.scatter_add_(-1, targets[:, None], grad_logprobs[:, None])
        if ctx.temperature != 1.0:
            grad /= ctx.temperature
        return grad.to(ctx.dtype), None, None, None


def token_logprobs(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy), both [M] in nats: of token targets[m] under softmax(logits[m] / temperature), logits [M, V].

    entropy is zeros unless `with_entropy`. Both are differentiable.
    """
    return _TokenLogprobs.apply(logits, targets, temperature, with_entropy)


def head_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    *,
    vocabulary: int,
    temperature: float,
    with_entropy: bool,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, Tensor]:
    """`token_logprobs` of head(hidden), hidden [M, d], in chunks so that no more than `chunk_bytes` of logits live at once."""

    def of(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return token_logprobs(head(part), wanted, temperature=temperature, with_entropy=with_entropy)

    rows = max(1, chunk_bytes // (4 * vocabulary))
    if hidden.shape[0] <= rows:
        return of(hidden, targets)
    pieces = [
        checkpoint(of, part, wanted, use_reentrant=False) if torch.is_grad_enabled() else of(part, wanted)
        for part, wanted in zip(hidden.split(rows), targets.split(rows), strict=True)
    ]
    return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])
