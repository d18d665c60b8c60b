"""Comparisons made of random words, with whatever was changed between the two sides."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from appliance.evaluate.records import Answers, Comparison

WORDS = [
    "the",
    "film",
    "was",
    "good",
    "bad",
    "fine",
    "slow",
    "story",
    "plot",
    "music",
    "light",
    "night",
    "road",
    "home",
]


def _side(rng: np.random.Generator, scores: np.ndarray, opinion: np.ndarray | None, given: dict[str, Any]) -> Answers:
    lengths = rng.integers(8, 20, size=scores.shape)
    fields = {
        "texts": [[" ".join(rng.choice(WORDS, size=n)) for n in row] for row in lengths],
        "scores": scores.tolist(),
        "tokens": lengths.tolist(),
        "ended": [[True] * scores.shape[1] for _ in scores],
        "kl": np.zeros(scores.shape).tolist(),
        "start_nll": (lengths * 3.0).tolist(),
        "opinion": None if opinion is None else opinion.tolist(),
    }
    return Answers(**(fields | given))


@pytest.fixture(scope="session")
def compare() -> Callable[..., Comparison]:
    """compare(shift, prompts=, samples=, seed=, opinion=, before={}, after={}): scores rise by about `shift`.

    `opinion` is the shift of the second opinion (None: there is none); before and after replace whole fields.
    """

    def made(
        shift: float,
        *,
        prompts: int = 15,
        samples: int = 8,
        seed: int = 0,
        opinion: float | None = None,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> Comparison:
        rng = np.random.default_rng(seed)
        base, noise = rng.normal(size=(prompts, samples)), rng.normal(size=(prompts, samples)) * 0.2
        judged = None if opinion is None else (base, base + opinion + noise)
        return Comparison(
            [f"Prompt number {i}" for i in range(prompts)],
            _side(rng, base, judged and judged[0], before or {}),
            _side(rng, base + shift + noise, judged and judged[1], {"kl": [[4.0] * samples] * prompts} | (after or {})),
        )

    return made
