"""Regular expressions, each with a weight, matched in the response: format rules, forbidden words, a closing line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import regex
from pydantic import Field, field_validator, model_validator

from appliance.config.base import Positive, PositiveFloat, Section
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    import torch

    from appliance.ppo.types import ScoreFn


class Pattern(Section):
    """One regular expression and what it is worth."""

    regex: str = Field(min_length=1, description="what to look for, in the syntax of Python's regular expressions")
    weight: float = Field(1.0, allow_inf_nan=False, description="score for a match; negative: it is not wanted")
    ignore_case: bool = Field(False, description="true: letter case does not matter")

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            regex.compile(value)
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class Options(Section):
    """The expressions, and how their matches count."""

    patterns: tuple[Pattern, ...] = Field(description="regex, weight, ignore_case of each")
    count: Literal["matches", "presence"] = Field(
        "presence", description="presence: the weight once if there is a match; matches: for each, without overlaps"
    )
    max_characters: Positive = Field(20_000, description="only so much of a response is looked at, from its beginning")
    timeout_s: PositiveFloat = Field(
        2.0, description="longest time for one expression and one response; over it, the run ends with a message"
    )

    @model_validator(mode="after")
    def _something_to_find(self) -> Options:
        if not self.patterns:
            raise ValueError("patterns is empty. Give at least one regex")
        return self


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that are the sum of weight * matches (or weight * present) over the expressions, on the response alone.

    `^` and `$` are the response's beginning and end; `(?m)` in an expression makes them those of lines. Raises
    ApplianceError when an expression takes longer than timeout_s: to go on with some number would make the scores depend
    on how busy the machine is.
    """
    import torch

    compiled = [
        (pattern, regex.compile(pattern.regex, regex.IGNORECASE if pattern.ignore_case else 0))
        for pattern in options.patterns
    ]

    def of(response: str) -> float:
        text = response[: options.max_characters]
        return sum(pattern.weight * _found(found, text, options) for pattern, found in compiled)

    def score(prompts: list[str], responses: list[str]) -> torch.Tensor:
        return torch.tensor([of(response) for response in responses], dtype=torch.float32, device=device)

    return score


def _found(expression: regex.Pattern[str], text: str, options: Options) -> int:
    """How often it matches, or 0 and 1 for presence."""
    try:
        if options.count == "presence":
            return int(expression.search(text, timeout=options.timeout_s) is not None)
        return sum(1 for _ in expression.finditer(text, timeout=options.timeout_s))
    except TimeoutError:
        raise ApplianceError(
            f"the expression {expression.pattern!r} took longer than {options.timeout_s:g} s on a response of "
            f"{len(text)} characters that begins {text[:60]!r}",
            "write it without repeats inside repeats, such as (a+)+; or lower max_characters, or raise timeout_s",
        ) from None
