"""Data folders of released schemas, as their release left them, under today's code; and today's under the next schema."""

import json
import runpy
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from appliance import settings
from appliance.errors import ApplianceError
from appliance.store import backup, logins, migration, restore, run_folders, runs
from appliance.store.db import Store, open_store

RELEASED = Path(__file__).with_name("released")
MAKE = runpy.run_path(str(RELEASED / "make.py"))
SCHEMAS = sorted(folder.name for folder in RELEASED.iterdir() if (folder / "database.sql").exists())
FIRST = "0001"

NEXT = f"""
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{max(file.stem[1:] for file in (migration.FOLDER / "versions").glob("v*.py"))}"

def upgrade():
    anew = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    op.create_table("teams", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(64)))
    for name in ("users", "runs", "vote_items", "assignments"):  # others point to each
        counts = {{"sqlite_autoincrement": True}} if name == "runs" else {{}}
        with op.batch_alter_table(name, recreate=anew, table_kwargs=counts) as table:
            table.add_column(sa.Column("team", sa.Integer, nullable=False, server_default="7"))
"""


def placed(schema: str, data: Path) -> settings.Settings:
    """The released folder at `data`, as it was on the machine that made it."""
    shutil.copytree(RELEASED / schema / "data", data)
    for file in data.rglob("*"):
        if file.is_file():
            file.write_text(file.read_text().replace(MAKE["DATA"], str(data)))
    with closing(sqlite3.connect(data / "appliance.db")) as made:
        made.executescript((RELEASED / schema / "database.sql").read_text().replace(MAKE["DATA"], str(data)))
    return settings.read({"APPLIANCE_DATA": str(data)})


