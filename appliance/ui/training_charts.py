"""The Training tab's charts: which numbers they show, what good looks like, and their data frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.store.curves import Chart

if TYPE_CHECKING:
    import pandas

TRAIN, TEST, LIMIT = "practice prompts", "test prompts", "limit"

COLOURS = {
    TRAIN: "#22798a",
    TEST: "#d9730d",
    LIMIT: "#c4302b",
    "ratio": "#22798a",
    "clipped share": "#d9730d",
    "entropy, share of its first": "#7b5ea7",
    "loss": "#22798a",
    "share right": "#22798a",
    "margin": "#22798a",
}
"""Readable on white and on black."""

ADDED = "added/"
"""How the names begin that say what each source of a blended scorer adds to the score."""

COLUMNS = ("step", "value", "series")


@dataclass(frozen=True)
class Plot:
    """One chart: (name in the store, what it is called) of each series; relative: divided by the series' first value."""

    title: str
    unit: str
    good: str
    series: tuple[tuple[str, str], ...]
    relative: tuple[str, ...] = ()
    has_limit: bool = False


PPO = (
    Plot(
        "Score",
        "score",
        "What the scorer (reward model) gives. Good: it rises, on the test prompts too, and then levels off.",
        (("score_mean", TRAIN), ("eval_score_mean", TEST)),
    ),
    Plot(
        "Drift from the starting model (KL)",
        "nats per answer",
        "How far the answers are from the starting model's. Good: it rises slowly, levels off and stays below the limit.",
        (("kl", TRAIN), ("eval_kl", TEST)),
        has_limit=True,
    ),
    Plot(
        "Answer length",
        "tokens",
        "How long the answers are. Good: about as at the start. If it grows with the score, the scorer may pay for length.",
        (("length_mean", TRAIN), ("eval_length_mean", TEST)),
    ),
    Plot(
        "Stability",
        "share, ratio",
        "Good: the ratio stays near 1, less than a third of the steps is clipped, and the entropy falls slowly, never to 0.",
        (("ratio_mean", "ratio"), ("clip_share", "clipped share"), ("entropy", "entropy, share of its first")),
        relative=("entropy",),
    ),
)

SFT = (
    Plot("Loss", "loss", "How surprising the texts are. Good: it falls, fast at first.", (("loss", "loss"),)),
    Plot(
        "Accuracy",
        "share",
        "How often the next word (token) is guessed right. Good: it rises.",
        (("mean_token_accuracy", "share right"),),
    ),
)

REWARD = (
    Plot("Loss", "loss", "Good: it falls from about 0.69, which is guessing.", (("loss", "loss"),)),
    Plot(
        "Accuracy",
        "share",
        "How often the better answer scores higher. Good: it rises from 0.5, which is guessing.",
        (("accuracy", "share right"),),
    ),
    Plot(
        "Margin",
        "score",
        "By how much the better answer scores higher. Good: it rises slowly.",
        (("margin", "margin"),),
    ),
)

SLOTS = 5
"""The most charts that any run has."""


def plots(stage: str, names: Sequence[str]) -> tuple[Plot, ...]:
    """The charts of a stage, and one more for what a blended scorer's sources add. names: of the newest step."""
    if stage != "ppo":
        return {"sft": SFT, "reward": REWARD}.get(stage, ())
    added = sorted(name for name in names if name.startswith(ADDED))
    if not added:
        return PPO
    parts = Plot(
        "Parts of the score",
        "score",
        "What each part of the scorer adds. Good: all rise or stay; one that falls pays for the others.",
        tuple((name, name.removeprefix(ADDED)) for name in added),
    )
    return (*PPO, parts)


def wanted(shown: Sequence[Plot]) -> list[str]:
    """The names in the store that the charts need."""
    return [name for plot in shown for name, _ in plot.series]


def frame(plot: Plot, points: Chart, limit: float | None = None) -> pandas.DataFrame:
    """A row for each point: step and value as float64, series as text. limit: drawn across the chart where it has one."""
    import pandas

    steps: list[float] = []
    values: list[float] = []
    labels: list[str] = []
    for name, label in plot.series:
        found = points.get(name, [])
        first = found[0][1] if found and name in plot.relative else 1.0
        for step, value in found:
            steps.append(float(step))
            values.append(value / first if first else value)
            labels.append(label)
    if plot.has_limit and limit is not None and steps:
        steps += [min(steps), max(steps)]
        values += [limit, limit]
        labels += [LIMIT, LIMIT]
    step_column, value_column, series_column = COLUMNS
    return pandas.DataFrame(
        {
            step_column: pandas.Series(steps, dtype="float64"),
            value_column: pandas.Series(values, dtype="float64"),
            series_column: pandas.Series(labels, dtype="str"),
        }
    )
