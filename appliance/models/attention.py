"""Attention without padding, for any decoder that goes through transformers' attention interface.

Two layouts. `Packed`: the real tokens of B sequences lie end to end in one row, so every linear layer works on real
tokens only; the attention alone lays them out as [B, T], each from column 0, where "causal" is the only mask needed.
`Decoding`: one new token per sequence, whose keys and values join a cache in which every sequence starts at column 0.

A layout is active only inside `attending`; outside it the model is untouched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, PreTrainedModel

NAME = "appliance"

SHORT = 128
"""Up to this many tokens a CPU is faster with plain batched products than with the fused kernel, whose blocks are larger."""


class CannotPack(Exception):
    """This model's attention needs something that the layouts do not have; the padded path takes over."""


class Layout(Protocol):
    """What `attending` makes the model's attention layers do."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor: ...

    @property
    def width(self) -> int: ...


class KvCache:
    """Keys and values of B sequences of at most T tokens, each sequence from column 0: per layer a pair [B, T, Hkv, D]."""

    def __init__(self, sequences: int, tokens: int) -> None:
        self.sequences, self.tokens = sequences, tokens
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Store key and value [N, Hkv, D] at the flat positions `slots` [N] (row * T + column)."""
        if layer not in self.layers:
            size = (self.sequences, self.tokens, *key.shape[1:])
            self.layers[layer] = (key.new_zeros(size), value.new_zeros(size))
        for cached, new in zip(self.layers[layer], (key, value), strict=True):
            rows = new.reshape(len(new), -1).to(cached.dtype)
            cached.view(-1, rows.shape[1]).index_copy_(0, slots, rows)

    def read(self, layer: int, width: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `width` columns, [B, Hkv, width, D] each."""
        keys, values = self.layers[layer]
        return keys[:, :width].transpose(1, 2), values[:, :width].transpose(1, 2)

    def keep(self, rows: Tensor) -> None:
        """Drop every sequence but `rows` [b]."""
        for layer, (keys, values) in self.layers.items():
            self.layers[layer] = (keys.index_select(0, rows), values.index_select(0, rows))
        self.sequences = len(rows)


@dataclass(frozen=True)
class Packed:
    """N real tokens of `sequences` sequences in one row; token n stands at flat position slots[n] of [sequences, width].

    With a cache, the keys and values are also stored there (the prefill of generation).
    """

    sequences: int
    width: int
    slots: Tensor
    bias: Tensor
    cache: KvCache | None = None
    cache_slots: Tensor | None = None
    indices: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Causal attention within each sequence. query [1, H, N, D], key and value [1, Hkv, N, D] -> [1, N, H, D]."""
        if self.cache is not None and self.cache_slots is not None:
            self.cache.write(layer, self.cache_slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
        if query.device.type == "cpu" and (self.width <= SHORT or not _fused(query)):
            return _ShortAttention.apply(query, key, value, self, scaling or query.shape[-1] ** -0.5)
        query, key, value = (self._unpack(x) for x in (query, key, value))  # [B, H, T, D]
        key, value = repeat_heads(key, query), repeat_heads(value, query)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        flat = out.transpose(1, 2).reshape(self.sequences * self.width, -1)
        return flat.index_select(0, self.slots).view(1, len(self.slots), *out.shape[1::2])

    @cached_property
    def tokens(self) -> Tensor:
        """[B, T] number of the token that stands there, 0 where none does."""
        numbers = torch.arange(len(self.slots), device=self.slots.device)
        return numbers.new_zeros(self.sequences * self.width).index_copy_(0, self.slots, numbers).view(-1, self.width)

    @cached_property
    def real(self) -> Tensor:
        """[B, 1, T, 1]: 1.0 where a token stands, else 0.0."""
        flat = self.bias.new_zeros(self.sequences * self.width).index_fill_(0, self.slots, 1.0)
        return flat.view(self.sequences, 1, self.width, 1)

    def out_of(self, x: Tensor, heads: int) -> Tensor:
        """x [1, H', N, D] as [B * heads, T, D], each of its H' heads repeated; what stands where no token is, is arbitrary."""
        shared, dim = x.shape[1], x.shape[3]
        if x.stride(3) != 1 or x.stride(1) != dim or x.stride(2) % dim:
            x = x.transpose(1, 2).contiguous().transpose(1, 2)
        step = x.stride(2) // dim  # a token's vectors are `step` apart: more than H' where q, k and v are one tensor
        key = (heads, shared, step)
        if key not in self.indices:
            head = torch.arange(heads, device=x.device) // (heads // shared)
            self.indices[key] = (self.tokens[:, None] * step + head[:, None]).flatten()  # [B * heads * T]
        vectors = x.as_strided(((x.shape[2] - 1) * step + shared, dim), (dim, 1))
        return vectors.index_select(0, self.indices[key]).view(-1, self.width, dim)

    def back_in(self, x: Tensor) -> Tensor:
        """x [B * H, T, D] as [1, N, H, D]."""
        heads, dim = x.shape[0] // self.sequences, x.shape[2]
        if (heads,) not in self.indices:
            rows, columns = self.slots // self.width, self.slots % self.width
            head = torch.arange(heads, device=x.device)
            flat = (rows[:, None] * heads + head) * self.width + columns[:, None]  # [N, H]
            self.indices[(heads,)] = flat.flatten()
        return x.reshape(-1, dim).index_select(0, self.indices[(heads,)]).view(1, -1, heads, dim)

    def _unpack(self, x: Tensor) -> Tensor:
        heads, dim = x.shape[1], x.shape[3]
        rows = x[0].transpose(0, 1).reshape(-1, heads * dim)
        flat = rows.new_zeros(self.sequences * self.width, heads * dim).index_copy(0, self.slots, rows)
        return flat.view(self.sequences, self.width, heads, dim).transpose(1, 2)


class _ShortAttention(torch.autograd.Function):
    """`Packed.attend` for short sequences on a CPU: [1, N, H, D].

    Written out so that tokens move straight between the row of tokens and [B * H, T, D], with one copy each way where
    autograd makes three, and so that no position without a token needs to be zeroed: no real token sees one.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Packed, scaling: float
    ) -> Tensor:
        heads = query.shape[1]
        q, k, v = (layout.out_of(x, heads) for x in (query, key, value))  # [B * H, T, D]
        q = q.mul_(scaling)
        probs = torch.bmm(q, k.transpose(1, 2)).add_(layout.bias).softmax(dim=-1)  # [B * H, T, T]
        ctx.save_for_backward(q, k, v, probs)
        ctx.layout, ctx.scaling, ctx.shared = layout, scaling, key.shape[1]
        return layout.back_in(torch.bmm(probs, v))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        layout: Packed = ctx.layout
        q, k, v, probs = ctx.saved_tensors
        heads, width, dim = grad.shape[2], layout.width, grad.shape[3]
        grad = layout.out_of(grad.transpose(1, 2), heads)
        grad.view(-1, heads, width, dim).mul_(layout.real)  # what is where no token is has no gradient
        d_scores = torch._softmax_backward_data(torch.bmm(grad, v.transpose(1, 2)), probs, -1, probs.dtype)
        d_query = torch.bmm(d_scores, k).mul_(ctx.scaling)
        d_key, d_value = torch.bmm(d_scores.transpose(1, 2), q), torch.bmm(probs.transpose(1, 2), grad)
        if heads != ctx.shared:
            d_key, d_value = (
                x.view(-1, heads // ctx.shared, width, dim).sum(1) for x in (d_key, d_value)
            )  # [B * H', T, D]
        d_query, d_key, d_value = (layout.back_in(x).transpose(1, 2) for x in (d_query, d_key, d_value))
        return d_query, d_key, d_value, None, None


@dataclass(frozen=True)
class Decoding:
    """One new token per cached sequence; `cache_slots` [B] is where it goes, `visible` [B, 1, 1, width] what it sees."""

    cache: KvCache
    cache_slots: Tensor
    visible: Tensor

    @property
    def width(self) -> int:
        """Columns of the cache that are read."""
        return self.visible.shape[-1]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of the new tokens over the cache. query [B, H, 1, D], key and value [B, Hkv, 1, D] -> [B, 1, H, D]."""
        self.cache.write(layer, self.cache_slots, key[:, :, 0], value[:, :, 0])
        keys, values = self.cache.read(layer, self.width)
        keys, values = repeat_heads(keys, query), repeat_heads(values, query)
        if _fused(query):
            out = F.scaled_dot_product_attention(query, keys, values, attn_mask=self.visible, scale=scaling)
        else:
            weights = torch.matmul(query, keys.transpose(-1, -2)) * (scaling or query.shape[-1] ** -0.5)
            out = torch.matmul(weights.masked_fill(~self.visible, -torch.inf).softmax(dim=-1), values)
        return out.transpose(1, 2)


def causal_bias(width: int, device: torch.device) -> Tensor:
    """[width, width]: 0 where a token may look (itself and before), -inf elsewhere."""
    return torch.full((width, width), -torch.inf, device=device).triu(1)


def repeat_heads(shared: Tensor, query: Tensor) -> Tensor:
    """Keys or values `shared` [B, Hkv, T, D] as [B, H, T, D], each for the query heads that share it; query has H of them."""
    times = query.shape[1] // shared.shape[1]
    return shared if times == 1 else shared.repeat_interleave(times, dim=1)


def _fused(query: Tensor) -> bool:
    """Whether the fused kernel is the faster one: not on a CPU whose fp32 products are made in bf16 (15 times slower)."""
    return query.device.type != "cpu" or torch.backends.mkldnn.matmul.fp32_precision != "bf16"


_active: ContextVar[Layout] = ContextVar("attention_layout")


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    layout: Layout = others["packed"] if "packed" in others else _active.get()
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if unknown or not getattr(module, "is_causal", True):
        raise CannotPack(f"{type(module).__name__} passes {unknown or 'non-causal attention'}")
    if sliding_window is not None and layout.width > sliding_window:
        raise CannotPack(f"{type(module).__name__} sees {sliding_window} tokens of {layout.width}")
    if module.layer_idx is None:
        raise CannotPack(f"{type(module).__name__} does not number its layers")
    return layout.attend(module.layer_idx, query, key, value, scaling), None


AttentionInterface.register(NAME, _attention)


@contextmanager
def attending(model: PreTrainedModel, layout: Layout) -> Iterator[None]:
    """Inside, the attention layers of `model` follow `layout`; afterwards they do what they did before."""
    config = model.config
    before, pad = config._attn_implementation, config.pad_token_id
    token = _active.set(layout)
    config._attn_implementation = NAME
    config.pad_token_id = None  # or transformers looks for padding in the ids, which waits for a GPU and warns
    try:
        yield
    finally:
        config._attn_implementation, config.pad_token_id = before, pad
        _active.reset(token)
