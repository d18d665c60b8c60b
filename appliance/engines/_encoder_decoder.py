"""Token by token for encoder-decoders: prompts are encoded once, the decoder keeps a cache, rows that are done leave."""

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from appliance.engines._sampling import Sampling, draw
from appliance.engines.eager import DONE_SHARE
from appliance.models.policy import Policy
from appliance.models.seq2seq import Seq2SeqModel
from appliance.ppo.types import Generation, Prompts


class EncoderDecoderEngine:
    """The model's own forward. All rows are at the same decoder position, so nothing of a response is ever padding.

    `fallback` is None, or why this runs where another engine was asked for.
    """

    def __init__(self, policy: Policy, sampling: Sampling) -> None:
        self.policy, self.sampling = policy, sampling
        self.fallback: str | None = None

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`)."""
        total, width = uniforms.shape
        model, device = self.policy.model, uniforms.device
        assert isinstance(model, Seq2SeqModel)
        stops = torch.tensor(self.sampling.stop_ids, device=device, dtype=torch.long)
        ids = torch.zeros(total, width, dtype=torch.long, device=device)
        logprobs = torch.zeros(total, width, device=device)
        lengths = torch.zeros(total, dtype=torch.long, device=device)
        ended = torch.zeros(total, dtype=torch.bool, device=device)
        rows = torch.arange(total, device=device)  # which prompt each row of the batch answers
        alive = torch.ones(total, dtype=torch.bool, device=device)
        given, mask = model.prompts(prompts)
        encoded = model.lm.get_encoder()(input_ids=given, attention_mask=mask.long()).last_hidden_state  # [B, P + 1, d]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens = torch.full_like(rows, model.start)
        for t in range(width):
            logits = model.lm(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=mask.long(),
                decoder_input_ids=tokens[:, None],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            tokens, token_logprobs = draw(logits, uniforms[rows, t], self.sampling)
            now = rows[alive]
            ids[now, t], logprobs[now, t] = tokens[alive], token_logprobs[alive]
            stopped = torch.isin(tokens, stops) & alive
            lengths[now] = t + 1
            ended[rows[stopped]] = True
            alive = alive & ~stopped & (t + 1 < limits[rows])
            left = int(alive.sum())
            if left == 0:
                break
            if left <= (1 - DONE_SHARE) * len(rows):
                index = alive.nonzero().squeeze(1)
                cache.batch_select_indices(index)
                rows, tokens, alive = rows[index], tokens[index], alive[index]
                encoded, mask = encoded[index], mask[index]
        return Generation(ids, lengths, ended, logprobs)
