"""Decoding whose every tensor stays where it is: what a CUDA graph can record once and replay for each token.

All that changes from token to token (which column, which random number, which rows go on) lies in tensors; the step
asks the host for nothing.
"""

import torch
from torch import Tensor

from appliance.engines._sampling import Sampling, draw
from appliance.models.attention import Decoding, KvCache, attending
from appliance.models.token_model import TokenModel
from appliance.ppo.types import Generation, Prompts


class StaticCache(KvCache):
    """A cache whose tensors are made once, from the layers of a prefilled one; dtype: that of the matrix products."""

    def __init__(self, rows: int, tokens: int, like: KvCache, dtype: torch.dtype | None) -> None:
        super().__init__(rows, tokens)
        for layer, pair in like.layers.items():
            keys, values = (x.new_zeros(rows, tokens, *x.shape[2:], dtype=dtype or x.dtype) for x in pair)
            self.layers[layer] = (keys, values)

    def take(self, prefilled: KvCache) -> None:
        """Copy the keys and values of a smaller cache to the first rows and columns. What lies behind is never seen."""
        for layer, pair in prefilled.layers.items():
            for mine, given in zip(self.layers[layer], pair, strict=True):
                mine[: prefilled.sequences, : prefilled.tokens].copy_(given)


class Decoder:
    """Up to B responses under way in a cache of T columns. Rows that hold no prompt, or are done, change nothing."""

    def __init__(self, sampling: Sampling, rows: int, tokens: int, like: KvCache, dtype: torch.dtype | None) -> None:
        device = next(iter(like.layers.values()))[0].device
        self.sampling, self.rows = sampling, rows
        self.cache = StaticCache(rows, tokens, like, dtype)
        self.stops = torch.tensor(sampling.stop_ids, device=device, dtype=torch.long)
        self.limits = torch.zeros(rows, dtype=torch.long, device=device)
        self.uniforms = torch.zeros(rows, tokens, device=device)
        self._all_columns = torch.arange(tokens, device=device)
        self._starts = torch.arange(rows, device=device) * tokens
        self.t = torch.zeros(1, dtype=torch.long, device=device)  # the response token that is drawn next
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)  # drawn last, not in the cache yet
        self.token_logprobs = torch.zeros(rows, device=device)
        self.columns = torch.zeros(rows, dtype=torch.long, device=device)  # where `tokens` go
        self.alive = torch.zeros(rows, dtype=torch.bool, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.ids = torch.zeros(rows, tokens, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, tokens, device=device)

    def _state(self) -> tuple[Tensor, ...]:
        """What a step changes, the cache aside: the same step writes the same keys and values there again."""
        drawn = (self.t, self.tokens, self.token_logprobs, self.columns)
        return (*drawn, self.alive, self.ended, self.lengths, self.ids, self.logprobs)

    def snapshot(self) -> tuple[Tensor, ...]:
        """The state of this moment, for `restore`."""
        return tuple(tensor.clone() for tensor in self._state())

    def restore(self, state: tuple[Tensor, ...]) -> None:
        """Go back to a snapshot."""
        for mine, then in zip(self._state(), state, strict=True):
            mine.copy_(then)

    def begin(self, prompts: Prompts, limits: Tensor, uniforms: Tensor, prefilled: KvCache) -> None:
        """Take these prompts, b <= B of them, and their cached keys and values; no response token is drawn yet."""
        count = len(prompts)
        for tensor in self._state():
            tensor.zero_()
        self.cache.take(prefilled)
        self.limits[:count] = limits
        self.uniforms[:count, : uniforms.shape[1]] = uniforms
        # One column early: drawing the first token moves every row on to the column after its prompt.
        self.columns[:count] = prompts.lengths - 1
        self.alive[:count] = True

    def draw(self, logits: Tensor) -> None:
        """Draw a token per row from logits [b, V], the first b rows, and move on by one."""
        count, alive = len(logits), self.alive.clone()
        uniforms = self.uniforms.index_select(1, self.t).squeeze(1)
        tokens, logprobs = draw(logits, uniforms[:count], self.sampling)
        self.tokens[:count] = tokens
        self.token_logprobs[:count] = logprobs
        self.ids.index_copy_(1, self.t, torch.where(alive, self.tokens, 0)[:, None])
        self.logprobs.index_copy_(1, self.t, torch.where(alive, self.token_logprobs, 0.0)[:, None])
        stopped = (self.tokens[:, None] == self.stops).any(dim=1) & alive
        self.lengths.add_(alive)
        self.ended.logical_or_(stopped)
        self.t.add_(1)
        self.alive.copy_(alive & ~stopped & (self.t < self.limits))
        # A row that is done stays at its column, so it never passes the model's last position.
        self.columns.add_(self.alive)

    def step(self, model: TokenModel) -> None:
        """Read the tokens that were drawn last, and draw the next ones."""
        visible = self._all_columns <= self.columns[:, None]  # [B, T]
        layout = Decoding(self.cache, self._starts + self.columns, visible[:, None, None])
        with attending(model.lm, layout):
            output = model.body(
                input_ids=self.tokens[:, None], position_ids=self.columns[:, None], use_cache=False
            ).last_hidden_state
        self.draw(model.head(output[:, 0]))

    def responses(self, count: int, width: int) -> Generation:
        """The first `count` responses, at most `width` tokens each; the buffers are free again."""
        return Generation(
            self.ids[:count, :width].clone(),
            self.lengths[:count].clone(),
            self.ended[:count].clone(),
            self.logprobs[:count, :width].clone(),
        )
