"""The workers that are, or were, alive."""

from __future__ import annotations

from sqlalchemy import select

from appliance.store.db import Store
from appliance.store.schema import Worker

SILENT_S = 30.0
"""A worker that has not been heard of for longer is shown as gone."""


def beat(store: Store, worker_id: str, *, host: str, pid: int, device: str) -> None:
    """Enter that the worker is alive."""
    with store.session() as session:
        known = session.get(Worker, worker_id)
        if known is None or known.pid != pid or known.host != host:
            now = store.clock()
            session.merge(Worker(id=worker_id, host=host, pid=pid, device=device, started=now, heartbeat=now))
        else:
            known.heartbeat = store.clock()


def leave(store: Store, worker_id: str) -> None:
    """The worker has ended."""
    with store.session() as session:
        known = session.get(Worker, worker_id)
        if known is not None:
            session.delete(known)


def heard_of(store: Store) -> list[Worker]:
    """Workers whose last beat is recent, for showing; by a clock that was moved it may be wrong for half a minute."""
    with store.reading() as session:
        found = session.scalars(select(Worker).order_by(Worker.id))
        return [worker for worker in found if abs(store.clock() - worker.heartbeat) <= SILENT_S]
