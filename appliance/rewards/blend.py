"""A weighted sum of other reward sources, each brought to a common scale, with gates that a response may have to pass."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from appliance import parts
from appliance.config.base import Positive, Section
from appliance.config.load import part_options
from appliance.errors import ConfigError
from appliance.rewards._members import Member

if TYPE_CHECKING:
    import torch

    from appliance.rewards._blending import Blend


class Options(Section):
    """The sources in the order in which they are asked."""

    sources: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = Field(
        description="each a reward section (source and its options), with name, weight, normalize, mean, std, gate"
    )
    samples: Positive = Field(
        256, ge=2, description="responses of the starting policy on which the sources are normalized"
    )

    @field_validator("sources", mode="after")
    @classmethod
    def _each_is_right(cls, sources: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        checked, problems = [], []
        for number, section in enumerate(sources, start=1):
            where = f"number {number} ({section.get('source')})"
            if section.get("source") == "blend":
                problems.append(f"{where} is a blend in a blend. Write its sources beside the others")
                continue
            try:
                checked.append(part_options("rewards", section, where=where, also=Member))
            except ConfigError as error:
                there_is_none = error.what.startswith("there is no")
                problems.append(f"{where}: {error}" if there_is_none else error.what)
        if problems:
            raise ValueError("\n".join(problems))
        times = Counter(section["name"] or section["source"] for section in checked)
        double = [name for name, count in times.items() if count > 1]
        if double:
            raise ValueError(f"{times[double[0]]} sources are called {double[0]!r}. Give each a name of its own")
        return tuple(section | {"name": section["name"] or section["source"]} for section in checked)


def make(options: Options, device: torch.device) -> Blend:
    """A Composite: the sum over its sources of weight * (score - mean) / std, less the penalties of gates not passed.

    Sources are asked in their order. A response that lies outside the range of a source's gate is not sent to any later
    source: these add 0 to its score, as a response of the starting policy's mean would get. What the gated source itself
    says still counts, with its weight, and the gate's penalty is taken off. Mean and std are the source's over responses
    of the starting policy to training prompts, gates left aside (`Blend.settled` takes them), or as the options say.
    """
    from appliance.rewards._blending import Blend, Part, Scale

    made = []
    for section in options.sources:
        own = {key: section[key] for key in section if key in Member.model_fields}
        member = Member.model_validate(own)
        module = parts.load("rewards", section["source"])
        rest = {key: value for key, value in section.items() if key not in own and key != "source"}
        scale = None if member.mean is None or member.std is None else Scale(member.mean, member.std)
        if not member.normalize:
            scale = Scale(0.0, 1.0)
        made.append(
            Part(
                name=str(member.name),
                ask=module.make(module.Options.model_validate(rest), device),
                weight=member.weight,
                gate=member.gate,
                scale=scale,
            )
        )
    return Blend(tuple(made), options.samples)
