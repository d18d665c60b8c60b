"""Two to four runs beside each other: curves in one chart, the settings that differ, answers to the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from appliance.config import parse
from appliance.errors import ApplianceError, ConfigError
from appliance.evaluate.verdict import number
from appliance.store import metrics
from appliance.store.db import Store
from appliance.store.rundir import flat
from appliance.store.schema import Run
from appliance.ui import comparing

if TYPE_CHECKING:
    import pandas

LEAST, MOST = 2, 4
POINTS = 400
"""Of each curve, at most."""

CHARTS = {
    "score": ("Score in practice", "score_mean", "points"),
    "test": ("Score on test prompts (held out)", "eval_score_mean", "points"),
    "drift": ("Drift from the starting model (KL)", "kl", "nats per answer"),
    "length": ("Answer length", "length_mean", "tokens"),
    "loss": ("Training loss", "loss", "loss"),
}
"""Chart -> its title, the number's name in metrics.jsonl, and the unit."""

LEFT_OUT = ("name",)
"""Settings that differ between any two runs and say nothing."""


def label(run: Run) -> str:
    """How a run is called where several are shown: two may have the same name."""
    return f"{run.name} ({run.id})"


def curves(store: Store, chosen: Sequence[Run]) -> dict[str, pandas.DataFrame]:
    """By chart, the points of all chosen runs: columns step, value, run. Charts without a point are not there."""
    import pandas

    names = [name for _, name, _ in CHARTS.values()]
    read = {label(run): metrics.points(store, run.id, names, most=POINTS) for run in chosen}
    found = {}
    for chart, (_, name, _) in CHARTS.items():
        rows = [(step, value, run) for run, points in read.items() for step, value in points[name]]
        if rows:
            frame = pandas.DataFrame(rows, columns=["step", "value", "run"])
            found[chart] = frame.astype({"step": "float64", "value": "float64"})
    return found


def differences(chosen: Sequence[Run]) -> list[list[str]]:
    """One row for each setting that is not the same in all: its key, then its value in each run."""
    settings = [_settings(run) for run in chosen]
    keys = dict.fromkeys(key for one in settings for key in one)
    return [
        [key, *(str(one.get(key, "-")) for one in settings)]
        for key in keys
        if key not in LEFT_OUT and any(one.get(key) != settings[0].get(key) for one in settings[1:])
    ]


def _settings(run: Run) -> dict[str, Any]:
    """Every setting with its value, defaults too; only what the file says where this version cannot read it."""
    try:
        values = yaml.safe_load(run.config)
    except yaml.YAMLError:
        return {}
    values = values if isinstance(values, dict) else {}
    try:
        return flat(parse(values, origin=run.name).model_dump(mode="json"))
    except ConfigError:
        return flat(values)


@dataclass(frozen=True)
class Together:
    """The prompts that the reports of several runs share, and what each run's trained model answered to them."""

    prompts: list[str]
    answers: list[list[tuple[str, float]]]
    """[prompt][run]: the first answer and its score."""
    missing: list[str]
    """Runs that have no report."""


def together(chosen: Sequence[Run]) -> Together:
    """Answers to the same prompts; runs without a report are named in `missing` and have an empty answer."""
    read: list[comparing.Shown | None] = []
    missing = []
    for run in chosen:
        try:
            read.append(comparing.read(run))
        except ApplianceError:
            read.append(None)
            missing.append(label(run))
    placed = [{} if one is None else {text: i for i, text in enumerate(one.comparison.prompts)} for one in read]
    known = [place for place in placed if place]
    shared = [text for text in known[0] if all(text in place for place in known)] if len(known) >= LEAST else []

    def answer(one: comparing.Shown | None, place: dict[str, int], prompt: str) -> tuple[str, float]:
        if one is None:
            return "", float("nan")
        after, row = one.comparison.after, place[prompt]
        return after.texts[row][0].strip(), after.scores[row][0]

    answers = [[answer(one, place, text) for one, place in zip(read, placed, strict=True)] for text in shared]
    return Together(shared, answers, missing)


def together_line(found: Together, index: int) -> str:
    """What stands above the answers: which prompt it is, the scores in the order of the runs, or why there is nothing."""
    if not found.prompts:
        why = f" No report yet: {', '.join(found.missing)}." if found.missing else ""
        return f"These runs share no test prompts, so there are no answers to show side by side.{why}"
    scores = " · ".join("no report" if score != score else number(score) for _, score in found.answers[index])
    return f"Prompt {index + 1} of {len(found.prompts)} that they share. Scores, in this order: {scores}."
