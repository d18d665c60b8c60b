"""How long a step of a run takes and how long is left, by the steps since it was started this time: after a resume too."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.store import runs
from appliance.store.schema import Run

STALLED_STEPS, STALLED_S = 5.0, 120.0
"""A run stands still when its last step is older than five usual steps, and two minutes at least."""

RATE_STEPS = 50
"""The time left is reckoned from so many of the last steps."""

TAIL_BYTES = 32768


@dataclass(frozen=True)
class Pace:
    """Seconds: of a usual step, since the last step, until the last one ends. None: not known, or the run is not at work."""

    usual_s: float | None = None
    age_s: float | None = None
    left_s: float | None = None
    stalled: bool = False


def pace(run: Run, now: float) -> Pace:
    """How a run gets on at the time `now`, from its row and the end of its timings.jsonl."""
    if run.state not in runs.ACTIVE:
        return Pace()
    usual = session_rate(Path(run.folder), run, step_of(run.checkpoint) or 0)
    age = max(0.0, now - run.last_step_at) if run.last_step_at is not None else None
    if age is not None and run.started is not None and now - run.started < age:
        age = None  # that step was of an earlier attempt
    left = None
    if usual is not None and run.state == "running" and run.steps:
        left = max(0.0, (run.steps - run.step) * usual - min(age or 0.0, usual))
    return Pace(usual, age, left, run.state == "running" and is_stalled(age, usual))


def is_stalled(age_s: float | None, usual_s: float | None) -> bool:
    """Whether the last step is older than five usual ones, and two minutes at least."""
    return age_s is not None and age_s > max(STALLED_S, STALLED_STEPS * (usual_s or 0.0))


def step_of(checkpoint: str | None) -> int | None:
    """The steps done by a checkpoint's name (step-000340, step-000340+3 in the next one, checkpoint-12); None without one."""
    found = re.search(r"\d+", checkpoint or "")
    return int(found[0]) if found else None


def session_rate(folder: Path, run: Run, begun_at: int) -> float | None:
    """Seconds a step takes, from the last steps since the run was started this time; None before there are any.

    begun_at: the step of the checkpoint it went on from. A run without timings (not PPO) is reckoned as a whole.
    """
    seconds = [took for step, took in _timings(folder / "timings.jsonl") if step > begun_at][-RATE_STEPS:]
    if len(seconds) > 2 and len(seconds) < RATE_STEPS:
        seconds = seconds[1:]  # the first of a session warms up
    if seconds:
        return sum(seconds) / len(seconds)
    if run.started is None or run.last_step_at is None or run.stage == "ppo" or run.step <= begun_at:
        return None
    return max(0.0, run.last_step_at - run.started) / (run.step - begun_at) or None


def _timings(file: Path) -> list[tuple[int, float]]:
    """(step, seconds) of the last lines, one more than the rate is reckoned from."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - TAIL_BYTES))
            lines = opened.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines[-RATE_STEPS - 1 :]:
        try:
            row = json.loads(line)
            found.append((int(row["step"]), float(row["seconds"])))
        except (ValueError, KeyError, TypeError):  # the first is cut, the last may be half written
            continue
    return found
