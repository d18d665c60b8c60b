"""The arithmetic of a blend: who is asked about which rows, and what each adds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from appliance.errors import ApplianceError
from appliance.ppo.types import ScoreFn
from appliance.rewards._checked import checked
from appliance.rewards._members import Gate


@dataclass(frozen=True)
class Scale:
    """A source's mean and standard deviation on the starting policy."""

    mean: float
    std: float


@dataclass(frozen=True)
class Part:
    """A source in a blend; without a scale it cannot be used yet."""

    name: str
    ask: ScoreFn
    weight: float
    gate: Gate | None
    scale: Scale | None


@dataclass(frozen=True)
class Blend:
    """A Composite of `members`; `samples` is how many responses their scales are measured on."""

    members: tuple[Part, ...]
    samples: int

    @property
    def names(self) -> tuple[str, ...]:
        """The parts' names, in the order in which they are asked."""
        return tuple(member.name for member in self.members)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """The parts whose scale is still to be measured."""
        return tuple(member.name for member in self.members if member.scale is None)

    def settled(self, scales: Mapping[str, Scale]) -> "Blend":
        """The blend with these scales for the parts that had none. Raises KeyError for one that is missing."""
        return replace(
            self, members=tuple(m if m.scale is not None else replace(m, scale=scales[m.name]) for m in self.members)
        )

    def __call__(self, prompts: list[str], responses: list[str]) -> Tensor:
        """The score [B]."""
        return self.combine(self.parts(prompts, responses))

    def parts(self, prompts: list[str], responses: list[str]) -> Tensor:
        """Each part's own scores [B, C]; NaN where an earlier gate kept the row from it.

        Raises ApplianceError for a score that is not finite, and when a scale is missing.
        """
        self._ready()
        found = torch.full((len(responses), len(self.members)), float("nan"))  # [B, C]
        passing = torch.ones(len(responses), dtype=torch.bool)  # [B]
        for column, member in enumerate(self.members):
            rows = passing.nonzero().flatten()
            if not len(rows):
                break
            chosen = rows.tolist()
            asked = [prompts[row] for row in chosen], [responses[row] for row in chosen]
            scores = checked(member.ask(*asked), *asked, name=f"the source {member.name!r} of the blend")
            found[rows, column] = scores
            passing[rows] = _passes(scores, member.gate)
        return found

    def each(self, prompts: list[str], responses: list[str]) -> Tensor:
        """Each part's own scores [B, C] of all rows, gates left aside: what the scales are measured on."""
        columns = [
            checked(m.ask(prompts, responses), prompts, responses, name=f"the source {m.name!r} of the blend")
            for m in self.members
        ]
        return torch.stack(columns, dim=1)

    def normalized(self, parts: Tensor) -> Tensor:
        """(score - mean) / std of each part [B, C]; NaN where it was not asked."""
        scales = self._ready()
        return torch.stack([(parts[:, column] - scale.mean) / scale.std for column, scale in enumerate(scales)], dim=1)

    def added(self, parts: Tensor) -> Tensor:
        """What each part adds to the score [B, C]: weight * normalized, less its gate's penalty; 0 where not asked."""
        normalized, columns = self.normalized(parts), []
        for column, member in enumerate(self.members):
            adds = member.weight * normalized[:, column]
            if member.gate is not None:
                adds = adds - member.gate.penalty * (~_passes(parts[:, column], member.gate))
            columns.append(torch.where(parts[:, column].isnan(), 0.0, adds))
        return torch.stack(columns, dim=1)

    def combine(self, parts: Tensor) -> Tensor:
        """The score [B]: the sum of what the parts add, from the first to the last."""
        added = self.added(parts)
        total = torch.zeros(len(added))
        for column in range(added.shape[1]):  # in a fixed order, so that a row's sum is the same in every batch
            total = total + added[:, column]
        return total

    def _ready(self) -> list[Scale]:
        if self.unsettled:
            raise ApplianceError(
                f"the blend normalizes {', '.join(self.unsettled)} on a run's starting policy, and no run is given",
                "give the run (--run RUN_DIR), or set mean and std of each source, or normalize: false",
            )
        return [member.scale for member in self.members if member.scale is not None]


def _passes(scores: Tensor, gate: Gate | None) -> Tensor:
    """Which scores [b] lie in the gate's range; all without a gate."""
    passing = torch.ones_like(scores, dtype=torch.bool)
    if gate is not None and gate.min is not None:
        passing &= scores >= gate.min
    if gate is not None and gate.max is not None:
        passing &= scores <= gate.max
    return passing


def scales_of(names: tuple[str, ...], scores: Tensor) -> dict[str, Scale]:
    """Mean and unbiased standard deviation of each part's scores [N, C], in float64. Raises ApplianceError for a std of 0."""
    found = {}
    for column, name in enumerate(names):
        values = scores[:, column].double()
        mean, std = float(values.mean()), float(values.std())
        if not std > 0:
            raise ApplianceError(
                f"the source {name!r} gave {mean:g} for each of {len(values)} responses of the starting policy: it "
                "cannot be normalized",
                f"set mean and std of {name!r} in the blend, or normalize: false",
            )
        found[name] = Scale(mean, std)
    return found
