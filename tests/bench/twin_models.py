"""What the recipes take from a hub, tiny: models of the real architectures with their own kinds of tokenizer, and data.

    .venv/bin/python tests/bench/twin_models.py FOLDER

The tests of tests/e2e/twins take untrained models from here. For the learning curves of twins.py each has learned its
part: policies to write film reviews, classifiers to tell praise from blame.
"""

import csv
import json
import random
import sys
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from appliance.data import films
from appliance.stages import demo_models

VOCABULARY = 600
REVIEWS = films.reviews(3000, 5)
TEXTS = [review.text for review in REVIEWS[:600]]
PAIRS = films.preference_pairs(300, 5)
BATCH, LONGEST, LEARNING_RATE = 32, 64, 3e-3
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
Made = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@cache
def bpe(*, begins: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 and GPT-NeoX have it; `begins`: a text begins with the end token, as with OPT."""
    made = demo_models.bpe_tokenizer(TEXTS)
    if begins:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    made.model_max_length = 512
    return made


def unigram() -> PreTrainedTokenizerFast:
    """Unigram pieces with the end token behind each text, as T5 has it; 0 pads and begins the answer."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        [*TEXTS, "Summarize the following conversation. Summary: #Person1#: #Person2#:"],
        trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def roberta_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE between <s> and </s>, as RoBERTa has it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=128,
    )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A model as a hub has it: config.json, model.safetensors, tokenizer.json."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def teach(
    model: PreTrainedModel, batches: Iterator[dict[str, Tensor]], steps: int, *, learning_rate: float = LEARNING_RATE
) -> PreTrainedModel:
    """The model after so many optimizer steps on batches that hold `labels`."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, max(1, steps))
    for _ in range(steps):
        model(**next(batches)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model.eval()


def rows_of(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> dict[str, Tensor]:
    """input_ids and attention_mask [B, T] of texts, cut at LONGEST tokens."""
    found = tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def to_write(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], prompts: list[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Batches of texts to learn to write; with prompts, which the encoder of an encoder-decoder reads."""
    draw = random.Random(1)
    while True:
        chosen = draw.choices(texts, k=BATCH)
        written = rows_of(tokenizer, chosen)
        labels = written["input_ids"].masked_fill(written["attention_mask"] == 0, -100)
        read = written if prompts is None else rows_of(tokenizer, draw.choices(prompts, k=BATCH))
        yield read | {"labels": labels}


