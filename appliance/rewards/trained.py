"""A reward model that `appliance train reward` made: the folder of the run, or the model's own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ModelError
from appliance.rewards._texts import Reading, logits_reader

if TYPE_CHECKING:
    import torch

    from appliance.ppo.types import ScoreFn

SCALE_FILE = "reward.json"


class Options(Reading):
    """Which reward model, and how it is given a text."""


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores of the reward model: (score - mean) / std with both from the folder's reward.json, raw without that file.

    Raises ModelError for a model that does not have exactly one output.
    """
    from torch import Tensor

    from appliance.models.loading import load_classifier

    loaded = load_classifier(_model_of(options.model), options.revision)
    outputs = loaded.model.config.num_labels
    if outputs != 1:
        raise ModelError(
            f"{loaded.folder} has {outputs} outputs; a reward model has 1",
            "use the source classifier with a label, or give the folder of an `appliance train reward` run",
        )
    mean, std = scale_of(loaded.folder)
    read = logits_reader(loaded, options, device)

    def score(prompts: list[str], responses: list[str]) -> Tensor:
        return (read(prompts, responses)[:, 0] - mean) / std

    return score


def _model_of(model: str) -> str:
    """The `model` folder of a run; anything else as it is."""
    folder = Path(model).expanduser()
    inner = folder / "model"
    return str(inner) if inner.is_dir() and not (folder / "config.json").exists() else model


def scale_of(folder: Path) -> tuple[float, float]:
    """Mean and standard deviation that a reward model's scores are normalized by; 0 and 1 without a reward.json.

    Raises ModelError for a file that cannot be used.
    """
    file = folder / SCALE_FILE
    if not file.exists():
        return 0.0, 1.0
    again = "train the reward model again, or delete the file to use raw scores"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        mean, std = float(content["mean"]), float(content["std"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} cannot be used: {type(error).__name__}: {error}", again) from None
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ModelError(f"{file}: mean is {mean} and std is {std}; std must be above 0", again)
    return mean, std
