"""A policy and a classifier of published sizes with random weights, as folders that transformers 4.46 and 5 both read.

Random weights cost the time of trained ones: every response goes on to its limit, as at the start of the real task.
"""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

EOS, PAD, UNKNOWN = "<eos>", "<pad>", "<unk>"
VOCABULARY = {"full": 50257, "tiny": 128}
POLICY = {
    "full": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024},  # GPT-2, 124M
    "tiny": {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64},
}
CLASSIFIER = {
    "full": {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072},  # DistilBERT, 66M
    "tiny": {"n_layers": 1, "dim": 32, "n_heads": 2, "hidden_dim": 64},
}


def make(folder: Path, size: str) -> None:
    """Writes folder/policy, folder/classifier and folder/prompts.json, a list of 1024 lists of 2 to 8 token ids."""
    torch.manual_seed(0)
    vocabulary = VOCABULARY[size]
    tokenizer = make_tokenizer(vocabulary)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # PPO must have none, and TRL's may not either
    save(
        GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **POLICY[size], **ends, **dropout)),
        tokenizer,
        folder / "policy",
    )
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    config = DistilBertConfig(vocab_size=vocabulary, pad_token_id=1, **CLASSIFIER[size], **labels)
    save(DistilBertForSequenceClassification(config), tokenizer, folder / "classifier")
    drawn = random.Random(0)
    prompts = [[drawn.randrange(3, vocabulary) for _ in range(drawn.randint(2, 8))] for _ in range(1024)]
    (folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """`vocabulary` words that no text has, so that every token a policy draws is a word of the classifier's text."""
    words = {word: number for number, word in enumerate((EOS, PAD, UNKNOWN))}
    words |= {f"w{number}": number for number in range(len(words), vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model and tokenizer, with the keys that transformers 4.46 knows instead of those that 5 writes."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, values in (
        ("config.json", {"torch_dtype": "float32"}),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")
