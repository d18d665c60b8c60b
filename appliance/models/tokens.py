"""Between texts and token ids: prompts cut to length, the tokens that end a response, responses as text."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from appliance.config.base import TokenRange
from appliance.errors import ConfigError, DataError
from appliance.models.loading import Loaded
from appliance.ppo.feed import prompts_from_ids, seed_for
from appliance.ppo.types import Decode, Prompts

BLOCK = 1000
"""Texts that are tokenized together: beside each token id the tokenizer keeps some hundred bytes until it is done."""


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Iterator[list[int]]:
    """Each text's tokens, special ones included; the ids of a block of texts exist at a time."""
    for start in range(0, len(texts), BLOCK):
        yield from tokenizer(texts[start : start + BLOCK], verbose=False)["input_ids"]


@dataclass(frozen=True)
class TokenizedPrompts:
    """Prompts as text and as token ids, row by row, and what was left out."""

    texts: list[str]
    ids: list[list[int]]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def pick(self, rows: list[int]) -> Prompts:
        """The rows in that order as one padded record."""
        return prompts_from_ids([self.ids[i] for i in rows], [self.texts[i] for i in rows])


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    *,
    length: TokenRange | None,
    seed: int,
    keep: TokenRange | None = None,
    apart: bool = False,
) -> TokenizedPrompts:
    """Each text's tokens; with `length`, its first n, n drawn from the range by `seed` and the text's number.

    Texts with fewer tokens than the range begins at, or a number outside `keep`, are left out and counted. A cut
    prompt's text is what its tokens say. `apart`: responses are texts of their own (an encoder-decoder's), so a prompt's
    text ends with a space, or the last word of the one would be glued to the first of the other where both are judged.
    """
    kept_texts: list[str] = []
    kept_ids: list[list[int]] = []
    short, least = 0, length.low if length is not None else 1
    outside = 0
    drawn = random.Random(seed_for(seed, "prompt lengths"))
    for text, full in zip(texts, token_ids(tokenizer, texts), strict=True):
        ids = full[:-1] if len(full) > 1 and full[-1] == tokenizer.eos_token_id else full
        cut = ids
        if length is not None:
            cut = ids[: drawn.randint(length.low, length.high)]
        if keep is not None and not keep.low <= len(ids) <= keep.high:
            outside += 1
            continue
        if len(ids) < least:
            short += 1
            continue
        said = text if len(cut) == len(ids) else to_text(tokenizer, [cut])[0]
        kept_texts.append(f"{said} " if apart and not said[-1:].isspace() else said)
        kept_ids.append(cut)
    notes = [f"{short} prompts with fewer than {least} tokens were left out"] if short else []
    if keep is not None and outside:
        notes.append(f"{outside} prompts of fewer than {keep.low} or more than {keep.high} tokens were left out")
    return TokenizedPrompts(kept_texts, kept_ids, notes)


def check_context(prompts: TokenizedPrompts, response_tokens: int, model: PreTrainedModel, *, origin: str) -> None:
    """Raises DataError when the longest prompt and the longest response together are more than the model can read.

    An encoder-decoder reads each by itself: the prompt with its end token, the response with the start token before it.
    """
    limit = context_tokens(model)
    if model.config.is_encoder_decoder:
        _check_both_sides(prompts, response_tokens, limit, origin)
        return
    longest = max(range(len(prompts)), key=lambda i: len(prompts.ids[i]))
    length = len(prompts.ids[longest])
    if limit is not None and length + response_tokens > limit:
        count = sum(len(ids) + response_tokens > limit for ids in prompts.ids)
        raise DataError(
            f"{origin}: {count} of {len(prompts)} prompts are too long, the longest with {length} tokens "
            f"({prompts.texts[longest][:60]!r}...): with {response_tokens} tokens of response the model reads {limit}",
            _shorten(origin, limit - response_tokens),
        )


def _check_both_sides(prompts: TokenizedPrompts, response_tokens: int, limit: int | None, origin: str) -> None:
    if limit is None:
        return
    if response_tokens > limit:
        raise DataError(
            f"{response_tokens} tokens of response, but the model's decoder writes at most {limit}",
            "lower --max-tokens" if origin.startswith("--") else "shorten sampling.response_tokens",
        )
    longest = max(range(len(prompts)), key=lambda i: len(prompts.ids[i]))
    length = len(prompts.ids[longest]) + 1
    if length > limit:
        count = sum(len(ids) + 1 > limit for ids in prompts.ids)
        raise DataError(
            f"{origin}: {count} of {len(prompts)} prompts are too long, the longest with {length} tokens "
            f"({prompts.texts[longest][:60]!r}...): the model's encoder reads {limit}",
            "give a shorter text"
            if origin.startswith("--")
            else f"cut them (prompts.length_tokens: [2, {limit - 1}]), or drop them (prompts.max_characters)",
        )


def _shorten(origin: str, room: int) -> str:
    if origin.startswith("--"):
        return "give a shorter text, or lower --max-tokens"
    if room < 2:
        return "shorten sampling.response_tokens: they alone leave no room for a prompt"
    return f"cut them (prompts.length_tokens: [2, {room}]), or shorten sampling.response_tokens"


def check_length(max_length_tokens: int, loaded: Loaded) -> None:
    """Raises ConfigError when texts of this length are more than the model has positions for."""
    limit = context_tokens(loaded.model)
    if limit is not None and max_length_tokens > limit:
        raise ConfigError(
            f"training.max_length_tokens is {max_length_tokens}, but {loaded.folder} reads at most {limit} tokens",
            f"set training.max_length_tokens to {limit} or less",
        )


def context_tokens(model: PreTrainedModel) -> int | None:
    """How many tokens the model has positions for, or None where its config does not say (T5 has relative ones)."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a response: the tokenizer's end token and the model's own (a chat model may have several)."""
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    return tuple(sorted(i for i in ids if i is not None and i < model.config.get_text_config().vocab_size))


def to_text(tokenizer: PreTrainedTokenizerBase, ids: list[list[int]]) -> list[str]:
    """The texts of token ids, special tokens left out, spaces as they were."""
    if not ids:
        return []
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def decoder(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None) -> Decode:
    """Prompt and response ids to the response's text: what it adds to the prompt, so that a leading space survives.

    A tokenizer that drops the first word's space (sentencepiece) would otherwise glue prompt and response together. With
    an encoder-decoder `model` the response is a text of its own, and read alone (see `tokenize_prompts`, `apart`).
    """
    if model is not None and model.config.is_encoder_decoder:
        return lambda prompts, responses: to_text(tokenizer, responses)

    def decode(prompts: list[list[int]], responses: list[list[int]]) -> list[str]:
        together = to_text(tokenizer, [p + r for p, r in zip(prompts, responses, strict=True)])
        before = to_text(tokenizer, prompts)
        apart = [
            i for i, (whole, start) in enumerate(zip(together, before, strict=True)) if not whole.startswith(start)
        ]
        texts = [whole[len(start) :] for whole, start in zip(together, before, strict=True)]
        for i, text in zip(apart, to_text(tokenizer, [responses[i] for i in apart]), strict=True):
            texts[i] = text  # prompt and response share a character's bytes, so the prompt alone reads differently
        return texts

    return decode
