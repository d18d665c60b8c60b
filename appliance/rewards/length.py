"""The number of words: a reward that can be checked by eye, for trying things out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from appliance.config.base import NonNegative, Section

if TYPE_CHECKING:
    import torch

    from appliance.ppo.types import ScoreFn


class Options(Section):
    """What a word is worth, and how many there should be."""

    per_word: float = Field(1.0, allow_inf_nan=False, description="score per word; negative: shorter is better")
    target_words: NonNegative | None = Field(
        None, description="score -per_word for each word more or less than this; none: per_word for each word"
    )


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores by the response's words (what white space separates): per_word * words, or -per_word * |words - target|."""
    import torch

    def score(prompts: list[str], responses: list[str]) -> torch.Tensor:
        words = torch.tensor([len(response.split()) for response in responses], dtype=torch.float32, device=device)
        if options.target_words is None:
            return options.per_word * words
        return -options.per_word * (words - options.target_words).abs()

    return score
