"""What the Training tab reads from a run's folder: sample answers before and now, and the end of the log."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from appliance.evaluate.verdict import number
from appliance.worker import logs

COLUMNS = ["Prompt", "Before", "Now", "Score before", "Score now"]
MOST_ROWS = 32
READ_BYTES = 2**19
"""Of the file's beginning and of its end: the first and the newest samples stand there, however long the run is."""

LOG_LINES = 200

Mark = tuple[int, int] | None
"""Size and time of a file: what was drawn from it need not be drawn again."""


def mark_of(file: Path) -> Mark:
    """None when there is no such file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def samples(file: Path) -> tuple[int | None, list[list[str]]]:
    """The newest step that has samples, and rows under COLUMNS: those of step 0 beside those of that step.

    Before there are two such steps, Now is empty. Nothing of a file that is not there.
    """
    mark = mark_of(file)
    return (None, []) if mark is None else _samples(file, mark)


@lru_cache(maxsize=16)
def _samples(file: Path, mark: Mark) -> tuple[int | None, list[list[str]]]:
    """See `samples`; many people watch one run."""
    first, last = _ends(file)
    if not first:
        return None, []
    begin, newest = first[0]["step"], (last or first)[-1]["step"]
    after: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in last:
        if row["step"] == newest and newest != begin:
            after[row["prompt"]].append(row)
    rows = []
    for before in first:
        if before["step"] != begin or len(rows) == MOST_ROWS:
            break
        later = after[before["prompt"]].pop(0) if after[before["prompt"]] else None
        rows.append(
            [
                before["prompt"],
                before["response"].strip(),
                "" if later is None else later["response"].strip(),
                _score(before),
                "" if later is None else _score(later),
            ]
        )
    return newest, rows


def _score(row: dict[str, Any]) -> str:
    score = row.get("score")
    return number(float(score)) if isinstance(score, int | float) else ""


def _ends(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records at a file's beginning and at its end; those that are cut are left out."""
    try:
        with file.open("rb") as opened:
            head = opened.read(READ_BYTES)
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - READ_BYTES))
            tail = opened.read()
    except OSError:
        return [], []
    return _records(head), _records(tail)


def _records(content: bytes) -> list[dict[str, Any]]:
    found = []
    for line in content.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"step", "prompt", "response"} <= row.keys():
            found.append(row)
    return found


def log_tail(file: Path) -> str:
    """The last lines of a run's log, or that there is none."""
    lines = logs.tail(file).rstrip("\n").split("\n")[-LOG_LINES:]
    return "\n".join(lines).strip("\n") or "There is no log: the run was not started yet, or from the command line."
