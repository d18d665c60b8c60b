"""The store's tables as lines of JSON: read at one moment from either database, written into either at any known schema."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, MetaData, Table, create_engine, func, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from appliance.errors import ApplianceError
from appliance.store import migration
from appliance.store.db import Store
from appliance.store.schema import Base

SECRET_TABLES = ("logins", "invitations", "workers")
"""Not in a backup: who is signed in, who was invited, which processes live. All are made again."""

VERSION_TABLE = "alembic_version"
ROWS = 500
"""Rows that are in memory at a time."""


@contextmanager
def snapshot(store: Store, scratch: Path) -> Iterator[Connection]:
    """A connection that sees the database as it is at one moment, while others go on writing.

    `scratch`: a folder for a copy of the SQLite file.
    """
    if not store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection
        return
    copy = scratch / "store.db"
    try:
        with closing(sqlite3.connect(store.file)) as origin, closing(sqlite3.connect(copy)) as target:
            copy.chmod(migration.PRIVATE)
            origin.backup(target)
    except sqlite3.Error as error:
        raise ApplianceError(
            f"the store {store.file} could not be copied: {error}", "check the disk, then try again"
        ) from error
    engine = create_engine(f"sqlite:///{copy}")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
        copy.unlink()


def tables(connection: Connection) -> list[Table]:
    """The tables that are kept, those first that others point to; as they are in this database, whatever its version."""
    found = MetaData()
    found.reflect(connection)
    kept = [t for t in found.sorted_tables if t.name not in (*SECRET_TABLES, VERSION_TABLE)]
    return [_plain_null(table) for table in kept]


def dump(connection: Connection, table: Table, file: IO[bytes]) -> int:
    """Write the table's rows as lines of JSON in the order of its key; how many there were."""
    count = 0
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": ROWS}).mappings():
        values = dict(row)
        if table.name == "runs":
            values["token"] = None  # by it a worker knows a process of its own machine
        file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def last_ids(connection: Connection, found: list[Table]) -> dict[str, int]:
    """The highest number that was ever given in each table that counts: those of deleted rows are not given again."""
    given: dict[str, int] = {}
    if connection.dialect.name == "sqlite":
        if "sqlite_sequence" in _names(connection):
            given = dict(connection.execute(text("SELECT name, seq FROM sqlite_sequence")).all())  # type: ignore[arg-type]
        return {name: int(last) for name, last in given.items()}
    for table in found:
        sequence = _sequence(connection, table)
        if sequence is not None:
            last, called = connection.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()
            given[table.name] = int(last) if called else 0
    return given


def build(connection: Connection, schema: str, folder: Path, last: dict[str, int]) -> dict[str, int]:
    """Fill an empty database of version `schema` from `folder`/<table>.jsonl, then bring it to the present version.

    Returns rows by table. Nothing is committed. Raises ApplianceError for rows that do not fit.
    """
    config = migration._config()
    config.attributes["connection"] = connection
    command.upgrade(config, schema)
    counted = {}
    known = {table.name: table for table in tables(connection)}
    files = {file.stem: file for file in folder.glob("*.jsonl")}
    if set(files) - set(known):
        raise _damaged(f"it has tables that version {schema} has not: {', '.join(sorted(set(files) - set(known)))}")
    for name, table in known.items():
        if name in files:
            counted[name] = _load(connection, table, files[name])
            _set_last_id(connection, table, last.get(name, 0))
    command.upgrade(config, "head")
    return counted


def check_schema(version: str) -> None:
    """Raises ApplianceError, which names both, where this appliance does not know the backup's schema."""
    steps = ScriptDirectory.from_config(migration._config())
    if version not in {step.revision for step in steps.walk_revisions()}:
        raise ApplianceError(
            f"the backup has schema version {version}; this appliance knows versions up to {steps.get_current_head()}",
            "restore it with the appliance version that made it, or a newer one",
        )


def drop(connection: Connection) -> None:
    """Remove the appliance's tables; others in the database stay."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in Base.metadata.tables or name == VERSION_TABLE)
    found.drop_all(connection)


def rebase(connection: Connection, old: str, new: str, moved: Any) -> None:
    """Let the runs' rows speak of the folder `new`; `moved(text)` does the same for a text with paths in it."""
    runs = Base.metadata.tables["runs"]
    for number, folder, config in connection.execute(select(runs.c.id, runs.c.folder, runs.c.config)).all():
        inside = folder == old or folder.startswith(old.rstrip("/") + "/")
        there = new + folder[len(old.rstrip("/")) :] if inside else folder
        connection.execute(update(runs).where(runs.c.id == number).values(folder=there, config=moved(config)))


def _load(connection: Connection, table: Table, file: Path) -> int:
    columns, count, rows = set(table.columns.keys()), 0, []
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict) or set(row) != columns:
                    raise _damaged(f"table {table.name}, line {count + 1}: its columns are not those of the schema")
                rows.append(row)
                count += 1
                if len(rows) == ROWS:
                    connection.execute(insert(table), rows)
                    rows = []
        if rows:
            connection.execute(insert(table), rows)
    except (DBAPIError, ValueError) as error:
        reason = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        raise _damaged(f"table {table.name} cannot be filled: {reason}") from error
    return count


def _set_last_id(connection: Connection, table: Table, last: int) -> None:
    key = list(table.primary_key.columns)
    if len(key) != 1 or key[0].name != "id" or not issubclass(key[0].type.python_type, int):
        return
    highest = max(last, connection.scalar(select(func.max(key[0]))) or 0)
    if connection.dialect.name == "sqlite":
        if "sqlite_sequence" in _names(connection) and highest and last:
            values = {"name": table.name, "seq": highest}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values)
        return
    sequence = _sequence(connection, table)
    if sequence is not None and highest:
        connection.execute(text("SELECT setval(:sequence, :last)"), {"sequence": sequence, "last": highest})


def _sequence(connection: Connection, table: Table) -> str | None:
    if "id" not in table.columns:
        return None
    return connection.scalar(text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name})


def _names(connection: Connection) -> set[str]:
    found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
    return {name for (name,) in found}


def _plain_null(table: Table) -> Table:
    """A JSON column that holds nothing gets NULL back, not the word null."""
    for column in table.columns:
        if isinstance(column.type, JSON):
            column.type = JSON(none_as_null=True)
    return table


def _damaged(why: str) -> ApplianceError:
    return ApplianceError(f"the backup's database cannot be used: {why}", "take another backup file")


def has_tables(connection: Connection) -> bool:
    """Whether the database holds a store."""
    return VERSION_TABLE in inspect(connection).get_table_names()
