"""One label of a text classifier, or several weighed against each other: logits, or probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from appliance.errors import ModelError
from appliance.rewards._texts import Reading, logits_reader

Weight = Annotated[float, Field(allow_inf_nan=False)]

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from appliance.ppo.types import ScoreFn


class Options(Reading):
    """Which classifier, which of its labels is good, and in what unit."""

    label: str | int | None = Field(None, description="name or number of the label that is good; none: the only one")
    labels: dict[str, Weight] | None = Field(
        None, description="several labels, each with its weight, instead of label: {nothate: 1.0, toxic: -0.5}"
    )
    output: Literal["logit", "probability"] = Field(
        "logit", description="logit: unbounded; probability: softmax over the labels, or a sigmoid for each of several"
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Options:
        if self.labels is None:
            return self
        if self.label is not None:
            raise ValueError("label and labels are both given. Keep one of them")
        if not any(self.labels.values()):
            raise ValueError("labels has no weight other than 0. Give at least one label with a weight")
        return self


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that are the label's logit or probability, or the sum of several labels', each times its weight.

    Raises ModelError for a label that the model does not have.
    """
    from torch import Tensor

    from appliance.models.loading import load_classifier

    loaded = load_classifier(options.model, options.revision)
    config = loaded.model.config
    weights = _weights(options, _labels(config), where=str(loaded.folder))
    several_apply = config.num_labels == 1 or config.problem_type == "multi_label_classification"
    read = logits_reader(loaded, options, device)

    def score(prompts: list[str], responses: list[str]) -> Tensor:
        logits = read(prompts, responses)  # [B, C]
        if options.output == "probability":
            logits = logits.sigmoid() if several_apply else logits.softmax(-1)
        terms = [logits[:, label] if weight == 1.0 else weight * logits[:, label] for label, weight in weights.items()]
        return sum(terms[1:], terms[0])

    return score


def _labels(config: PreTrainedConfig) -> list[str]:
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _weights(options: Options, labels: list[str], *, where: str) -> dict[int, float]:
    """The number of each label that counts, with its weight."""
    if options.labels is None:
        return {_index(options.label, labels, where=where): 1.0}
    found: dict[int, float] = {}
    for name, weight in options.labels.items():
        index = _index(name, labels, where=where)
        if index in found:
            raise ModelError(
                f"labels names {labels[index]!r} of {where} twice, once as {name!r}", "keep one weight for each label"
            )
        found[index] = weight
    return found


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
    raise ModelError(f"{where} has no label {wanted!r}; its labels are {shown}", "choose among these")
