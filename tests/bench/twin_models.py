"""What the recipes take from a hub, tiny: models of the real architectures with their own kinds of tokenizer, and data.

    .venv/bin/python tests/bench/twin_models.py FOLDER

The tests of tests/e2e/twins take untrained models from here. For the learning curves of twins.py each has learned its
part: policies to write film reviews, classifiers to tell praise from blame.
"""

import csv
import json
import random
import sys
from collections.abc import Iterator
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


def teach(model: PreTrainedModel, batches: Iterator[dict[str, Tensor]], steps: int) -> PreTrainedModel:
    """The model after so many optimizer steps on batches that hold `labels`."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
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


def save_models(root: Path, width: int, steps: int) -> None:
    """gpt2, opt, t5, gpt-neox, distilbert (with and without a head) and roberta, each in its folder."""
    asked = [f"\n\nHuman: {pair['prompt']}\n\nAssistant: {pair['chosen'].strip()}" for pair in PAIRS]
    words, ends = bpe(), {"bos_token_id": 0, "eos_token_id": 0}
    size = len(words)
    gpt2 = GPT2Config(vocab_size=size, n_positions=512, n_embd=width, n_layer=1, n_head=2, **ends)
    save(teach(GPT2LMHeadModel(gpt2), to_write(words, TEXTS), steps), words, root / "gpt2")
    opt = OPTConfig(
        vocab_size=size,
        hidden_size=width,
        word_embed_proj_dim=width,
        ffn_dim=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=1,
        **ends,
    )
    begun = bpe(begins=True)
    save(teach(OPTForCausalLM(opt), to_write(begun, TEXTS), steps), begun, root / "opt")
    neox = {"vocab_size": size, "hidden_size": width, "num_attention_heads": 2, "intermediate_size": 2 * width, **ends}
    for name, layers in (("neox-policy", 2), ("neox-small", 1)):
        config = GPTNeoXConfig(**neox, num_hidden_layers=layers, max_position_embeddings=512)
        save(teach(GPTNeoXForCausalLM(config), to_write(words, asked), steps), words, root / name)

    pieces = demo_models.wordpiece_tokenizer(TEXTS)
    pieces.model_max_length = 512
    sizes = {"vocab_size": len(pieces), "n_layers": 1, "n_heads": 2, "dim": width, "hidden_dim": 2 * width}
    save(DistilBertModel(DistilBertConfig(**sizes)), pieces, root / "distilbert")
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    judge = DistilBertForSequenceClassification(DistilBertConfig(**sizes, **labels))
    save(teach(judge, to_judge(pieces, 1), steps), pieces, root / "distilbert-imdb")

    unigrams = unigram()
    flan = T5Config(
        vocab_size=len(unigrams),
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    save(
        teach(T5ForConditionalGeneration(flan), to_write(unigrams, TEXTS, dialogues(160)), steps),
        unigrams,
        root / "flan-t5",
    )
    bytes_ = roberta_bpe()
    hate = RobertaConfig(
        vocab_size=len(bytes_),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=130,
        id2label={0: "nothate", 1: "hate"},
        label2id={"nothate": 0, "hate": 1},
    )
    toxic = teach(RobertaForSequenceClassification(hate), to_judge(bytes_, 0), steps)
    save(toxic, bytes_, root / "roberta-hate")


def dialogues(count: int) -> list[str]:
    """Two people on films, in the form of dialogsum; the first is under and the second over the recipe's lengths."""
    draw = random.Random(3)
    turns = [[draw.choice(TEXTS) for _ in range(draw.randint(3, 6))] for _ in range(count)]
    told = ["\n".join(f"#Person{1 + i % 2}#: {said}" for i, said in enumerate(turn)) for turn in turns]
    return ["#Person1#: Hello.", "#Person1#: " + " ".join(TEXTS[:40]), *told]


def make(root: Path, *, width: int = 32, steps: int = 0) -> None:
    """Writes everything below `root`; each model is so wide, and has learned its part for so many steps."""
    torch.manual_seed(0)
    save_models(root, width, steps)
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
        out.writerows([f"train_{i}", text, "Two people talk.", "films"] for i, text in enumerate(dialogues(160)))
    with (root / "hh-rlhf.jsonl").open("w", encoding="utf-8") as file:
        for pair in PAIRS:
            asked = f"\n\nHuman: {pair['prompt']}\n\nAssistant:"
            file.write(json.dumps({side: f"{asked} {pair[side].strip()}" for side in ("chosen", "rejected")}) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]), width=64, steps=300)