def rows(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of a SQLite file, but which version it has."""
    with closing(sqlite3.connect(file)) as opened:
        opened.row_factory = sqlite3.Row
        names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: [dict(row) for row in opened.execute(f'SELECT * FROM "{name}"')] for name in names}
    del found["alembic_version"]
    return found


def lost(before: Any, after: Any, place: str = "") -> list[str]:
    """Where `after` has not what `before` has; a table, column or key that came to it since is no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{place}/{key} is gone" for key in before if key not in after]
        return gone + [one for key in before if key in after for one in lost(before[key], after[key], f"{place}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [one for n, (old, new) in pairs for one in lost(old, new, f"{place}/{n}")]
    return [] if before == after else [f"{place}: {before!r} is {after!r}"]


def seen_then_and_now(schema: str, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `make.py` was answered when it made the folder, and what it is answered now."""
    told = json.loads((RELEASED / schema / "seen.json").read_text())
    return told, {"token": told["token"], "at": told["at"]} | MAKE["seen"](store, told["token"], told["at"])


def files(data: Path) -> dict[str, bytes]:
    """Every file but the store's own, by path."""
    found = {str(file.relative_to(data)): file.read_bytes() for file in data.rglob("*") if file.is_file()}
    return {name: content for name, content in found.items() if "appliance.db" not in name}


@pytest.fixture
def next_schema(tmp_path, monkeypatch):
    """next_schema(more lines of its upgrade): from here on the code is of a later release with one schema more."""

    def begin(more: str = "") -> None:
        folder = tmp_path / "steps"
        shutil.copytree(migration.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "v9999.py").write_text(NEXT + more)
        monkeypatch.setattr(migration, "FOLDER", folder)

    return begin


def test_every_schema_but_the_newest_has_its_folder():
    steps = ScriptDirectory.from_config(migration._config())
    older = {step.revision for step in steps.walk_revisions()} - {steps.get_current_head()}
    assert older <= set(SCHEMAS), "run tests/store/released/make.py with the release that has the schema"
    assert FIRST in SCHEMAS


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_released_data_folder_opens_with_every_row_and_file(schema, tmp_path):
    chosen = placed(schema, tmp_path / "data")
    before, held = rows(chosen.data / "appliance.db"), files(chosen.data)
    store = open_store(chosen)
    copies = list(chosen.data.glob("appliance.db.*.bak"))
    newest = ScriptDirectory.from_config(migration._config()).get_current_head()
    assert len(copies) == (schema != newest)
    assert all(rows(copy) == before for copy in copies)
    assert lost(before, rows(chosen.data / "appliance.db")) == []
    then, now = seen_then_and_now(schema, store)
    assert lost(then, now) == []
    assert lost(held, files(chosen.data)) == []
    assert run_folders.adopt(store) == []  # every folder of a run is known by its row
    assert logins.sign_in(store, "tom", MAKE["PASSWORD"])
    claimed = runs.claim(store, "w")
    assert claimed is not None
    assert claimed.name == then["queue"][0]
    store.close()


def test_what_is_lost_is_found(tmp_path):
    chosen = placed(FIRST, tmp_path / "data")
    before = rows(chosen.data / "appliance.db")
    with closing(sqlite3.connect(chosen.data / "appliance.db")) as opened:
        opened.execute("UPDATE votes SET choice = 'a' WHERE choice = 'b'")
        opened.execute("DELETE FROM events WHERE run_id = 2")
        opened.execute("ALTER TABLE users DROP COLUMN failures")
        opened.commit()
    found = " ".join(lost(before, rows(chosen.data / "appliance.db")))
    assert "choice: 'b' is 'a'" in found
    assert "/events: " in found
    assert "/users/0/failures is gone" in found


def test_the_next_schema_keeps_every_row_and_makes_a_copy_first(tmp_path, next_schema):
    chosen = placed(FIRST, tmp_path / "data")
    before = rows(chosen.data / "appliance.db")
    assert (len(before["votes"]), len(before["points"])) == (23, 23)  # counted in database.sql
    next_schema()
    store = open_store(chosen, clock=lambda: 1_790_100_000.0)
    assert lost(*seen_then_and_now(FIRST, store)) == []
    store.close()
    after = rows(chosen.data / "appliance.db")
    assert lost(before, after) == []
    assert {row["team"] for row in after["runs"]} == {7}
    # 1,790,100,000 s after 1970 is 2026-09-22 18:00:00 UTC
    copy = chosen.data / "appliance.db.0001-20260922-180000.bak"
    assert rows(copy) == before
    with closing(sqlite3.connect(chosen.data / "appliance.db")) as opened:
        opened.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):  # tables that were made anew are still pointed to
            opened.execute("UPDATE votes SET assignment_id = 999")
        new = "(name, stage, folder, config, state, created, step, steps, attempts, resume_by_itself, note, starred)"
        given = opened.execute(f"INSERT INTO runs {new} VALUES ('n', 'ppo', 'f', '', 'queued', 1, 0, 0, 0, 1, '', 0)")
        assert given.lastrowid == 12  # 11 was a run that is deleted


def test_the_older_appliance_refuses_the_newer_schema_and_takes_the_copy(tmp_path, next_schema, monkeypatch):
    chosen, today = placed(FIRST, tmp_path / "data"), migration.FOLDER
    next_schema()
    open_store(chosen).close()
    monkeypatch.setattr(migration, "FOLDER", today)
    upgraded = rows(chosen.data / "appliance.db")
    with pytest.raises(ApplianceError, match=r"schema version 9999; this appliance knows versions up to 0001"):
        open_store(chosen)
    assert rows(chosen.data / "appliance.db") == upgraded
    [copy] = chosen.data.glob("*.bak")
    copy.replace(chosen.data / "appliance.db")
    store = open_store(chosen)
    assert lost(*seen_then_and_now(FIRST, store)) == []
    store.close()


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("    raise RuntimeError('half way')\n", "half way"),
        (
            "    op.execute('DELETE FROM users WHERE id = 3')\n",
            "of its rows point to nothing, the first from assignments to users",
        ),
    ],
)
def test_a_step_that_fails_or_loses_rows_leaves_everything_as_it_was(more, error, tmp_path, next_schema, monkeypatch):
    chosen, today = placed(FIRST, tmp_path / "data"), migration.FOLDER
    before = rows(chosen.data / "appliance.db")
    next_schema(more)
    with pytest.raises((RuntimeError, ApplianceError), match=error):
        open_store(chosen)
    assert rows(chosen.data / "appliance.db") == before
    monkeypatch.setattr(migration, "FOLDER", today)
    store = open_store(chosen)  # the release that wrote it goes on
    assert lost(*seen_then_and_now(FIRST, store)) == []
    store.close()


def test_a_server_s_database_comes_to_the_next_schema_with_every_row(url, tmp_path, next_schema):
    old = placed(FIRST, tmp_path / "data")
    backup.make(old, tmp_path / "old.tar")
    new = settings.read({"APPLIANCE_DATA": str(tmp_path / "new"), "APPLIANCE_DATABASE": url})
    restore.restore(tmp_path / "old.tar", new)
    next_schema()
    store = open_store(new)
    then, now = seen_then_and_now(FIRST, store)
    assert now["audit"].pop(0)[2] == "backup restored"
    assert lost(then | {"workers": [], "the token's user": None}, now) == []  # neither is in a backup
    with store.engine.connect() as connection:
        assert migration.version_of(connection) == "9999"
    store.close()


def test_a_backup_of_the_released_schema_restores_under_the_next_one(tmp_path, next_schema):
    old = placed(FIRST, tmp_path / "data")
    before = rows(old.data / "appliance.db")
    backup.make(old, tmp_path / "old.tar")
    next_schema()
    new = settings.read({"APPLIANCE_DATA": str(tmp_path / "new")})
    restore.restore(tmp_path / "old.tar", new)
    after = rows(new.data / "appliance.db")
    assert {name: len(after[name]) for name in ("points", "events", "questions", "votes", "assignments")} == {
        name: len(before[name]) for name in ("points", "events", "questions", "votes", "assignments")
    }
