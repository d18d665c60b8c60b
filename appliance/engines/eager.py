"""Token by token with a cache that holds no padding; rows that are done leave the batch. For any packable model."""

from dataclasses import replace

import torch
from torch import Tensor

from appliance.engines._sampling import Sampling, draw
from appliance.models.attention import Decoding, KvCache, Packed, attending, causal_bias
from appliance.models.policy import Policy
from appliance.ppo.types import Engine, Generation, Prompts, mask_from_lengths

DONE_SHARE = 0.15
"""Rows that are done are dropped from the batch when they are at least this share of it: dropping copies the cache."""

ROWS = 16
"""The batch shrinks to a multiple of this: oneDNN makes a kernel for every number of rows that it has not met."""


class EagerEngine:
    """Runs the policy's own weights; nothing is copied and nothing is compiled."""

    def __init__(self, policy: Policy, sampling: Sampling) -> None:
        self.policy, self.sampling = policy, sampling

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`)."""
        total, width = uniforms.shape
        model, device = self.policy.model, uniforms.device
        stops = torch.tensor(self.sampling.stop_ids, device=device, dtype=torch.long)
        ids = torch.zeros(total, width, dtype=torch.long, device=device)
        logprobs = torch.zeros(total, width, device=device)
        lengths = torch.zeros(total, dtype=torch.long, device=device)
        ended = torch.zeros(total, dtype=torch.bool, device=device)
        rows = torch.arange(total, device=device)  # which prompt each row of the batch continues
        alive = torch.ones(total, dtype=torch.bool, device=device)
        cache, hidden = self._begin(prompts, prompts.ids.shape[1] + width)
        for t in range(width):
            tokens, token_logprobs = draw(model.head(hidden), uniforms[rows, t], self.sampling)
            now = rows[alive]
            ids[now, t], logprobs[now, t] = tokens[alive], token_logprobs[alive]
            stopped = torch.isin(tokens, stops) & alive
            lengths[now] = t + 1
            ended[rows[stopped]] = True
            alive = alive & ~stopped & (t + 1 < limits[rows])
            left = int(alive.sum())
            if left == 0:
                break
            kept = min(len(rows), -(-left // ROWS) * ROWS)
            if kept <= (1 - DONE_SHARE) * len(rows):
                index = alive.long().argsort(descending=True, stable=True)[:kept].sort().values
                cache.keep(index)
                rows, tokens, alive = rows[index], tokens[index], alive[index]
            hidden = self._go_on(cache, tokens, prompts.lengths[rows] + t, prompts.ids.shape[1] + t + 1)
        return Generation(ids, lengths, ended, logprobs)

    def _begin(self, prompts: Prompts, tokens: int) -> tuple[KvCache, Tensor]:
        return prefill(self.policy, prompts, tokens)

    def _go_on(self, cache: KvCache, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
        return decode(self.policy, cache, tokens, columns, width)


def prefill(policy: Policy, prompts: Prompts, tokens: int) -> tuple[KvCache, Tensor]:
    """A cache of `tokens` columns that holds the prompts, and the hidden state [B, d] after each prompt's last token."""
    cache = KvCache(len(prompts), tokens)
    ids, columns, row = end_to_end(prompts)
    layout = replace(row, cache=cache, cache_slots=row.slots // row.width * tokens + columns)
    with attending(policy.model.lm, layout):
        output = policy.model.body(input_ids=ids[None], position_ids=columns[None], use_cache=False)
    return cache, output.last_hidden_state[0].index_select(0, prompts.lengths.cumsum(0) - 1)


def end_to_end(prompts: Prompts) -> tuple[Tensor, Tensor, Packed]:
    """The prompts as one row of N tokens: ids [N], the column [N] of each in its prompt, and their layout."""
    width = prompts.ids.shape[1]
    mask = mask_from_lengths(prompts.lengths, width)  # [B, P]
    slots = mask.flatten().nonzero().squeeze(1)
    return prompts.ids[mask], slots % width, Packed(len(prompts), width, slots, causal_bias(width, slots.device))


def decode(policy: Policy, cache: KvCache, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
    """The hidden state [B, d] after `tokens` [B], which go to `columns` [B] of the cache, all below `width`."""
    visible = torch.arange(width, device=tokens.device) <= columns[:, None]  # [B, width]
    offsets = torch.arange(len(tokens), device=tokens.device) * cache.tokens
    layout = Decoding(cache, offsets + columns, visible[:, None, None])
    with attending(policy.model.lm, layout):
        output = policy.model.body(input_ids=tokens[:, None], position_ids=columns[:, None], use_cache=False)
    return output.last_hidden_state[:, 0]


def make(policy: Policy, sampling: Sampling) -> Engine:
    """The engine for `sampling.engine: eager`."""
    return EagerEngine(policy, sampling)
