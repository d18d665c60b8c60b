"""A model as one graph compiled by torch, for a CPU: elementwise work is fused and Python's share is gone.

Data flow: a pack [N] is filled up to a round number of tokens, goes through the graph, and comes back as what the model
says of the M response tokens: hidden states [M, d], log-probabilities and entropies [M]. Where the logits are too many to
be held at once, the graph ends at the hidden states. The values stay outside; the losses are a graph of their own. In bf16 the
body computes under autocast, whose casts are fused with the rest; the logits are fp32, rounded only as inputs of their
product.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from appliance.models.attention import Packed, attending, causal_bias, repeat_heads
from appliance.models.graphs import Graph, in_one_order
from appliance.models.packing import Pack
from appliance.models.precision import Precision

ROUND = 64
"""Tokens are filled up to a multiple of this: oneDNN makes a kernel of its own for every length."""


class _Taken(torch.autograd.Function):
    """x [n, c] at the rows `index` [m]. Its backward takes too, where torch's adds up: grad[`back`] [n] where `used` [n].

    `back` names the one taken row that a row of x went to; `used` is 0 where there is none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, back: Tensor, used: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(back, used)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        back, used = ctx.saved_tensors
        return grad.index_select(0, back) * used[:, None].to(grad.dtype), None, None, None


