"""Words that are good minus words that are bad: no model, and a second opinion on one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from appliance.config.base import Section

if TYPE_CHECKING:
    import torch

    from appliance.ppo.types import ScoreFn

WORD = re.compile(r"\w+(?:['’-]\w+)*")


class Options(Section):
    """The words that count."""

    positive: tuple[str, ...] = Field((), description="words that add 1 each time they occur, in any letter case")
    negative: tuple[str, ...] = Field((), description="words that take 1 away")
    divide_by_words: bool = Field(False, description="true: per word of the response, so that length gains nothing")

    @model_validator(mode="after")
    def _usable(self) -> Options:
        good, bad = _set(self.positive), _set(self.negative)
        if not good | bad:
            raise ValueError("positive and negative are both empty. Give at least one word")
        broken = [word for word in (*self.positive, *self.negative) if not WORD.fullmatch(word)]
        if broken:
            raise ValueError(f"{broken[0]!r} is not a single word. Write one word per entry")
        if good & bad:
            raise ValueError(f"{min(good & bad)!r} is both positive and negative. Keep it in one list")
        return self


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that are the response's positive words minus its negative ones; whole words, letter case ignored."""
    import torch

    good, bad = _set(options.positive), _set(options.negative)

    def of(response: str) -> float:
        words = WORD.findall(response.casefold())
        surplus = sum((word in good) - (word in bad) for word in words)
        return surplus / max(1, len(words)) if options.divide_by_words else surplus

    def score(prompts: list[str], responses: list[str]) -> torch.Tensor:
        return torch.tensor([of(response) for response in responses], dtype=torch.float32, device=device)

    return score


def _set(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)
