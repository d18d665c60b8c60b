"""An encoder-decoder model read token by token: the encoder reads the prompt, the decoder its start token and the response.

The state before token t chooses token t, the first one included: it is the state after the start token.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.errors import ModelError
from appliance.models.packing import Pack
from appliance.models.token_model import Reading, TokenModel
from appliance.ppo.logprobs import head_logprobs
from appliance.ppo.types import Generation, Prompts, mask_from_lengths


class Heard:
    """What `Seq2SeqModel.listening` hears of one forward: the decoder's states, and what its head was given."""

    states: Tensor
    given: Tensor


class Seq2SeqModel(TokenModel):
    """Always read with padding, on the right of prompts and responses alike. Raises ModelError without a start token.

    Prompts hold no end token (`tokenize_prompts` takes it off), since one that was cut has none; the encoder gets it back.
    """

    seq2seq = True

    def __init__(self, lm: PreTrainedModel) -> None:
        super().__init__(lm)
        self.packs = False
        config, generation = lm.config, lm.generation_config
        start = config.decoder_start_token_id
        if start is None and generation is not None:
            start = generation.decoder_start_token_id
        if start is None:
            raise ModelError(
                f"{type(lm).__name__} does not say which token its decoder begins with",
                "set decoder_start_token_id in the model's config.json",
            )
        self.start = int(start)
        self.end = end_of_prompt(lm)

    def packed(self, pack: Pack, *, temperature: float, with_entropy: bool) -> Reading:
        """Never: `packs` is False."""
        raise NotImplementedError("an encoder-decoder model is read with padding")

    def prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """ids and mask (True = real), [B, P + 1] each: what the encoder reads, the end token included where there is one."""
        width = prompts.ids.shape[1]
        mask = mask_from_lengths(prompts.lengths, width)
        ids = torch.where(mask, prompts.ids, 0)
        if self.end is None:
            return ids, mask
        ids = torch.cat([ids, torch.zeros_like(ids[:, :1])], dim=1)
        ids = ids.scatter(1, prompts.lengths[:, None], self.end)
        return ids, mask_from_lengths(prompts.lengths + 1, width + 1)

    def padded(self, prompts: Prompts, responses: Generation, *, temperature: float, with_entropy: bool) -> Reading:
        """Read with the model's own forward; log-probabilities are made from the response positions alone, in chunks."""
        ids, mask = self.prompts(prompts)
        kept = responses.mask  # [B, R]; the states that choose stand one earlier, and are as many
        start = torch.full_like(responses.ids[:, :1], self.start)
        before = torch.cat([start, responses.ids[:, :-1]], dim=1)
        with self._listening() as heard:
            self.lm(
                input_ids=ids,
                attention_mask=mask.long(),
                decoder_input_ids=torch.where(kept, before, 0),
                decoder_attention_mask=kept.long(),
                use_cache=False,
            )
        logprobs, entropy = head_logprobs(
            self.logits,
            heard.given[kept],
            responses.ids[kept],
            vocabulary=self.vocabulary,
            temperature=temperature,
            with_entropy=with_entropy,
        )
        return Reading(heard.states[kept], logprobs, entropy)

    def logits(self, given: Tensor) -> Tensor:
        """[M, V] of what the head is given [M, d]: T5 scales the decoder's states before it, BART adds a bias after it."""
        logits: Tensor = self.head(given)
        bias = getattr(self.lm, "final_logits_bias", None)
        return logits if bias is None else logits + bias

    @contextmanager
    def _listening(self) -> Iterator[Heard]:
        """Inside, one forward leaves its states; its head makes no logits, which would be of every padded position."""
        heard = Heard()

        def at_head(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            heard.given = args[0]
            return (args[0][:, :0],)

        def after_decoder(_: nn.Module, __: tuple[Tensor, ...], output: Reading) -> None:
            heard.states = output.last_hidden_state  # type: ignore[attr-defined]

        handles = [
            self.head.register_forward_pre_hook(at_head),
            self.lm.get_decoder().register_forward_hook(after_decoder),
        ]
        try:
            yield heard
        finally:
            for handle in handles:
                handle.remove()


def end_of_prompt(lm: PreTrainedModel) -> int | None:
    """The token that the encoder's input ends with, as the tokenizers of encoder-decoders write it; None: no such token."""
    end = lm.config.eos_token_id
    if isinstance(end, list):
        end = end[0] if end else None
    return None if end is None else int(end)


def token_model(lm: PreTrainedModel) -> TokenModel:
    """The reader that fits the model."""
    return Seq2SeqModel(lm) if lm.config.is_encoder_decoder else TokenModel(lm)
