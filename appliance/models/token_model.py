"""A causal language model read token by token: packed where its attention allows it, padded where not."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.models.attention import attending
from appliance.models.compiled import CompiledModel
from appliance.models.packing import Pack
from appliance.ppo.logprobs import CHUNK_BYTES, head_logprobs, token_logprobs
from appliance.ppo.types import Generation, Prompts, mask_from_lengths


@dataclass(frozen=True)
class Reading:
    """What one forward says of the M response tokens, in row order: hidden [M, d], logprobs [M], entropy [M]."""

    hidden: Tensor
    logprobs: Tensor
    entropy: Tensor


class TokenModel:
    """Reads the log-probabilities of responses with one Hugging Face model, always in evaluation mode (no dropout)."""

    seq2seq = False
    """Whether an encoder reads the prompt and the response begins a text of its own."""

    def __init__(self, lm: PreTrainedModel) -> None:
        self.lm = lm.eval()
        self.body: nn.Module = lm.base_model
        self.head: nn.Module = lm.get_output_embeddings()
        self.vocabulary: int = lm.config.get_text_config().vocab_size
        self.packs = True
        self.compiled: CompiledModel | None = None

    def packed(self, pack: Pack, *, temperature: float, with_entropy: bool) -> Reading:
        """Read the real tokens only, without padding."""
        if self.compiled is not None and len(pack.targets) * self.vocabulary * 4 <= CHUNK_BYTES:
            return Reading(*self.compiled.whole(pack, temperature))
        hidden = self._hidden(pack)
        logprobs, entropy = head_logprobs(
            self.head,
            hidden,
            pack.targets,
            vocabulary=self.vocabulary,
            temperature=temperature,
            with_entropy=with_entropy,
        )
        return Reading(hidden, logprobs, entropy)

    def _hidden(self, pack: Pack) -> Tensor:
        if self.compiled is not None:
            return self.compiled.hidden(pack)
        with attending(self.lm, pack.layout):
            output = self.body(input_ids=pack.ids[None], position_ids=pack.positions[None], use_cache=False)
        return output.last_hidden_state[0].index_select(0, pack.predicts)  # [M, d]

    def padded(self, prompts: Prompts, responses: Generation, *, temperature: float, with_entropy: bool) -> Reading:
        """Read with the model's own forward: prompts padded left, responses right, mask and position ids given."""
        ids, mask, positions = left_padded(prompts, responses)
        heard: list[Tensor] = []

        def hear(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            heard.append(args[0])

        handle = self.head.register_forward_pre_hook(hear)
        try:
            width = responses.ids.shape[1]
            logits = self.lm(
                input_ids=ids,
                attention_mask=mask.long(),
                position_ids=positions,
                use_cache=False,
                logits_to_keep=width + 1,  # from the last prompt token on: position t predicts token t + 1
            ).logits[:, :-1]  # [B, R, V]
        finally:
            handle.remove()
        kept = responses.mask
        logprobs, entropy = token_logprobs(
            logits[kept], responses.ids[kept], temperature=temperature, with_entropy=with_entropy
        )
        return Reading(heard[0][:, :-1][kept], logprobs, entropy)


def left_padded(prompts: Prompts, responses: Generation | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """ids, mask (True = real) and position ids, each [B, P + R]: prompts end at column P - 1, responses begin at P.

    Position ids count real tokens, clamp(cumsum(mask) - 1, 0), so that padding shifts nothing.
    """
    width = prompts.ids.shape[1]
    columns = torch.arange(width, device=prompts.ids.device)[None, :] - (width - prompts.lengths)[:, None]
    mask = columns >= 0  # [B, P]
    ids = torch.where(mask, prompts.ids.gather(1, columns.clamp_min(0)), 0)
    if responses is not None:
        kept = mask_from_lengths(responses.lengths, responses.ids.shape[1])
        ids = torch.cat([ids, torch.where(kept, responses.ids, 0)], dim=1)
        mask = torch.cat([mask, kept], dim=1)
    return ids, mask, (mask.long().cumsum(dim=1) - 1).clamp_min(0)
