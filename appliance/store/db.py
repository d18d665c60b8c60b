"""The store: one SQLite file in the data folder, or a PostgreSQL database. Sessions, and the way to the present schema."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from appliance.errors import ApplianceError
from appliance.settings import Settings

BUSY_S = 10.0
"""A writer waits this long for another one before it gives up."""


class Store:
    """A database and the data folder that its rows speak of. Cheap to make; connects when it is first used.

    Rows that leave a session stay readable; nothing is loaded from the database afterwards.
    """

    def __init__(self, url: str, data: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.data = data.absolute()
        self.clock = clock
        self.engine = _engine(url)
        begin = "BEGIN IMMEDIATE" if self.is_sqlite else None
        self._writing = sessionmaker(self.engine.execution_options(sqlite_begin=begin), expire_on_commit=False)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file here rather than a server."""
        return self.engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path:
        """The SQLite file."""
        assert self.engine.url.database is not None
        return Path(self.engine.url.database)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction that may write: committed at the end, rolled back on an error.

        In SQLite it is the only writer from its first statement on, so what it reads stays true until it commits.
        """
        with self._writing() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One transaction that only reads: it waits for no writer and holds up none. Nothing is committed."""
        with self._reading() as session:
            yield session

    def migrate(self) -> None:
        """Bring the database to the present schema; a SQLite file is copied first. Raises ApplianceError."""
        from appliance.store.migration import migrate  # Alembic is not needed to read and write

        migrate(self.engine, file=self.file if self.is_sqlite else None, now=self.clock())

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()


def open_store(settings: Settings, *, clock: Callable[[], float] = time.time) -> Store:
    """The store that the settings name, with the present schema. Raises ApplianceError where it cannot be used."""
    from appliance.store.files import explained

    with explained(settings.data):
        settings.data.mkdir(parents=True, exist_ok=True)
    store = Store(settings.database, settings.data, clock=clock)
    with reachable(store):
        store.migrate()
    return store


@contextmanager
def reachable(store: Store) -> Iterator[None]:
    """Turns a database that does not answer into an ApplianceError that names it, without its password."""
    try:
        yield
    except DBAPIError as error:
        shown = store.engine.url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        fix = "check the disk and the file" if store.is_sqlite else "check APPLIANCE_DATABASE and that the server runs"
        raise ApplianceError(f"the store {shown} cannot be used: {reason}", fix) from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url("it is not a URL") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        if parsed.get_backend_name() == "postgresql":
            told = {"connect_timeout": int(BUSY_S), "client_encoding": "utf8"}  # a server of SQL_ASCII would send bytes
            return create_engine(parsed, pool_pre_ping=True, connect_args=told)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            raise _bad_url(f"it names {parsed.drivername}")
        engine = create_engine(parsed, connect_args={"timeout": BUSY_S, "check_same_thread": False})
    except ModuleNotFoundError as error:
        raise ApplianceError(
            f"APPLIANCE_DATABASE names PostgreSQL, but {error.name} is not installed",
            'install the extra: pip install "rlhf-appliance[postgres]"',
        ) from None
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _bad_url(why: str) -> ApplianceError:
    return ApplianceError(
        f"environment: APPLIANCE_DATABASE cannot be used: {why}",
        "set it to postgresql://user:password@host/database, or leave it empty for a file in APPLIANCE_DATA",
    )


def _prepare(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {BUSY_S * 1000:.0f}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin") or "BEGIN")
