"""The numbers of a run as columns in memory, kept up to date by reading only new steps: many people watch one run."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from appliance.store.db import Store
from appliance.store.schema import Point

MOST_RUNS = 16
"""Runs kept at a time: 5,000 steps of 40 numbers are 1.6 MB."""

Chart = dict[str, list[tuple[int, float]]]


@dataclass
class _Curves:
    """Steps in order, and for each name a value per step; NaN where there is none."""

    lock: Lock = field(default_factory=Lock)
    steps: array[int] = field(default_factory=lambda: array("q"))
    columns: dict[str, array[float]] = field(default_factory=dict)
    charts: dict[tuple[tuple[str, ...], int], Chart] = field(default_factory=dict)

    def update(self, session: Session, run_id: int) -> None:
        """Read the steps that are new; all of them where earlier ones changed."""
        mine = Point.run_id == run_id
        count, last = session.execute(select(func.count(), func.max(Point.step)).where(mine)).one()
        if count == len(self.steps) and (not count or last == self.steps[-1]):
            return
        self.charts.clear()
        query = select(Point.step, Point.values).where(mine).order_by(Point.step)
        if self.steps and count > len(self.steps):
            fresh = session.execute(query.where(Point.step > self.steps[-1])).all()
            if len(self.steps) + len(fresh) == count:
                self._add(fresh)
                return
        self.steps, self.columns = array("q"), {}
        self._add(session.execute(query).all())

    def chart(self, names: tuple[str, ...], most: int) -> Chart:
        """See `metrics.points`."""
        known = self.charts.get((names, most))
        if known is None:
            known = self.charts[names, most] = {name: self._thinned(name, most) for name in names}
        return known

    def _add(self, rows: Sequence[Any]) -> None:
        for step, values in rows:
            for name, value in values.items():
                if isinstance(value, int | float) and name not in self.columns:
                    self.columns[name] = array("d", [math.nan]) * len(self.steps)
            self.steps.append(step)
            for name, column in self.columns.items():
                value = values.get(name)
                column.append(float(value) if isinstance(value, int | float) else math.nan)

    def _thinned(self, name: str, most: int) -> list[tuple[int, float]]:
        found = [(s, v) for s, v in zip(self.steps, self.columns.get(name, ()), strict=False) if not math.isnan(v)]
        stride = max(1, math.ceil(len(found) / most))
        return found if stride == 1 else found[::stride] + ([] if (len(found) - 1) % stride == 0 else found[-1:])


_KEPT: OrderedDict[tuple[str, int], _Curves] = OrderedDict()
_KEPT_LOCK = Lock()


def chart(store: Store, run_id: int, names: Sequence[str], most: int) -> Chart:
    """(step, value) of each name, thinned; see `metrics.points`."""
    key = (f"{store.engine.url} {store.data}", run_id)
    with _KEPT_LOCK:
        curves = _KEPT.setdefault(key, _Curves())
        _KEPT.move_to_end(key)
        while len(_KEPT) > MOST_RUNS:
            _KEPT.popitem(last=False)
    with curves.lock:  # those who ask for the same run at the same time read it once
        with store.reading() as session:
            curves.update(session, run_id)
        return {name: list(points) for name, points in curves.chart(tuple(names), most).items()}
