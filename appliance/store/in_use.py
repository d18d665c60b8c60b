"""Whether a page, a worker or a training uses a data folder: what must not be while it is replaced."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from appliance.errors import ApplianceError
from appliance.settings import Settings
from appliance.store import run_folders, workers
from appliance.store.db import Store, reachable


def check_unused(settings: Settings, *, but: Store | None = None) -> None:
    """Raises ApplianceError while a process uses the data folder or its store. `but`: our own store, closed first."""
    data = settings.data.absolute()
    for lock in sorted((data / "workers").glob("*.lock")):
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(data, f"a worker ({lock.stem})") from None
    for run in run_folders.folders(data) if data.is_dir() else []:
        try:
            running = run.status()["state"] == "running"
        except (ValueError, KeyError):
            continue
        if running:
            raise _in_use(data, f"the training in {run.path.name}")
    store = but or Store(settings.database, data)
    try:
        _check_store(store, data, ours=but is not None)
    finally:
        if but is None:
            store.close()


def _check_store(store: Store, data: Path, *, ours: bool) -> None:
    if store.is_sqlite:
        if not store.file.is_file():
            return
        store.engine.dispose()
        try:
            with closing(sqlite3.connect(store.file, timeout=0)) as alone:
                alone.isolation_level = None
                alone.execute("PRAGMA locking_mode = EXCLUSIVE")  # granted to an only connection
                alone.execute("BEGIN IMMEDIATE")
                alone.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):
                return  # it is damaged: a reason to restore
            raise _in_use(data, "another process, such as `appliance serve`, which has the store open") from None
        with closing(sqlite3.connect(store.file)) as opened:
            try:
                beats = [beat for (beat,) in opened.execute("SELECT heartbeat FROM workers")]
            except sqlite3.DatabaseError:
                return
        if any(abs(store.clock() - beat) <= workers.SILENT_S for beat in beats):
            raise _in_use(data, "a worker, perhaps on another machine, which was heard of in the last half minute")
        return
    with reachable(store), store.engine.connect() as connection:
        others = connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )
    if others > int(ours):
        raise _in_use(data, f"other processes ({others - int(ours)} connections to the database)")


def _in_use(data: Path, who: str) -> ApplianceError:
    return ApplianceError(
        f"{data} is in use by {who}",
        "stop `appliance serve`, `appliance worker` and trainings first (docker compose stop), then restore",
    )
