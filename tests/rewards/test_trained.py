"""A reward model of our own: found in a run's folder, scaled by its reward.json, refused when it is something else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from appliance.errors import ModelError
from appliance.rewards import trained

CPU = torch.device("cpu")


@pytest.fixture
def run_folder(save_classifier: Callable[..., Path], tmp_path: Path) -> Path:
    """A run's folder, whose model has one output."""
    shutil.copytree(save_classifier("gpt2", ["reward"]), tmp_path / "0001-run" / "model")
    return tmp_path / "0001-run"


def raw_score(folder: Path, text: str) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder).eval()(input_ids=ids).logits[0, 0]


def test_the_folder_of_the_run_and_of_its_model_give_the_same_raw_score(run_folder):
    expected = raw_score(run_folder / "model", "w1 w2 w3")
    for folder in (run_folder, run_folder / "model"):
        score = trained.make(trained.Options(model=str(folder)), CPU)
        torch.testing.assert_close(score(["w1 w2"], [" w3"])[0], expected, atol=1e-5, rtol=0)


def test_reward_json_moves_the_mean_to_zero_and_the_std_to_one(run_folder):
    raw = raw_score(run_folder / "model", "w1 w2 w3")
    (run_folder / "model" / "reward.json").write_text(json.dumps({"mean": 0.5, "std": 4.0}))
    score = trained.make(trained.Options(model=str(run_folder)), CPU)
    torch.testing.assert_close(score(["w1 w2"], [" w3"])[0], (raw - 0.5) / 4.0, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "JSONDecodeError"),
        ('{"mean": 1}', "KeyError: 'std'"),
        ('{"mean": 0, "std": 0}', "std is 0"),
        ('{"mean": NaN, "std": 1}', "mean is nan"),
        ("[1, 2]", "TypeError"),
    ],
)
def test_a_broken_reward_json_is_refused(run_folder, content, what):
    (run_folder / "model" / "reward.json").write_text(content)
    with pytest.raises(ModelError, match=what):
        trained.make(trained.Options(model=str(run_folder)), CPU)


def test_a_classifier_of_two_labels_is_no_reward_model(save_classifier):
    folder = save_classifier("distilbert", ["bad", "good"])
    with pytest.raises(ModelError, match="has 2 outputs; a reward model has 1"):
        trained.make(trained.Options(model=str(folder)), CPU)
