"""The way to the present schema, in both databases."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from appliance import settings
from appliance.errors import ApplianceError
from appliance.store import migration
from appliance.store.db import Store, open_store
from appliance.store.schema import Base, User


def test_the_migrated_schema_is_the_one_in_schema_py(store):
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        checks = {
            (table, check["name"]): set(check["sqltext"].replace('"', "").split("'")[1::2])
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    wanted = {
        (table.name, str(constraint.name)): set(str(constraint.sqltext).split("'")[1::2])
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks == wanted  # Alembic does not compare these


def test_the_tables_that_give_no_number_twice_are_those_of_schema_py(tmp_path, open_at):
    store = open_at(f"sqlite:///{tmp_path / 'appliance.db'}", tmp_path / "data")
    store.migrate()
    with store.engine.connect() as connection:
        made = dict(connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all())
    wanted = {name for name, table in Base.metadata.tables.items() if table.dialect_options["sqlite"]["autoincrement"]}
    assert wanted == {"runs"}
    assert {name for name, sql in made.items() if "AUTOINCREMENT" in sql} == wanted  # Alembic does not compare these


def test_migrating_again_changes_nothing_and_copies_nothing(store):
    with store.session() as session:
        session.add(User(name="anna", password_hash="x", role="admin", created=1.0))
    store.migrate()
    with store.reading() as session:
        assert session.query(User).one().name == "anna"
    assert not list(store.data.parent.glob("*.bak"))


def test_a_newer_schema_is_refused_by_name(store):
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(ApplianceError, match=r"schema version 0999; this appliance knows versions up to 0001"):
        store.migrate()


def test_tables_of_somebody_else_are_left_alone(url, tmp_path, open_at):
    store = open_at(url, tmp_path / "data")
    with store.engine.begin() as connection:
        connection.execute(text("CREATE TABLE runs (x INTEGER)"))
    with pytest.raises(ApplianceError, match="tables that the appliance did not make: runs"):
        store.migrate()


def test_processes_that_start_at_once_migrate_once(url, tmp_path, open_at):
    data, errors = tmp_path / "data", []
    stores = [open_at(url, data) for _ in range(4)]

    def migrate(store: Store) -> None:
        try:
            store.migrate()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with stores[0].engine.connect() as connection:
        assert migration.version_of(connection) == "0001"


OLDER = "0000"


@pytest.fixture
def older_version(monkeypatch):
    """The store's steps, and one before them that makes a table of its own."""

    def make(folder):
        versions = folder / "versions"
        versions.mkdir(parents=True)
        first = "from alembic import op\nimport sqlalchemy as sa\nrevision = '0000'\ndown_revision = None\n"
        first += "def upgrade():\n    op.create_table('old', sa.Column('x', sa.Integer))\n"
        (versions / "v0000.py").write_text(first)
        second = first.replace("'0000'", "'0001'").replace("None", "'0000'").replace("'old'", "'new'")
        (versions / "v0001.py").write_text(second)
        (folder / "env.py").write_text((migration.FOLDER / "env.py").read_text())
        monkeypatch.setattr(migration, "FOLDER", folder)

    return make


def at_version(store, version):
    with store.engine.connect() as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        migration.command.upgrade(config, version)
        connection.commit()


def test_a_sqlite_file_is_copied_before_it_is_changed(tmp_path, open_at, older_version):
    older_version(tmp_path / "steps")
    store = open_at(f"sqlite:///{tmp_path / 'appliance.db'}", tmp_path / "data")
    at_version(store, "0000")
    store.migrate()
    # the clock stands at 1,000,000 s: 1970-01-12 13:46:40 UTC
    copy = tmp_path / "appliance.db.0000-19700112-134640.bak"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(copy) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    opened.close()
    assert tables == {"old", "alembic_version"}
    assert set(inspect(store.engine).get_table_names()) == {"old", "new", "alembic_version"}
    assert stat.S_IMODE((tmp_path / "appliance.db").stat().st_mode) == 0o600


def test_an_upgrade_is_told_in_one_line_and_nothing_else_is(url, tmp_path, open_at, older_version, caplog):
    caplog.set_level("INFO")
    open_at(url, tmp_path / "data").migrate()  # a new store is no upgrade
    assert caplog.messages == []
    older_version(tmp_path / "steps")
    store = open_at(url, tmp_path / "data")
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    caplog.clear()
    store.migrate()
    store.migrate()
    (said,) = caplog.messages
    assert said.startswith("the store was upgraded from schema version 0000 to 0001")
    assert ("it is kept as" in said) == store.is_sqlite


def test_a_step_that_fails_leaves_the_older_schema_whole(url, tmp_path, open_at, older_version):
    older_version(tmp_path / "steps")
    store = open_at(url, tmp_path / "data")
    at_version(store, "0000")
    step = tmp_path / "steps" / "versions" / "v0001.py"
    step.write_text(step.read_text() + "    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        store.migrate()
    assert set(inspect(store.engine).get_table_names()) == {"old", "alembic_version"}
    with store.engine.connect() as connection:
        assert migration.version_of(connection) == "0000"


def test_a_copy_that_does_not_fit_stops_the_upgrade(tmp_path, open_at, older_version):
    older_version(tmp_path / "steps")
    store = open_at(f"sqlite:///{tmp_path / 'appliance.db'}", tmp_path / "data")
    at_version(store, "0000")
    target = migration.backup_path(store.file, "0000", store.clock())
    target.mkdir()
    with pytest.raises(ApplianceError, match="was not upgraded"):
        store.migrate()
    assert set(inspect(store.engine).get_table_names()) == {"old", "alembic_version"}


def test_the_first_start_makes_the_data_folder(tmp_path):
    store = open_store(settings.read({"APPLIANCE_DATA": str(tmp_path / "new" / "data")}))
    assert (tmp_path / "new" / "data" / "appliance.db").exists()
    store.close()


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("mysql://somewhere/x", "it names mysql"),
        ("not a url", "it is not a URL"),
        ("postgresql://u:geheim@127.0.0.1:9/x", r"postgresql\+psycopg://u:\*\*\*@127.0.0.1:9/x cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(database, words, tmp_path):
    with pytest.raises(ApplianceError, match=words) as caught:
        open_store(settings.read({"APPLIANCE_DATA": str(tmp_path), "APPLIANCE_DATABASE": database}))
    assert "geheim" not in str(caught.value)


def test_reading_and_writing_do_not_import_alembic():
    code = "import sys, appliance.store.runs; print('alembic' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["False", "False"]
