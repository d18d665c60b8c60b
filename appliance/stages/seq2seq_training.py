"""Supervised fine-tuning of encoder-decoders with transformers' Seq2SeqTrainer; TRL's SFTTrainer is for decoders alone."""

from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Seq2SeqTrainer, Seq2SeqTrainingArguments

from appliance.config import SftConfig
from appliance.data.demonstrations import Demonstration
from appliance.data.split import held_out, prompt_key
from appliance.errors import ConfigError, DataError
from appliance.models.precision import Precision
from appliance.models.seq2seq import Seq2SeqModel, end_of_prompt
from appliance.stages import trl_training as trl

IGNORED = -100
"""The label of a position that is not learned."""

Row = dict[str, list[int]]


def check(config: SftConfig, rows: list[Demonstration]) -> None:
    """Raises ConfigError when the config asks for what an encoder-decoder cannot do."""
    if any(row.prompt is None for row in rows):
        raise ConfigError(
            "policy.model is an encoder-decoder: its encoder reads a prompt and its decoder writes the text, but there "
            "are no prompts",
            "set data.prompt_column to the column that holds them, or data.template",
        )
    if config.training.packing:
        raise ConfigError(
            "training.packing is true, but an encoder-decoder reads one prompt per row", "set training.packing: false"
        )


def token_pairs(
    rows: list[Demonstration], config: SftConfig, tokenizer: PreTrainedTokenizerBase, lm: PreTrainedModel
) -> tuple[list[Row], list[Row]]:
    """Rows to train on and held-out rows: input_ids, which the encoder reads, and labels, which the decoder writes.

    Both are cut to training.max_length_tokens; the prompt keeps its end token, a text that is cut loses it. Raises
    DataError when nothing is left.
    """
    limit, end, close = config.training.max_length_tokens, tokenizer.eos_token_id, end_of_prompt(lm)
    aside = held_out([prompt_key(row.prompt or row.text) for row in rows], config.data.held_out_share, seed=config.seed)
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row, apart in zip(rows, aside, strict=True):
        before = tokenizer(row.prompt)["input_ids"] if row.prompt else []
        if close is not None:
            before = before[:-1] if before and before[-1] == close else before
            before = [*before[: max(1, limit - 1)], close]
        text = tokenizer(row.text)["input_ids"]
        text = text if text and text[-1] == end else [*text, end]
        if before:
            sides[apart].append({"input_ids": before[:limit], "labels": text[:limit]})
    if not sides[0]:
        raise DataError(f"{config.data.source}: no row with a prompt is left to train on", "give rows with prompts")
    return sides


class Collate:
    """Rows as one batch, padded on the right; the decoder reads its start token and the labels but the last."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """input_ids, attention_mask, decoder_input_ids, decoder_attention_mask and labels."""
        asked, wanted = [torch.tensor(row["input_ids"]) for row in rows], [torch.tensor(row["labels"]) for row in rows]
        given = [torch.cat([ids.new_tensor([self.start]), ids[:-1]]) for ids in wanted]
        return {
            "input_ids": _padded(asked, 0),
            "attention_mask": _padded([torch.ones_like(ids) for ids in asked], 0),
            "decoder_input_ids": _padded(given, 0),
            "decoder_attention_mask": _padded([torch.ones_like(ids) for ids in wanted], 0),
            "labels": _padded(wanted, IGNORED),
        }


def _padded(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)


def token_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean -log p over the tokens of an optimizer step, whatever its micro-batches; without their number, the sum."""
    total = F.cross_entropy(
        outputs["logits"].float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total if num_items_in_batch is None else total / num_items_in_batch


def trainer_of(
    model: Any,
    options: dict[str, Any],
    train: list[Row],
    tokenizer: PreTrainedTokenizerBase,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR],
    reporter: trl.Reporter,
    *,
    start: int,
) -> Seq2SeqTrainer:
    """The trainer over `train`; `start` is the decoder's first token."""
    return Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(**options),
        data_collator=Collate(start),
        train_dataset=Dataset.from_list(train),
        processing_class=tokenizer,
        optimizers=optimizers,
        callbacks=[reporter],
        compute_loss_func=token_loss,
    )


def start_of(lm: PreTrainedModel) -> int:
    """The decoder's first token. Raises ModelError where the model does not say."""
    return Seq2SeqModel(lm).start


@torch.no_grad()
def held_out_loss(model: Any, rows: list[Row], precision: Precision, *, start: int, at_a_time: int) -> float:
    """Mean -log p in nats over all tokens of `rows`, without dropout."""
    collate, total, tokens = Collate(start), 0.0, 0
    model.eval()
    for first in range(0, len(rows), at_a_time):
        batch = {name: value.to(precision.device) for name, value in collate(rows[first : first + at_a_time]).items()}
        labels = batch.pop("labels")
        with precision.active():
            total += float(token_loss(model(**batch), labels))
        tokens += int((labels != IGNORED).sum())
    return total / tokens
