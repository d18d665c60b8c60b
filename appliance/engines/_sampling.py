"""One token per row from logits, by inverting the cumulative distribution at a given uniform number.

The randomness of a token is one number that is drawn beforehand. So the same weights give the same responses whatever
engine runs them and however the batch is split, and two policies compared on the same numbers differ by their weights
alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: softmax(logits / temperature), optionally cut to top_k tokens or top_p of the mass.

    stop_ids are the tokens that end a response; empty: only its limit does.
    """

    temperature: float
    top_k: int
    top_p: float
    stop_ids: tuple[int, ...]


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """(tokens [B], logprobs [B]): the token where the cumulative probability passes uniforms[b] in [0, 1), logits [B, V].

    logprobs are those of softmax(logits / temperature), before any cut. A token of probability 0 is never drawn: the
    first position whose cumulative sum exceeds u * total adds mass, and u < 1 keeps u * total below the total in fp32.
    """
    scaled = logits.float()
    if sampling.temperature != 1.0:
        scaled = scaled / sampling.temperature
    probs = scaled.softmax(dim=-1)  # [B, V]
    kept = _cut(probs, sampling) if sampling.top_k or sampling.top_p < 1.0 else probs
    cumulative = kept.cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, thresholds, right=True)  # [B, 1]
    tokens = tokens.clamp_max(logits.shape[-1] - 1)
    return tokens.squeeze(1), probs.gather(1, tokens).squeeze(1).log()


def _cut(probs: Tensor, sampling: Sampling) -> Tensor:
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    allowed = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        allowed[:, sampling.top_k :] = False
    if sampling.top_p < 1.0:
        allowed &= ordered.cumsum(dim=-1) - ordered < sampling.top_p  # the token that passes top_p stays
    return probs * torch.zeros_like(allowed).scatter(1, order, allowed)