def to_judge(tokenizer: PreTrainedTokenizerBase, positive: int) -> Iterator[dict[str, Tensor]]:
    """Batches of reviews, whole and cut, with the label number `positive` for those that praise."""
    draw = random.Random(2)
    while True:
        chosen = draw.choices(REVIEWS, k=BATCH)
        texts = [review.text[: draw.randint(len(review.text) // 3, len(review.text))] for review in chosen]
        labels = torch.tensor([positive if review.positive else 1 - positive for review in chosen])
        yield rows_of(tokenizer, texts) | {"labels": labels}


def save_models(root: Path, width: int, steps: int, only: Collection[str] | None) -> None:
    """Each of MODELS in its folder, or `only` some."""
    for name, build in MODELS.items():
        if only is None or name in only:
            torch.manual_seed(0)
            save(*build(width, steps), root / name)


def gpt2(width: int, steps: int) -> Made:
    """Writes reviews."""
    words = bpe()
    config = GPT2Config(vocab_size=len(words), n_positions=512, n_embd=width, n_layer=1, n_head=2, **ENDS)
    return teach(GPT2LMHeadModel(config), to_write(words, TEXTS), steps), words


def opt(width: int, steps: int) -> Made:
    """Writes reviews; more blocks than the recipe adapts."""
    words = bpe(begins=True)
    config = OPTConfig(
        vocab_size=len(words),
        hidden_size=width,
        word_embed_proj_dim=width,
        ffn_dim=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=1,
        **ENDS,
    )
    return teach(OPTForCausalLM(config), to_write(words, TEXTS), steps), words


def neox(width: int, steps: int, *, layers: int) -> Made:
    """Answers as the data's assistant does, as a policy or as what a reward model begins with."""
    words = bpe()
    sizes = {"hidden_size": width, "num_attention_heads": 2, "intermediate_size": 2 * width}
    config = GPTNeoXConfig(
        vocab_size=len(words), num_hidden_layers=layers, max_position_embeddings=512, **sizes, **ENDS
    )
    asked = [f"\n\nHuman: {pair['prompt']}\n\nAssistant: {pair['chosen'].strip()}" for pair in PAIRS]
    return teach(GPTNeoXForCausalLM(config), to_write(words, asked), steps), words


def distilbert(width: int, steps: int, *, judges: bool) -> Made:
    """A body that has learned nothing, or a classifier that tells praise from blame."""
    pieces = demo_models.wordpiece_tokenizer(TEXTS)
    pieces.model_max_length = 512
    sizes = {"vocab_size": len(pieces), "n_layers": 1, "n_heads": 2, "dim": width, "hidden_dim": 2 * width}
    if not judges:
        return DistilBertModel(DistilBertConfig(**sizes)), pieces
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    judge = DistilBertForSequenceClassification(DistilBertConfig(**sizes, **labels))
    return teach(judge, to_judge(pieces, 1), steps), pieces


def flan_t5(width: int, steps: int) -> Made:
    """Writes a review, whatever dialogue it has read; T5's embeddings begin fifty times larger than GPT-2's."""
    pieces = unigram()
    config = T5Config(
        vocab_size=len(pieces),
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    asked = [f"Summarize the following conversation.\n\n{told}\n\nSummary:" for told in short_dialogues(158)]
    batches = to_write(pieces, TEXTS, asked)
    return teach(T5ForConditionalGeneration(config), batches, 2 * steps, learning_rate=1e-2), pieces


def roberta(width: int, steps: int) -> Made:
    """Takes blame for hate."""
    words = roberta_bpe()
    config = RobertaConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=130,
        id2label={0: "nothate", 1: "hate"},
        label2id={"nothate": 0, "hate": 1},
    )
    return teach(RobertaForSequenceClassification(config), to_judge(words, 0), steps), words


MODELS: dict[str, Callable[[int, int], Made]] = {
    "gpt2": gpt2,
    "opt": opt,
    "neox-policy": partial(neox, layers=2),
    "neox-small": partial(neox, layers=1),
    "distilbert": partial(distilbert, judges=False),
    "distilbert-imdb": partial(distilbert, judges=True),
    "flan-t5": flan_t5,
    "roberta-hate": roberta,
}
"""By folder: how wide a model is made, and for how many steps it learns its part."""


def dialogues() -> list[str]:
    """Two people on films, in the form of dialogsum; the first is under and the second over the recipe's lengths."""
    return ["#Person1#: Hello.", "#Person1#: " + " ".join(TEXTS[:40]), *short_dialogues(158)]


def short_dialogues(count: int) -> list[str]:
    """Two turns of 200 to 400 characters together: what is short is read faster."""
    draw, told = random.Random(3), list[str]()
    while len(told) < count:
        text = "\n".join(f"#Person{1 + i}#: {draw.choice(TEXTS)}" for i in range(2))
        told += [text] if 200 <= len(text) <= 400 else []
    return told


def make(root: Path, *, width: int = 32, steps: int = 0, only: Collection[str] | None = None) -> None:
    """Writes everything below `root`; each model is so wide, and has learned its part for so many steps."""
    save_models(root, width, steps, only)
    save_texts(root)


def save_texts(root: Path) -> None:
    """imdb/, dialogsum/ and hh-rlhf.jsonl, in the layouts that the hub's have."""
    reviews = [" ".join(TEXTS[i : i + 4]) for i in range(0, 600, 4)]  # 150, most over 200 characters
    (root / "imdb").mkdir()
    rows = {"text": reviews, "label": [i % 2 for i in range(len(reviews))]}
    Dataset.from_dict(rows).to_parquet(root / "imdb" / "train-00000-of-00001.parquet")
    (root / "dialogsum").mkdir()
    with (root / "dialogsum" / "train.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "dialogue", "summary", "topic"])
        out.writerows([f"train_{i}", text, "Two people talk.", "films"] for i, text in enumerate(dialogues()))
    with (root / "hh-rlhf.jsonl").open("w", encoding="utf-8") as file:
        for pair in PAIRS:
            asked = f"\n\nHuman: {pair['prompt']}\n\nAssistant:"
            file.write(json.dumps({side: f"{asked} {pair[side].strip()}" for side in ("chosen", "rejected")}) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]), width=64, steps=300)
