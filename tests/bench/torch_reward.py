"""The reward as TRL's contenders compute it: the same classifier, batched forward, no pipeline."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase


class TorchReward:
    """The classifier's logit for POSITIVE of whole texts."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.label = self.model.config.label2id["POSITIVE"]

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """Scores [B] of `texts`, in one batch."""
        inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        scores: Tensor = self.model(**inputs).logits[:, self.label]
        return scores
