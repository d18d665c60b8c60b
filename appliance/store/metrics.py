"""Numbers and events of a run: copied from its folder by the worker, read by the page in as few points as a chart shows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from appliance.store.curves import Chart, chart
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.store.schema import Event, Point

FILES = ("metrics.jsonl", "events.jsonl")


@dataclass(frozen=True)
class Place:
    """How far a log has been copied: which file it was, and how many bytes and lines of it."""

    inode: int
    bytes: int
    lines: int


Read = dict[str, Place]
"""By file name; what `ingest` returns and takes again, so that only new lines are read."""


def ingest(store: Store, run_id: int, run: RunDir, read: Read | None = None) -> Read:
    """Copy what is new in the run's logs; how far it came. However often and from wherever: the store ends up the same.

    A log that was replaced (a resumed run drops the lines after its checkpoint) is read anew, and lines that it no
    longer has go from the store as well.
    """
    before = read or {}
    after: Read = {}
    for name in FILES:
        place, lines, whole = _new_lines(run.path / name, before.get(name))
        if place is None:
            continue
        if lines or whole:
            with store.session() as session:
                if name == "metrics.jsonl":
                    _enter_points(session, run_id, lines, whole=whole)
                else:
                    first = 0 if whole else before[name].lines
                    _enter_events(session, run_id, lines, first=first, whole=whole, now=store.clock())
        after[name] = place
    return after


def place_of(run: RunDir) -> Place | None:
    """How far the run's metrics.jsonl is at this moment, as `ingest` would say; None where there is none."""
    return _new_lines(run.path / "metrics.jsonl", None)[0]


def add_event(store: Store, run_id: int, what: str, *, fix: str | None = None, step: int = 0) -> None:
    """Something that the worker saw of a run."""
    with store.session() as session:
        lowest = session.scalar(select(func.min(Event.number)).where(Event.run_id == run_id)) or 0
        number, at = min(lowest, 0) - 1, store.clock()
        session.add(Event(run_id=run_id, number=number, step=step, at=at, kind="worker", what=what, fix=fix))


def events(store: Store, run_id: int, *, limit: int = 200) -> list[Event]:
    """What happened in a run, latest first."""
    with store.reading() as session:
        query = select(Event).where(Event.run_id == run_id).order_by(Event.at.desc(), Event.number.desc()).limit(limit)
        return list(session.scalars(query))


def names(store: Store, run_id: int) -> list[str]:
    """The names of the numbers that the run's newest step has, `step` left out."""
    return sorted(name for name in last(store, run_id) if name != "step")


def last(store: Store, run_id: int) -> dict[str, Any]:
    """The newest step's numbers by name; empty before the first."""
    with store.reading() as session:
        query = select(Point.values).where(Point.run_id == run_id).order_by(Point.step.desc()).limit(1)
        return session.scalar(query) or {}


def points(store: Store, run_id: int, names: Sequence[str], *, most: int = 400) -> Chart:
    """(step, value) of each name, at most about `most` evenly chosen ones, the first and the newest among them.

    Steps without the number, or with null, are left out.
    """
    return chart(store, run_id, names, most)


def _new_lines(file: Path, before: Place | None) -> tuple[Place | None, list[dict[str, Any]], bool]:
    """Where the file now ends, its new whole lines, and whether those are all of it. Damaged lines are left out."""
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            whole = before is None or before.inode != found.st_ino or found.st_size < before.bytes
            start, number = (0, 0) if whole or before is None else (before.bytes, before.lines)
            opened.seek(start)
            content = opened.read()
    except FileNotFoundError:
        return None, [], False
    content = content[: content.rfind(b"\n") + 1]
    rows = []
    for line in content.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            row = {}
        rows.append(row if isinstance(row, dict) else {})
    return Place(found.st_ino, start + len(content), number + len(rows)), rows, whole


def _enter_points(session: Session, run_id: int, lines: list[dict[str, Any]], *, whole: bool) -> None:
    by_step: dict[int, dict[str, Any]] = {}
    for line in lines:
        if isinstance(line.get("step"), int):
            by_step[line["step"]] = by_step.get(line["step"], {}) | line
    mine = Point.run_id == run_id
    if whole:
        session.execute(delete(Point).where(mine))
    elif by_step:
        session.execute(delete(Point).where(mine, Point.step.in_(by_step)))
    rows = [{"run_id": run_id, "step": step, "values": values} for step, values in by_step.items()]
    if rows:
        session.execute(Point.__table__.insert(), rows)


def _enter_events(
    session: Session, run_id: int, lines: list[dict[str, Any]], *, first: int, whole: bool, now: float
) -> None:
    """The file does not say when; the time at which the store first saw a line is kept."""
    known = {
        event.number: event
        for event in session.scalars(select(Event).where(Event.run_id == run_id, Event.number >= first))
    }
    for number, line in enumerate(lines, start=first):
        told = {
            "step": line.get("step", 0),
            "kind": str(line.get("kind", "notice"))[:16],
            "what": str(line.get("what", "")),
            "fix": line.get("fix"),
        }
        event = known.pop(number, None)
        if event is None:
            session.add(Event(run_id=run_id, number=number, at=now, **told))
        elif told != {name: getattr(event, name) for name in told}:
            for name, value in told.items():
                setattr(event, name, value)
            event.at = now
    if whole:
        for event in known.values():
            session.delete(event)
