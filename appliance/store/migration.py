"""From any earlier schema of the store to the present one: numbered steps in migrations/versions, run by Alembic."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from appliance.errors import ApplianceError
from appliance.store.schema import Base

logging.getLogger("alembic").setLevel(logging.WARNING)  # each step told twice is no news
log = logging.getLogger("appliance.store")

FOLDER = Path(__file__).with_name("migrations")

PRIVATE = 0o600
"""The database holds names and hashes of passwords: it is nobody else's to read."""

ADVISORY_LOCK = 0x726C6866
"""The number under which PostgreSQL lets only one process migrate at a time."""


def migrate(engine: Engine, *, file: Path | None, now: float) -> None:
    """Bring a database to the newest version; `file` is SQLite's, None for a server.

    Safe to call from several processes at once: one does it, the others wait. A SQLite file with an older version is
    first copied to `<file>.<version>-<time>.bak`. Raises ApplianceError for a database of a newer version of the
    appliance, or one with tables that are not the appliance's.
    """
    config = _config()
    steps = ScriptDirectory.from_config(config)
    newest = steps.get_current_head()
    with _only_one(engine, file) as connection:
        here = version_of(connection)
        if here == newest:
            return
        if here is None:
            _check_empty(connection)
        elif here not in {step.revision for step in steps.walk_revisions()}:
            shown = engine.url.render_as_string(hide_password=True)
            raise ApplianceError(
                f"the store {shown} has schema version {here}; this appliance knows versions up to {newest}",
                "start the newer appliance that made it, or restore a copy from before the upgrade (*.bak beside it)",
            )
        elif file is not None:
            copy_sqlite(file, backup_path(file, here, now))
        connection.rollback()
        with without_cascades(connection):
            config.attributes["connection"] = connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            command.upgrade(config, "head")
            connection.commit()
        if here is not None:
            kept = f"; as it was, it is kept as {backup_path(file, here, now)}" if file is not None else ""
            log.warning("the store was upgraded from schema version %s to %s%s", here, newest, kept)
    if file is not None:
        file.chmod(PRIVATE)


def version_of(connection: Connection) -> str | None:
    """The version that a database says it has, or None: it has none yet."""
    return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def without_cascades(connection: Connection) -> Iterator[None]:
    """A time in which SQLite may drop a table and keep what points to it; other databases are not concerned.

    SQLite changes a column by making the table anew and dropping the old one. With foreign keys on, that deletes every
    row that points to it: a run's numbers, a user's votes. `check_references` looks instead, once the steps are done.
    """
    driver = connection.connection.driver_connection  # past SQLAlchemy: the pragma is ignored in a transaction
    assert driver is not None
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.execute("PRAGMA foreign_keys = OFF").close()
    try:
        yield
    finally:
        connection.rollback()
        driver.execute("PRAGMA foreign_keys = ON").close()


def last_numbers(connection: Connection) -> dict[str, int]:
    """The highest number that each counting table of a SQLite file ever gave; empty for another database."""
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table("sqlite_sequence"):
        return {}
    return {name: int(last) for name, last in connection.execute(text("SELECT name, seq FROM sqlite_sequence"))}


def keep_last_numbers(connection: Connection, given: dict[str, int]) -> None:
    """Let a table that was made anew give no number again that was in `given`: links and the audit name deleted runs."""
    for name in given.keys() & set(inspect(connection).get_table_names()):
        values = {"name": name, "last": max(given[name], last_numbers(connection).get(name, 0))}
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)


def check_references(connection: Connection) -> None:
    """Raises ApplianceError, which undoes the upgrade, where rows of a SQLite file point to rows that are not there."""
    if connection.dialect.name != "sqlite":
        return
    lost = connection.execute(text("PRAGMA foreign_key_check")).all()
    if lost:
        table, _, parent, _ = lost[0]
        raise ApplianceError(
            f"the database cannot be used: {len(lost)} of its rows point to nothing, the first from {table} to {parent}",
            "go on with the appliance version that wrote it, and report this with both versions' numbers",
        )


def backup_path(file: Path, version: str, at: float) -> Path:
    """Where the copy of a SQLite file goes before it is changed."""
    return file.with_name(f"{file.name}.{version}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}.bak")


def copy_sqlite(source: Path, target: Path) -> None:
    """A copy of a SQLite file as it is at one moment, also while others write to it."""
    try:
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            target.chmod(PRIVATE)
            origin.backup(copy)
    except (sqlite3.Error, OSError) as error:
        if target.is_file():
            target.unlink()
        raise ApplianceError(
            f"the store was not upgraded: {source} could not be copied first: {error}",
            "free some room in its folder, then start again",
        ) from error


@contextmanager
def _only_one(engine: Engine, file: Path | None) -> Iterator[Connection]:
    """A connection of the only process that migrates at this time."""
    if file is not None:
        with (file.parent / f".{file.name}.migrating").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.connect() as connection:
                yield connection
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": ADVISORY_LOCK})
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": ADVISORY_LOCK})
            connection.commit()


def _check_empty(connection: Connection) -> None:
    strange = sorted(set(inspect(connection).get_table_names()) & set(Base.metadata.tables))
    if strange:
        raise ApplianceError(
            f"the database has tables that the appliance did not make: {', '.join(strange)}",
            "give the appliance a database of its own",
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
