"""Tiny sequence classifiers, saved as folders, for the reward sources that read with one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

POSITIONS = 24
VOCABULARY = 99


@pytest.fixture(scope="session")
def framing_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The 97 words, and [CLS] and [SEP] (97 and 98) around every text; the pad token is [SEP]."""
    made = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    made.add_special_tokens(["[CLS]", "[SEP]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 97), ("[SEP]", 98)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="[SEP]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="session")
def save_classifier(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: PreTrainedTokenizerFast,
    framing_tokenizer: PreTrainedTokenizerFast,
) -> Callable[..., Path]:
    """save_classifier("gpt2", labels=["bad", "good"], problem_type=None): the folder of a random classifier."""

    def save(kind: str, labels: list[str], problem_type: str | None = None) -> Path:
        torch.manual_seed(len(labels))
        named = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: index for index, label in enumerate(labels)},
            "problem_type": problem_type,
            "vocab_size": VOCABULARY,
        }
        model: PreTrainedModel
        if kind == "gpt2":
            sizes = {"n_positions": POSITIONS, "n_embd": 16, "n_layer": 2, "n_head": 2}
            model = GPT2ForSequenceClassification(GPT2Config(**sizes, **named, pad_token_id=0))
        elif kind == "distilbert":
            sizes = {"max_position_embeddings": POSITIONS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
            model = DistilBertForSequenceClassification(DistilBertConfig(**sizes, **named, pad_token_id=98))
        else:
            sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
            model = RobertaForSequenceClassification(
                RobertaConfig(**sizes, **named, max_position_embeddings=POSITIONS, pad_token_id=1)
            )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        (tokenizer if kind == "gpt2" else framing_tokenizer).save_pretrained(folder)
        return folder

    return save
