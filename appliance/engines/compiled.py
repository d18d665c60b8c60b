"""Token by token like `eager`, each step one graph compiled by torch. For a policy with `compile: true`, on a CPU.

Data flow: one graph reads the prompts and gives their keys and values, which are written to a cache; from then on another
takes the tokens drawn last, writes their keys and values into the cache in place, and gives the hidden states from which
the loop of `eager` draws. In bf16 the weights of products are cast once for all steps (`Shadow`), and the cache is bf16.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from appliance.engines._sampling import Sampling
from appliance.engines._shadow import Shadow
from appliance.engines.eager import EagerEngine, end_to_end
from appliance.models.attention import KvCache, attending
from appliance.models.compiled import Traced, filled_up
from appliance.models.graphs import Graph
from appliance.models.policy import Policy
from appliance.ppo.types import Engine, Generation, Prompts

FIRST = 48, 8, 40, 24
"""Prompts, their tokens, cached columns and columns read of the run that shapes the code: the same in every session, or a
resumed run would have another code than the one that it goes on with."""

READ_PAIRS = 2**17
"""About so many pairs of tokens, in which attention is written out, are read of the prompts at a time."""


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
        lm = policy.model.lm
        self._reading, self._decoding = Graph(self._read, lm), Graph(self._step, lm)

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`). A single prompt is written twice: torch makes other code for one row."""
        if len(prompts) > 1:
            return super().generate(prompts, limits, uniforms)
        twice = torch.zeros(2, dtype=torch.long)
        return super().generate(prompts.rows(twice), limits[twice], uniforms[twice]).rows(twice[:1])

    def _begin(self, prompts: Prompts, tokens: int) -> tuple[KvCache, Tensor]:
        self.warm_up()
        assert self._shadow is not None
        self._shadow.refresh()
        return self._prefill(prompts, tokens)

    @torch.no_grad()
    def warm_up(self) -> None:
        """Compile, unless that is done, with sizes that are always the same. Raises ConfigError where that cannot be."""
        if self._shadow is not None and self._shadow.valid:
            return
        self._shadow = Shadow(self.policy.model.lm, self._dtype)
        count, length, columns, width = FIRST
        ids, tokens = torch.zeros(count, length, dtype=torch.long), torch.zeros(count, dtype=torch.long)
        prompts = Prompts([""] * count, ids, torch.arange(count) % length + 1)
        cache, _ = self._prefill(prompts, columns)
        self._go_on(cache, tokens, prompts.lengths, width)

    def _prefill(self, prompts: Prompts, tokens: int) -> tuple[KvCache, Tensor]:
        cache, width = KvCache(len(prompts), tokens), prompts.ids.shape[1]
        pieces = max(1, len(prompts) // max(2, READ_PAIRS // width**2))  # none of a single row
        hidden = [
            self._prefill_rows(prompts.rows(rows), rows, cache)
            for rows in torch.arange(len(prompts)).tensor_split(pieces)
        ]
        return cache, torch.cat(hidden)

    def _prefill_rows(self, prompts: Prompts, rows: Tensor, cache: KvCache) -> Tensor:
        tokens, columns, layout = end_to_end(prompts)
        ids, positions, traced = filled_up(tokens, columns, layout)
        with attending(self._mirror, layout):
            hidden, written = self._reading(ids, positions, traced, prompts.lengths.cumsum(0) - 1)
        slots = rows[layout.slots // layout.width] * cache.tokens + columns
        for layer, (key, value) in enumerate(written):
            cache.write(layer, slots, key[: len(slots)], value[: len(slots)])
        return hidden

    def _go_on(self, cache: KvCache, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
        bias = torch.zeros(len(tokens), width).masked_fill_(torch.arange(width) > columns[:, None], -torch.inf)
        keys, values = ([pair[which] for _, pair in sorted(cache.layers.items())] for which in (0, 1))
        with attending(self._mirror, TracedDecoding(keys, values, columns, bias)):
            return self._decoding(tokens, columns, bias, keys, values)

    @property
    def _mirror(self) -> PreTrainedModel:
        assert self._shadow is not None
        return self._shadow.model.lm

    def _read(
        self, ids: Tensor, positions: Tensor, layout: Traced, last: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The hidden states [B, d] of the tokens `last` [B], and each layer's key and value [N, Hkv, D]."""
        written: list[tuple[Tensor, Tensor]] = []
        hidden = self._hidden(ids[None], positions[None], replace(layout, written=written))[0]
        return hidden.index_select(0, last), written

    def _step(self, tokens: Tensor, columns: Tensor, bias: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        layout = TracedDecoding(keys, values, columns, bias)
        return self._hidden(tokens[:, None], columns[:, None], layout)[:, 0]

    def _hidden(self, ids: Tensor, positions: Tensor, layout: Traced | TracedDecoding) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype is not None):
            output = self._mirror.base_model(input_ids=ids, position_ids=positions, use_cache=False, packed=layout)
        return output.last_hidden_state.float()


def make(policy: Policy, sampling: Sampling) -> Engine:
    """The engine for `sampling.engine: compiled`."""
    return CompiledEngine(policy, sampling)