class _Attended(torch.autograd.Function):
    """softmax(q k^T * scaling + bias) v of q, k, v [G, T, D], bias [T, T]. Every product is of rows as they lie in memory.

    Left to torch, keys and their gradient would be turned over element by element, and the softmax be made twice.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scaling: float) -> Tensor:  # type: ignore[override]
        scores = torch.bmm(q, k.transpose(1, 2)).float() * scaling + bias
        probs = scores.softmax(dim=-1).to(v.dtype)
        ctx.save_for_backward(q, k, v, probs)
        ctx.scaling = scaling
        return torch.bmm(probs, v)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        q, k, v, probs = ctx.saved_tensors
        d_probs = torch.bmm(grad, v.transpose(1, 2)).float()
        d_scores = torch._softmax_backward_data(d_probs, probs.float(), -1, d_probs.dtype) * ctx.scaling
        d_scores = d_scores.to(q.dtype)
        d_query, d_key = torch.bmm(d_scores, k), torch.bmm(d_scores.transpose(1, 2), q)
        return d_query, d_key, torch.bmm(probs.transpose(1, 2), grad), None, None


@dataclass(frozen=True)
class Traced:
    """`Packed` for tracing: tensors alone decide, so that one graph serves every length.

    tokens [B, T] are the tokens' numbers, slots [N] their flat positions in it, bias [T, T] as of `causal_bias`; filled
    [B * T] is 1 where a token stands, real [N] where a token is not there to round the number up. `written`, if it is
    a list, gets the key and value [N, Hkv, D] of each layer.
    """

    tokens: Tensor
    slots: Tensor
    bias: Tensor
    filled: Tensor
    real: Tensor
    written: list[tuple[Tensor, Tensor]] | None = None

    @property
    def width(self) -> int:
        """T."""
        return self.tokens.shape[1]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """As `Packed.attend`: query [1, H, N, D], key and value [1, Hkv, N, D] -> [1, N, H, D]."""
        heads, dim = query.shape[1], query.shape[3]
        if self.written is not None:
            self.written.append((key[0].transpose(0, 1), value[0].transpose(0, 1)))
        q, k, v = (
            repeat_heads(self._laid_out(x), query).reshape(-1, self.width, dim) for x in (query, key, value)
        )  # [B * H, T, D]
        out = _Attended.apply(q, k, v, self.bias, scaling or dim**-0.5)
        out = out.view(-1, heads, self.width, dim).transpose(1, 2)  # [B, T, H, D]
        rows = _Taken.apply(out.reshape(-1, heads * dim), self.slots, self.tokens.flatten(), self.filled)
        return rows.view(1, -1, heads, dim)

    def _laid_out(self, x: Tensor) -> Tensor:
        heads, dim = x.shape[1], x.shape[3]
        rows = x[0].transpose(0, 1).reshape(-1, heads * dim)
        cells = _Taken.apply(rows, self.tokens.flatten(), self.slots, self.real)
        return cells.view(*self.tokens.shape, heads, dim).transpose(1, 2)


def filled_up(ids: Tensor, positions: Tensor, layout: Packed) -> tuple[Tensor, Tensor, Traced]:
    """ids and positions [N] of a row of tokens, filled up to a multiple of ROUND, and their layout for tracing."""
    if layout.width == 1:  # torch makes other code for a size of one
        layout = Packed(layout.sequences, 2, 2 * layout.slots, causal_bias(2, layout.slots.device))
    spare = -len(ids) % ROUND
    ids, positions, slots = (F.pad(x, (0, spare)) for x in (ids, positions, layout.slots))
    real = F.pad(layout.bias.new_ones(len(ids) - spare), (0, spare))
    return ids, positions, Traced(layout.tokens, slots, layout.bias, layout.real.flatten(), real)


class CompiledModel:
    """Reads packs with one model. The first reading compiles: from ten seconds to a minute or two."""

    def __init__(self, lm: PreTrainedModel, precision: Precision, *, learn_entropy: bool) -> None:
        """With `learn_entropy` the entropies have a gradient too."""
        self.lm, self.bf16, self.learn_entropy = lm, precision.compute == "bf16", learn_entropy
        self._hidden_graph, self._whole_graph = (Graph(f, lm, amx=not self.bf16) for f in (self._hidden, self._whole))

    def hidden(self, pack: Pack) -> Tensor:
        """The hidden states [M, d], fp32, of the tokens that predict one. Differentiable.

        With or without a gradient the same graph reads, so training and rollout see the same numbers. Raises ConfigError
        where the model cannot be compiled.
        """
        return self._run(self._hidden_graph, pack)[0]

    def whole(self, pack: Pack, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """`hidden` with `token_logprobs` of it: hidden [M, d], logprobs [M], entropy [M]."""
        targets = F.pad(pack.targets, (0, -len(pack.targets) % ROUND))
        hidden, logprobs, entropy = self._run(self._whole_graph, pack, targets, temperature)
        return hidden, logprobs, entropy

    def _run(self, graph: Graph, pack: Pack, *others: Tensor | float) -> list[Tensor]:
        predicts, wanted = pack.predicts, len(pack.predicts)
        ids, positions, traced = filled_up(pack.ids, pack.positions, pack.layout)
        heard = ids.new_zeros(len(ids)).index_copy_(0, predicts, torch.arange(wanted))
        used = traced.bias.new_zeros(len(ids)).index_fill_(0, predicts, 1.0)
        predicts = F.pad(predicts, (0, -wanted % ROUND))
        with torch.enable_grad(), attending(self.lm, pack.layout), in_one_order():
            found = graph(ids, positions, traced, predicts, heard, used, *others)
        return [x[:wanted] if torch.is_grad_enabled() else x[:wanted].detach() for x in found]

    def _hidden(
        self, ids: Tensor, positions: Tensor, layout: Traced, predicts: Tensor, heard: Tensor, used: Tensor
    ) -> tuple[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output = self.lm.base_model(
                input_ids=ids[None], position_ids=positions[None], use_cache=False, packed=layout
            )
        return (_Taken.apply(output.last_hidden_state[0].float(), predicts, heard, used),)

    def _whole(
        self,
        ids: Tensor,
        positions: Tensor,
        layout: Traced,
        predicts: Tensor,
        heard: Tensor,
        used: Tensor,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (hidden,) = self._hidden(ids, positions, layout, predicts, heard, used)
        logits = self.lm.get_output_embeddings()(hidden).float()
        scaled = logits / temperature if temperature != 1.0 else logits
        return hidden, *_of_logits(scaled, targets, self.learn_entropy)


def _of_logits(logits: Tensor, targets: Tensor, learn_entropy: bool) -> tuple[Tensor, Tensor]:
    """`token_logprobs` in a form that is fused well: one exp, and no gather, whose gradient would be a slow scatter."""
    columns = torch.arange(logits.shape[1], dtype=torch.int32)
    largest = logits.detach().amax(dim=-1, keepdim=True)  # [M, 1]
    shifted = logits - largest
    powers = shifted.exp()
    total = powers.sum(dim=-1)  # [M]
    chosen = torch.where(columns == targets[:, None].int(), shifted, 0.0).sum(dim=-1)
    if not learn_entropy:
        shifted, powers = shifted.detach(), powers.detach()
    expected = (powers * shifted).sum(dim=-1) / total
    entropy = total.log() - expected
    return chosen - total.log(), entropy if learn_entropy else entropy.detach()
