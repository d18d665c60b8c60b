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


def known(store: Store) -> list[Worker]:
    """Workers that began and did not say goodbye, by their ids: those at work, and those that have gone silent."""
    with store.reading() as session:
        return list(session.scalars(select(Worker).order_by(Worker.id)))


def is_silent(store: Store, worker: Worker) -> bool:
    """Whether its last beat is not recent; by a clock that was moved this may be wrong for half a minute."""
    return abs(store.clock() - worker.heartbeat) > SILENT_S


def heard_of(store: Store) -> list[Worker]:
    """Workers whose last beat is recent, for showing."""
    return [worker for worker in known(store) if not is_silent(store, worker)]
