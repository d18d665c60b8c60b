"""Reward models to start a critic from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def classifier_of(
    tmp_path_factory: pytest.TempPathFactory, folder_of: Callable[[str], Path], tokenizer: PreTrainedTokenizerFast
) -> Callable[..., Path]:
    """classifier_of("gpt2"): the folder of a tiny reward model with the same tokenizer; num_labels as wanted."""
    root, made = tmp_path_factory.mktemp("classifiers"), {}

    def folder(name: str, num_labels: int = 1) -> Path:
        place = root / f"{name}-{num_labels}"
        if place not in made:
            torch.manual_seed(11)
            config = AutoConfig.from_pretrained(folder_of(name), num_labels=num_labels)
            model = AutoModelForSequenceClassification.from_config(config)
            generator = torch.Generator().manual_seed(13)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
            made[place] = True
        return place

    return folder
