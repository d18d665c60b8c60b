"""How many of a policy's parameters are trained, and where they are."""

from collections import Counter
from typing import NamedTuple

from torch import nn

from appliance.models.adapters import REFERENCE
from appliance.models.policy import Policy

GROUPS = ("adapters", "embeddings", "attention", "mlp", "head", "norms and others", "critic")

ATTENTION = ("attn", "attention")
MLP = ("mlp", "fc1", "fc2", "densereludense", "ffn", "feed_forward")
"""What the names of modules contain, in lower case, whatever their architecture; attention is looked for first."""


class Row(NamedTuple):
    """A group of parameters: how many are trained, of how many."""

    group: str
    trainable: int
    total: int


def parameter_table(policy: Policy) -> list[Row]:
    """Parameters by group, the groups that have none left out. A tied head counts as embeddings, once."""
    lm = policy.model.lm
    apart = {id(p): "head" for p in policy.model.head.parameters()}
    apart |= {id(p): "embeddings" for m in lm.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained: Counter[str] = Counter()
    total: Counter[str] = Counter()

    def count(group: str, parameter: nn.Parameter) -> None:
        size = _size(parameter)
        total[group] += size
        trained[group] += size if parameter.requires_grad else 0

    for name, parameter in lm.named_parameters():
        if f".{REFERENCE}." not in name:  # a frozen copy, which is no part of the model
            count(_group(name, apart.get(id(parameter))), parameter)
    for parameter in policy.critic.parameters():
        count("critic", parameter)
    return [Row(group, trained[group], total[group]) for group in GROUPS if total[group]]


def trainable_line(policy: Policy) -> str:
    """The table as one line: `trainable: 262,177 of 1,316,020,257 (0.02 %): adapters 262,144, critic 33`."""
    rows = parameter_table(policy)
    trained, total = sum(row.trainable for row in rows), sum(row.total for row in rows)
    parts = ", ".join(f"{row.group} {row.trainable:,}" for row in rows if row.trainable)
    return f"trainable: {trained:,} of {total:,} ({100 * trained / total:.2f} %): {parts}"


def _group(name: str, known: str | None) -> str:
    lowered = name.lower()
    if "lora_" in lowered:
        return "adapters"
    if any(word in lowered for word in ATTENTION) and not _is_norm(lowered):
        return "attention"
    if known is not None:
        return known
    if any(word in lowered for word in MLP) and not _is_norm(lowered):
        return "mlp"
    return "norms and others"


def _is_norm(lowered: str) -> bool:
    return any(word in lowered for word in ("norm", "ln_"))


def _size(parameter: nn.Parameter) -> int:
    """Weights, not bytes: in 4 bits two of them lie in each byte, and the tensor counts bytes (or what they fill)."""
    if type(parameter).__name__ == "Params4bit":
        return 2 * parameter.numel() * parameter.element_size()
    return parameter.numel()
