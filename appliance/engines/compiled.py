"""Token by token like `eager`, each step one graph compiled by torch. For a policy with `compile: true`, on a CPU.

Data flow: the policy's own modules read the prompts into a cache; from then on a step takes the tokens drawn last, writes
their keys and values into the cache in place, and gives the hidden states from which the loop of `eager` draws. In bf16 the
weights of products are cast once for all steps (`Shadow`), and the cache is bf16.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.engines._sampling import Sampling
from appliance.engines._shadow import Shadow
from appliance.engines.eager import EagerEngine, prefill
from appliance.models.attention import KvCache, attending
from appliance.models.compiled import Graph
from appliance.models.policy import Policy
from appliance.ppo.types import Engine, Generation, Prompts

FIRST = 48, 40, 24
"""Rows, cached columns and columns read of the step that shapes the code: the same in every session, or a resumed run
would have another code than the one that it goes on with."""


@dataclass(frozen=True)
class TracedDecoding:
    """`Decoding` for tracing. keys, values: per layer [B, T, Hkv, D]; the new token of row b goes to columns[b].

    bias [B, width] is 0 where a row looks, -inf elsewhere.
    """

    keys: list[Tensor]
    values: list[Tensor]
    columns: Tensor
    bias: Tensor

    @property
    def width(self) -> int:
        """Columns of the cache that are read."""
        return self.bias.shape[1]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """As `Decoding.attend`: query [B, H, 1, D], key and value [B, Hkv, 1, D] -> [B, 1, H, D].

        Sums of products, no matrix product: a product of one row would copy the cache first.
        """
        rows, heads, _, dim = query.shape
        shared = key.shape[1]
        keys, values = (
            self._joined(cache[layer], new) for cache, new in ((self.keys, key), (self.values, value))
        )  # [B, Hkv, 1, width, D]
        asked = query.reshape(rows, shared, heads // shared, 1, dim).float()
        scores = (asked * keys).sum(dim=-1) * (scaling or dim**-0.5) + self.bias[:, None, None]
        out = (scores.softmax(dim=-1)[..., None] * values).sum(dim=-2)  # [B, Hkv, H / Hkv, D]
        return out.reshape(rows, 1, heads, dim).to(query.dtype)

    def _joined(self, cache: Tensor, new: Tensor) -> Tensor:
        cache.index_put_((torch.arange(len(new)), self.columns), new[:, :, 0].to(cache.dtype))
        return cache[:, : self.width].float().transpose(1, 2)[:, :, None]


class CompiledEngine(EagerEngine):
    """The first response compiles the step, which takes from some seconds to half a minute.

    It writes what the policy writes, also while `policy.switch` is open: then another engine must.
    """

    def __init__(self, policy: Policy, sampling: Sampling) -> None:
        super().__init__(policy, sampling)
        self._dtype = torch.bfloat16 if policy.precision.compute == "bf16" else None
        self._shadow: Shadow | None = None
        self._graph = Graph(self._step)

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`). A single prompt is written twice: torch makes other code for one row."""
        if len(prompts) > 1:
            return super().generate(prompts, limits, uniforms)
        twice = torch.zeros(2, dtype=torch.long)
        return super().generate(prompts.rows(twice), limits[twice], uniforms[twice]).rows(twice[:1])

    def _begin(self, prompts: Prompts, tokens: int) -> tuple[KvCache, Tensor]:
        cache, hidden = prefill(self.policy, prompts, tokens)
        if self._dtype is not None:
            cache.cast(self._dtype)
        if self._shadow is None or not self._shadow.valid:
            self._shadow = Shadow(self.policy.model.lm, self._dtype)
            self._read(*self._first(cache))
        else:
            self._shadow.refresh()
        return cache, hidden

    def _go_on(self, cache: KvCache, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
        return self._read(cache, tokens, columns, width)

    def _first(self, like: KvCache) -> tuple[KvCache, Tensor, Tensor, int]:
        rows, tokens, width = FIRST
        cache = KvCache(rows, tokens)
        for layer, pair in like.layers.items():
            keys, values = (x.new_zeros(rows, tokens, *x.shape[2:]) for x in pair)
            cache.layers[layer] = (keys, values)
        zeros = torch.zeros(rows, dtype=torch.long)
        return cache, zeros, zeros + 1, width

    def _read(self, cache: KvCache, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
        assert self._shadow is not None
        bias = torch.zeros(len(tokens), width).masked_fill_(torch.arange(width) > columns[:, None], -torch.inf)
        keys, values = ([pair[which] for _, pair in sorted(cache.layers.items())] for which in (0, 1))
        with attending(self._shadow.model.lm, TracedDecoding(keys, values, columns, bias)):
            return self._graph(tokens, columns, bias, keys, values)

    def _step(self, tokens: Tensor, columns: Tensor, bias: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        assert self._shadow is not None
        with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype is not None):
            output = self._shadow.model.body(
                input_ids=tokens[:, None],
                position_ids=columns[:, None],
                use_cache=False,
                packed=TracedDecoding(keys, values, columns, bias),
            )
        return output.last_hidden_state[:, 0].float()


def make(policy: Policy, sampling: Sampling) -> Engine:
    """The engine for `sampling.engine: compiled`."""
    return CompiledEngine(policy, sampling)
