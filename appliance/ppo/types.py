"""The records that flow through PPO. B sequences, P prompt and R response positions, padded on the right.

Masks are True = keep and include the stop token. They come from lengths and never from token ids, so a tokenizer whose
pad token is its end token changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

ScoreFn = Callable[[list[str], list[str]], Tensor]
"""(prompts, responses), both lists of length B -> scores [B], float32."""


@runtime_checkable
class Composite(Protocol):
    """A ScoreFn that is made of C named parts, for which a log and a report have lines of their own.

    `parts` gives each part's own scores [B, C], NaN where a part was not asked about a row; `normalized` the same on the
    parts' common scale, NaN as well; `added` what each adds to the score, 0 at least where it was not asked; `combine`
    the score [B], which is what calling the source gives. All float32 on the CPU, each row by itself.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def __call__(self, prompts: list[str], responses: list[str]) -> Tensor: ...

    def parts(self, prompts: list[str], responses: list[str]) -> Tensor: ...

    def normalized(self, parts: Tensor) -> Tensor: ...

    def added(self, parts: Tensor) -> Tensor: ...

    def combine(self, parts: Tensor) -> Tensor: ...


Decode = Callable[[list[list[int]], list[list[int]]], list[str]]
"""(prompts, responses) as token ids to the responses' texts: what each adds to its prompt, special tokens left out."""


def mask_from_lengths(lengths: Tensor, width: int) -> Tensor:
    """[B, width] bool: True on the first `lengths[b]` positions of row b."""
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


class _Rows:
    """A frozen record whose tensors and lists all have B rows."""

    def rows(self, index: Tensor) -> Self:
        """The rows `index` [b] of every field, in that order."""
        chosen = index.tolist()
        taken = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            taken[field.name] = _take(value, index, chosen)
        return replace(self, **taken)  # type: ignore[type-var]

    def to(self, device: torch.device) -> Self:
        """The same record with its tensors on `device`."""
        moved = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            moved[field.name] = _move(value, device)
        return replace(self, **moved)  # type: ignore[type-var]


def _move(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor | _Rows):
        return value.to(device)
    if isinstance(value, list):
        return [_move(row, device) for row in value]
    return value


def _take(value: object, index: Tensor, chosen: list[int]) -> object:
    if isinstance(value, Tensor):
        return value[index.to(value.device)]
    if isinstance(value, _Rows):
        return value.rows(index)
    if isinstance(value, list):
        return [value[i] for i in chosen]
    return value


@dataclass(frozen=True)
class Prompts(_Rows):
    """Tokenized prompts: texts (B), ids [B, P], lengths [B]."""

    texts: list[str]
    ids: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Generation(_Rows):
    """Sampled tokens: ids [B, R], lengths [B] with the end token counted, ended [B], engine_logprobs [B, R].

    `ended` is True where the policy stopped by itself and False where its limit cut it. `engine_logprobs` are the
    generation engine's own, in nats, zero past the end; they are only compared with the trainer's.
    """

    ids: Tensor
    lengths: Tensor
    ended: Tensor
    engine_logprobs: Tensor

    @property
    def mask(self) -> Tensor:
        """[B, R] bool."""
        return mask_from_lengths(self.lengths, self.ids.shape[1])


@dataclass(frozen=True)
class Responses(Generation):
    """A generation with its texts (B), special tokens left out."""

    texts: list[str]


@dataclass(frozen=True)
class TokenStats(_Rows):
    """One forward over prompts and responses: logprobs, entropy, values, each [B, R], zero where masked.

    values[:, t] comes from the hidden state before token t, the state in which token t is chosen. entropy, values and
    trunk (a frozen trunk's output, one [tokens, d] per row) are None when they were not asked for.
    """

    logprobs: Tensor
    entropy: Tensor | None = None
    values: Tensor | None = None
    trunk: list[Tensor] | None = None


@dataclass(frozen=True)
class Rollout(_Rows):
    """Prompts, responses, and what the rollout policy, the reference and the critic say of them, each [B, R].

    `trunk` holds a frozen trunk's output, one [tokens, d] per row, or is None.
    """

    prompts: Prompts
    responses: Responses
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    trunk: list[Tensor] | None = None


@dataclass(frozen=True)
class Batch(_Rows):
    """A rollout with its scores [B] and what PPO learns from: rewards, advantages, returns, mask, each [B, R].

    `mask` is the responses' mask, all False in rows that are not to be trained on.
    """

    rollout: Rollout
    scores: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    mask: Tensor


class Engine(Protocol):
    """Samples responses. `limits` [B] is each row's most tokens, `uniforms` [B, R] in [0, 1) the randomness of each token.

    With the same uniforms the same weights give the same tokens, whatever the batch is split into.
    """

    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation: ...
