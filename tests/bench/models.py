"""What the benchmark trains, made from nothing in about two minutes: policies, a sentiment classifier, and prompts.

    .venv/bin/python tests/bench/models.py FOLDER tiny,small

Each policy is a GPT-2 that has learned to write film reviews, so that there is something to improve; the classifier is
a DistilBERT that tells good reviews from bad ones. All are Hugging Face folders that transformers 4.46 reads as well.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from appliance.data import films

VOCABULARY = 1024
EOS, PAD = "<|endoftext|>", "<|pad|>"
SHAPES = {
    "test": {"n_layer": 1, "n_embd": 32, "n_head": 2},
    "tiny": {"n_layer": 2, "n_embd": 128, "n_head": 4},
    "small": {"n_layer": 6, "n_embd": 384, "n_head": 6},
}
STEPS = {"test": 2, "tiny": 500, "small": 120}
REVIEWS, HELD_OUT = 6000, 128
SMOKE = {"reviews": 400, "steps": {"classifier": 2}}
"""For the size `test` alone: everything runs, nothing is learned."""


def make(folder: Path, sizes: list[str], *, reviews: int = REVIEWS, steps: dict[str, int] | None = None) -> None:
    """Writes FOLDER/<size>, FOLDER/classifier and FOLDER/prompts.json, each unless it is there."""
    labelled = films.reviews(reviews, seed=0)
    texts = [text for text, _ in labelled]
    tokenizer = make_tokenizer(texts)
    steps = STEPS | (steps or {})
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "prompts.json").exists():
        prompts = make_prompts(texts, tokenizer)
        (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    if not (folder / "classifier" / "config.json").exists():
        save(train_classifier(labelled, tokenizer, steps.get("classifier", 200)), tokenizer, folder / "classifier")
    for size in sizes:
        if not (folder / size / "config.json").exists():
            save(train_policy(texts, tokenizer, size, steps[size]), tokenizer, folder / size)


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most VOCABULARY tokens; the end and the pad token differ."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_prompts(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[list[int]]]:
    """`train` and `held_out` prompts as token ids: beginnings of reviews, 2 to 8 tokens each."""
    draw = random.Random(1)
    seen: dict[tuple[int, ...], None] = {}
    for text in texts:
        seen.setdefault(tuple(tokenizer(text)["input_ids"][: draw.randint(2, 8)]))
    chosen = [list(ids) for ids in seen if len(ids) >= 2]
    draw.shuffle(chosen)
    return {"held_out": chosen[:HELD_OUT], "train": chosen[HELD_OUT : HELD_OUT + 1024]}


def train_policy(texts: list[str], tokenizer: PreTrainedTokenizerFast, size: str, steps: int) -> GPT2LMHeadModel:
    """A GPT-2 of this size after `steps` of 32 x 64 tokens. No dropout: PPO must not have any, and TRL's may not either."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=128,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **SHAPES[size],
        )
    )
    stream = torch.tensor([token for text in texts for token in tokenizer(text + "\n")["input_ids"]])
    draw = torch.Generator().manual_seed(0)

    def batch() -> dict[str, Tensor]:
        starts = torch.randint(0, len(stream) - 64, (32, 1), generator=draw)
        ids = stream[starts + torch.arange(64)]
        return {"input_ids": ids, "labels": ids}

    fit(model, batch, steps, learning_rate=2e-3 if size != "small" else 1e-3, name=size)
    return model


def train_classifier(
    labelled: list[tuple[str, bool]], tokenizer: PreTrainedTokenizerFast, steps: int
) -> DistilBertForSequenceClassification:
    """A DistilBERT of two layers; class 1 is POSITIVE. It sees reviews cut at any length, as the policy's are."""
    torch.manual_seed(0)
    model = DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=128,
            n_layers=2,
            n_heads=4,
            dim=128,
            hidden_dim=512,
            pad_token_id=tokenizer.pad_token_id,
            id2label={0: "NEGATIVE", 1: "POSITIVE"},
            label2id={"NEGATIVE": 0, "POSITIVE": 1},
        )
    )
    draw = random.Random(0)

    def batch() -> dict[str, Tensor]:
        chosen = draw.sample(labelled, 64)
        rows = [{"input_ids": tokenizer(text)["input_ids"][: draw.randint(12, 48)]} for text, _ in chosen]
        padded = tokenizer.pad(rows, return_tensors="pt")
        return {**padded, "labels": torch.tensor([int(positive) for _, positive in chosen])}

    fit(model, batch, steps, learning_rate=5e-4, name="classifier")
    return model


def fit(model: PreTrainedModel, batch: Any, steps: int, *, learning_rate: float, name: str) -> None:
    """Adam with a linear fall; prints the first and the last losses."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**batch()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    print(f"  {name}: loss {losses[0]:.2f} -> {sum(losses[-10:]) / len(losses[-10:]):.2f} in {steps} steps", flush=True)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model and tokenizer, with the keys that transformers 4.46 knows instead of those that 5 writes."""
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": EOS, "pad_token": PAD}), encoding="utf-8")
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    model.save_pretrained(folder)  # config.json last in time: it says that the folder is whole
    edit(folder / "config.json", torch_dtype="float32")


def edit(file: Path, **values: Any) -> None:
    """Sets keys of a JSON file."""
    content = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    wanted = sys.argv[2].split(",")
    make(Path(sys.argv[1]), wanted, **(SMOKE if wanted == ["test"] else {}))
