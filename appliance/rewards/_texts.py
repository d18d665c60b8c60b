"""What reads prompts and responses with a sequence classifier: shared by the reward sources that are models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from appliance.config.base import ModelSource, Positive
from appliance.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from appliance.models.loading import Loaded

UNLIMITED_TOKENS = 10**9  # tokenizers that know no limit report a number far above this


class Reading(ModelSource):
    """A sequence classifier, and how it is given a prompt with its response."""

    include_prompt: bool = Field(True, description="false: judge the response alone")
    max_length_tokens: Positive | None = Field(
        None, description="longer texts lose their beginning; none: the model's own limit"
    )
    microbatch: Positive = Field(64, description="texts per forward; changes the speed, not the scores")


def logits_reader(
    loaded: Loaded, reading: Reading, device: torch.device
) -> Callable[[list[str], list[str]], torch.Tensor]:
    """A function of prompts and responses, lists of length B, to the classifier's logits [B, C], float32, on `device`.

    Forwards take texts of similar length, so that little is padded; a row depends on its own text alone, to rounding.
    A text over the limit keeps its end, for it is the response that is judged, and its special tokens.
    Raises ModelError when max_length_tokens is out of the model's range, or the tokenizer has no pad or end token.
    """
    import torch

    model, tokenizer = loaded.model.to(device), loaded.tokenizer
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"{loaded.folder}: the tokenizer has neither a pad nor an end token", "set pad_token in its config"
        )
    limit = _limit_tokens(loaded, reading)
    tokenizer.truncation_side = "left"
    cut = {} if limit is None else {"truncation": True, "max_length": limit}

    @torch.no_grad()
    def read(prompts: list[str], responses: list[str]) -> torch.Tensor:
        texts = [(p if reading.include_prompt else "") + r for p, r in zip(prompts, responses, strict=True)]
        logits = torch.empty(len(texts), model.config.num_labels, device=device)  # [B, C]
        if not texts:
            return logits
        rows = tokenizer(texts, **cut, verbose=False)["input_ids"]
        rows = [ids or [tokenizer.pad_token_id] for ids in rows]  # no text, and a tokenizer that adds no tokens
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]), reverse=True)  # the largest forward first
        for start in range(0, len(order), reading.microbatch):
            chosen = order[start : start + reading.microbatch]
            lengths = torch.tensor([len(rows[row]) for row in chosen])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]  # [b, T]
            ids = torch.full(mask.shape, tokenizer.pad_token_id)
            ids[mask] = torch.tensor([token for row in chosen for token in rows[row]])
            found = model(input_ids=ids.to(device), attention_mask=mask.long().to(device)).logits  # [b, C]
            logits[torch.tensor(chosen, device=device)] = found.float()
        return logits

    return read


def _limit_tokens(loaded: Loaded, reading: Reading) -> int | None:
    own = [limit for limit in (_positions(loaded.model), loaded.tokenizer.model_max_length) if limit is not None]
    most = min(own) if own and min(own) < UNLIMITED_TOKENS else None
    asked = reading.max_length_tokens
    if asked is None:
        return most
    if most is not None and asked > most:
        raise ModelError(
            f"{loaded.folder} reads at most {most} tokens; max_length_tokens is {asked}",
            f"set max_length_tokens to {most} or less, or leave it out",
        )
    special = loaded.tokenizer.num_special_tokens_to_add(pair=False)
    if asked <= special:
        raise ModelError(
            f"max_length_tokens is {asked}, and {loaded.folder} adds {special} special tokens to every text",
            f"set max_length_tokens to {special + 1} or more",
        )
    return asked


def _positions(model: PreTrainedModel) -> int | None:
    """How many tokens the model has positions for; None when it does not say."""
    import torch

    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its kin number positions from behind the pad token
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
