"""One label of a text classifier: its logit, or its probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from appliance.errors import ModelError
from appliance.rewards._texts import Reading, logits_reader

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from appliance.ppo.types import ScoreFn


class Options(Reading):
    """Which classifier, which of its labels is good, and in what unit."""

    label: str | int | None = Field(None, description="name or number of the label that is good; none: the only one")
    output: Literal["logit", "probability"] = Field(
        "logit", description="logit: unbounded; probability: softmax over the labels, or a sigmoid for each of several"
    )


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that are the label's logit or probability. Raises ModelError for a label that the model does not have."""
    from torch import Tensor

    from appliance.models.loading import load_classifier

    loaded = load_classifier(options.model, options.revision)
    config = loaded.model.config
    label = _index(options.label, _labels(config), where=str(loaded.folder))
    several_apply = config.num_labels == 1 or config.problem_type == "multi_label_classification"
    read = logits_reader(loaded, options, device)

    def score(prompts: list[str], responses: list[str]) -> Tensor:
        logits = read(prompts, responses)  # [B, C]
        if options.output == "probability":
            logits = logits.sigmoid() if several_apply else logits.softmax(-1)
        return logits[:, label]

    return score


def _labels(config: PreTrainedConfig) -> list[str]:
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _index(label: str | int | None, labels: list[str], *, where: str) -> int:
    """Which of `labels` is meant: by name, by name in other letter case if that names one, or by number."""
    shown = ", ".join(f"{index}: {name}" for index, name in enumerate(labels))
    if label is None:
        if len(labels) == 1:
            return 0
        raise ModelError(f"{where} has {len(labels)} labels and none is chosen ({shown})", "set label to the good one")
    wanted = str(label)
    if wanted in labels:
        return labels.index(wanted)
    alike = [index for index, name in enumerate(labels) if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    if wanted.isascii() and wanted.isdigit() and int(wanted) < len(labels):
        return int(wanted)
    raise ModelError(f"{where} has no label {wanted!r}; its labels are {shown}", "set label to one of these")
