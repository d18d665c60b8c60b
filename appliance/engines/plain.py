"""The model's own padded forward with transformers' cache: slower, for attention that the packed layouts cannot do."""

import torch
from torch import Tensor
from transformers import DynamicCache

from appliance.engines._encoder_decoder import EncoderDecoderEngine
from appliance.engines._sampling import Sampling, draw
from appliance.models.policy import Policy
from appliance.models.token_model import left_padded
from appliance.ppo.types import Engine, Generation, Prompts


class PlainEngine:
    """Prompts are padded on the left; mask and position ids are always given."""

    def __init__(self, policy: Policy, sampling: Sampling) -> None:
        self.policy, self.sampling = policy, sampling

    @torch.no_grad()
    def generate(self, prompts: Prompts, limits: Tensor, uniforms: Tensor) -> Generation:
        """One response per prompt (see `Engine`)."""
        total, width = uniforms.shape
        device = uniforms.device
        stops = torch.tensor(self.sampling.stop_ids, device=device, dtype=torch.long)
        ids = torch.zeros(total, width, dtype=torch.long, device=device)
        logprobs = torch.zeros(total, width, device=device)
        lengths = torch.zeros(total, dtype=torch.long, device=device)
        ended = torch.zeros(total, dtype=torch.bool, device=device)
        alive = torch.ones(total, dtype=torch.bool, device=device)
        given, mask, positions = left_padded(prompts)
        cache = DynamicCache(config=self.policy.model.lm.config)
        for t in range(width):
            logits = self.policy.model.lm(
                input_ids=given,
                attention_mask=mask.long(),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            tokens, token_logprobs = draw(logits, uniforms[:, t], self.sampling)
            ids[:, t] = torch.where(alive, tokens, 0)
            logprobs[:, t] = torch.where(alive, token_logprobs, 0.0)
            lengths += alive
            stopped = torch.isin(tokens, stops) & alive
            ended |= stopped
            alive = alive & ~stopped & (t + 1 < limits)
            if not alive.any():
                break
            given, mask = tokens[:, None], torch.cat([mask, mask.new_ones(total, 1)], dim=1)
            positions = positions[:, -1:] + 1
        return Generation(ids, lengths, ended, logprobs)


def make(policy: Policy, sampling: Sampling) -> Engine:
    """The engine for `sampling.engine: plain`."""
    return EncoderDecoderEngine(policy, sampling) if policy.seq2seq else PlainEngine(policy, sampling)
