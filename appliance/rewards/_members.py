"""How a source stands in a blend: its name, weight, scale and gate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from appliance.config.base import NonNegativeFloat, PositiveFloat, Section

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Gate(Section):
    """The range of a source's own score (not normalized) in which a response passes; both ends belong to it."""

    min: Finite | None = Field(None, description="lowest score that passes; none: no lower end")
    max: Finite | None = Field(None, description="highest score that passes; none: no upper end")
    penalty: NonNegativeFloat = Field(0.0, description="taken from the score of a response that does not pass")

    @model_validator(mode="after")
    def _has_an_end(self) -> Gate:
        if self.min is None and self.max is None:
            raise ValueError("a gate needs min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing lies between min {self.min:g} and max {self.max:g}. Write the smaller as min")
        return self


class Member(Section):
    """How a source stands in a blend; its own options stand beside these."""

    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,32}$", description="what logs and reports call it; none: its source's name"
    )
    weight: Finite = Field(1.0, description="factor of its normalized score; 0: only its gate counts")
    normalize: bool = Field(True, description="true: minus mean, over std; false: its own score as it is")
    mean: Finite | None = Field(None, description="its mean, with std; none: measured on the starting policy")
    std: PositiveFloat | None = Field(None, description="its standard deviation, with mean; none: measured")
    gate: Gate | None = Field(None, description="later sources count only where this one's own score is in the range")

    @model_validator(mode="after")
    def _scale_is_whole(self) -> Member:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together. Give both, or neither")
        if self.mean is not None and not self.normalize:
            raise ValueError("mean and std go with normalize: true. Set it, or leave them out")
        return self
