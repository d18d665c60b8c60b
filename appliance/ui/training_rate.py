"""How long a step of a run takes, from the steps since it was started this time: right after a resume too."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from appliance.store.schema import Run

RATE_STEPS = 50
"""The time left is reckoned from so many of the last steps."""

TAIL_BYTES = 32768


def step_of(checkpoint: str | None) -> int | None:
    """The step in a checkpoint's name (step-000340, checkpoint-12); None without one."""
    found = re.findall(r"\d+", checkpoint or "")
    return int(found[-1]) if found else None


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
