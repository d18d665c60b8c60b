"""A backup made and put back, in both databases and from one to the other; what is refused leaves everything as it was."""

import fcntl
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner
from sqlalchemy import select, text

from appliance import settings
from appliance.cli.backup import backup as backup_command
from appliance.cli.restore import restore as restore_command
from appliance.errors import ApplianceError
from appliance.store import (
    audit,
    backup,
    backup_tables,
    datasets,
    logins,
    migration,
    restore,
    runs,
    users,
    vote_batches,
    vote_records,
    votes,
)
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.store.schema import Invitation, Login, Run

PASSWORD = "correct horse battery"
AT = 1_700_000_000.0
STAMP = "20231114-221320"


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch):
    """Hashes that cost little: what is tested here is not their strength."""
    monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def settings_of(data, url=""):
    return settings.read({"APPLIANCE_DATA": str(data), "APPLIANCE_DATABASE": url})


def opened(chosen):
    return Store(chosen.database, chosen.data)


def fill(chosen, config_yaml):
    """A data folder with a run, an upload, two users, votes and secrets; returns the run."""
    chosen.data.mkdir(exist_ok=True)
    store = opened(chosen)
    store.migrate()
    admin = users.add(store, "admin", PASSWORD, "admin")
    rater = users.add(store, "rater", PASSWORD, "rater")
    logins.sign_in(store, "admin", PASSWORD)
    users.invite(store, "trainer")
    source = chosen.data.parent / "mine.csv"
    source.write_text("prompt\nhello\n")
    held = datasets.add(store, name="mine.csv", kind="prompts", source=source, rows=1, owner_id=admin.id, move=False)
    text_of = config_yaml.replace("prompts.txt", str(store.data / held.file))
    gone = runs.enqueue(store, config_yaml=text_of, name="gone", stage="ppo", owner_id=None, key=None)
    run = runs.enqueue(
        store, config_yaml=text_of, name="one", stage="ppo", owner_id=admin.id, key="k", dataset_id=held.id
    )
    last = runs.enqueue(store, config_yaml=text_of, name="last", stage="ppo", owner_id=None, key=None)
    with store.session() as session:
        for number in (gone.id, last.id):
            session.delete(session.get(Run, number))
        session.get(Run, run.id).state = "done"
    folder = Path(run.folder)
    step = folder / "checkpoints" / "step-000002"
    step.mkdir(parents=True)
    (step / "weights.safetensors").write_bytes(b"w" * 100)
    (step / "manifest.json").write_text('{"weights.safetensors": "x"}')
    (folder / "config.yaml").write_text(text_of)
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    (folder / ".lock").touch()
    batch = vote_batches.create_batch(
        store, name="b", mode="pair", items=[("p", ("old", "new"), ("before", "after"))], run_id=run.id
    )
    shown = votes.next_item(store, batch, rater.id)
    votes.cast(store, shown.assignment_id, rater.id, key="v", choice="a", seconds=2.0)
    audit.record(store, None, "start", "one", {"why": "test"})
    for name in ("secret.key", "workers/cpu.lock", "incoming/x", "backups/old.tar", "models/gpt2/config.json"):
        file = chosen.data / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("{}")
    store.close()
    return run


def seen(chosen):
    """What people have in the store, without secrets and what a restore adds."""
    store = opened(chosen)
    try:
        return {
            "users": [(user.name, user.role) for user in users.everyone(store)],
            "signs in": bool(logins.sign_in(store, "rater", PASSWORD)),
            "votes": [(v.user_name, v.choice, v.responses, v.order) for v in vote_records.records(store)],
            "runs": [(run.id, run.name, run.state, run.key) for run in runs.list_runs(store)],
            "audit": [(e.action, e.subject, e.detail) for e in audit.entries(store) if e.action != "backup restored"],
            "datasets": [(d.name, (store.data / d.file).read_text()) for d in datasets.list_datasets(store)],
        }
    finally:
        store.close()


@pytest.fixture
def chosen(url, tmp_path):
    """Settings of an empty data folder, with the store in each kind of database."""
    return settings_of(tmp_path / "data", url)


def tree(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_backup_puts_back_runs_users_and_votes(chosen, tmp_path, config_yaml):
    run = fill(chosen, config_yaml)
    before = seen(chosen)
    (Path(run.folder) / "config.yaml").chmod(0o640)
    made = backup.make(chosen, tmp_path / "b.tar")
    assert made.left_out == []
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    store = opened(chosen)
    users.add(store, "later", PASSWORD, "rater")
    (Path(run.folder) / "metrics.jsonl").write_text("lost")
    store.close()
    done = restore.restore(tmp_path / "b.tar", chosen, clock=lambda: AT)
    assert seen(chosen) == before
    folder = chosen.data / "one"
    assert (folder / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'  # the half line stays behind
    assert (folder / "checkpoints" / "step-000002" / "weights.safetensors").read_bytes() == b"w" * 100
    assert (folder / "config.yaml").stat().st_mode & 0o777 == 0o640
    assert chosen.data.stat().st_mode == done.aside.stat().st_mode
    assert done.aside == tmp_path / f"data.before-restore-{STAMP}"
    assert (done.aside / "one" / "metrics.jsonl").read_text() == "lost"
    store = opened(chosen)
    with store.reading() as session:
        assert session.scalar(select(Invitation)) is None
        assert len(list(session.scalars(select(Login)))) == 1  # the one of `seen`
    assert audit.entries(store, action="backup restored")
    fresh = runs.enqueue(store, config_yaml=config_yaml, name="new", stage="ppo", owner_id=None, key=None)
    assert fresh.id == 4  # 1 and 3 were deleted: no number is given twice
    store.close()
    assert not [file for file in tmp_path.iterdir() if "restoring" in file.name]


def test_a_backup_of_one_database_restores_into_the_other(url, tmp_path, config_yaml):
    first, second = settings_of(tmp_path / "one" / "data"), settings_of(tmp_path / "two" / "data", url)
    (tmp_path / "one").mkdir()
    fill(first, config_yaml)
    backup.make(first, tmp_path / "b.tar.gz")
    restore.restore(tmp_path / "b.tar.gz", second)
    assert seen(second) == seen(first)
    store = opened(second)
    run = runs.get(store, 2)
    store.close()
    assert run.folder == str(second.data / "one")
    new, old = str(tmp_path / "two"), str(tmp_path / "one")
    for words in (run.config, (second.data / "one" / "config.yaml").read_text()):
        assert new in words
        assert old not in words
    back = settings_of(tmp_path / "three" / "data")
    backup.make(second, tmp_path / "c.tar")
    restore.restore(tmp_path / "c.tar", back)
    assert seen(back) == seen(first)


def test_secrets_locks_and_other_backups_stay_out(tmp_path, config_yaml):
    chosen = settings_of(tmp_path / "data")
    fill(chosen, config_yaml)
    backup.make(chosen, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        names = tar.getnames()
        content = b"".join(tar.extractfile(name).read() for name in names)
    assert names[0] == "backup.json"
    assert names[-1] == "manifest.json"
    for word in ("secret.key", "workers", "incoming", "backups", ".lock", "logins", "invitations", "appliance.db"):
        assert not [name for name in names if word in name]
    store = opened(chosen)
    with store.reading() as session:
        for token in session.scalars(select(Login.token_hash)):
            assert token.encode() not in content
    store.close()
    backup.make(chosen, tmp_path / "small.tar", without=("checkpoints", "models"))
    with tarfile.open(tmp_path / "small.tar") as tar:
        assert not [name for name in tar.getnames() if "checkpoints" in name or "data/models" in name]
    restore.restore(tmp_path / "small.tar", chosen)
    for kept in ("models/gpt2/config.json", "backups/old.tar", "secret.key"):
        assert (chosen.data / kept).exists()  # not in the backup: what is there is not thrown away


def test_an_existing_file_and_an_odd_name_are_refused(tmp_path, config_yaml):
    chosen = settings_of(tmp_path / "data")
    fill(chosen, config_yaml)
    target = tmp_path / "b.tar"
    target.write_text("mine")
    with pytest.raises(ApplianceError, match="is there already"):
        backup.make(chosen, target)
    assert target.read_text() == "mine"
    backup.make(chosen, target, force=True)
    with pytest.raises(ApplianceError, match="not called like a backup"):
        backup.make(chosen, tmp_path / "b.zip")
    with pytest.raises(ApplianceError, match="no data folder"):
        backup.make(settings_of(tmp_path / "none"), tmp_path / "c.tar")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["b.tar", "data", "mine.csv"]


def test_what_a_killed_backup_left_is_removed_and_one_at_work_stays(tmp_path, config_yaml):
    chosen = settings_of(tmp_path / "data")
    fill(chosen, config_yaml)
    target = tmp_path / "out" / "a.tar"
    killed, working, fresh = (target.parent / f".backup-{name}" for name in ("killed", "working", "fresh"))
    for folder in (killed, working, fresh):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x" * 10)
        if folder != fresh:
            os.utime(folder, (0, 0))
    with (working / "part").open("rb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        backup.make(chosen, target)
        assert [folder.exists() for folder in (killed, working, fresh)] == [False, True, True]
        assert backup.unfinished_bytes(target.parent) == 20


def test_the_part_is_locked_until_the_backup_is_in_its_place(tmp_path, config_yaml, monkeypatch):
    chosen = settings_of(tmp_path / "data")
    fill(chosen, config_yaml)
    put, seen = backup._put, []

    def watched(part, target):
        os.utime(part.parent, (0, 0))
        backup._clear(target.parent)
        seen.append(part.exists())
        put(part, target)

    monkeypatch.setattr(backup, "_put", watched)
    assert backup.make(chosen, tmp_path / "a.tar").file.is_file()
    assert seen == [True]
    assert not list(tmp_path.glob(".backup-*"))


def test_a_checkpoint_that_is_being_removed_or_written_is_left_out(tmp_path, config_yaml):
    chosen = settings_of(tmp_path / "data")
    run = fill(chosen, config_yaml)
    checkpoints = Path(run.folder) / "checkpoints"
    (checkpoints / ".step-000003.tmp").mkdir()
    (checkpoints / ".step-000003.tmp" / "weights.safetensors").write_bytes(b"half")
    (checkpoints / "step-000001").mkdir()
    (checkpoints / "step-000001" / "manifest.json").write_text('{"weights.safetensors": "gone already"}')
    (checkpoints / ".step-000004.old").mkdir()  # killed between the two renames of a replacement
    (checkpoints / ".step-000004.old" / "manifest.json").write_text("{}")
    backup.make(chosen, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        kept = {name.split("/")[3] for name in tar.getnames() if "checkpoints" in name}
    assert kept == {"step-000002", "step-000004"}


def test_a_backup_while_others_write_is_whole(tmp_path, config_yaml):
    chosen = settings_of(tmp_path / "data")
    run = fill(chosen, config_yaml)
    store, stop, rounds = opened(chosen), threading.Event(), []
    folder = RunDir(Path(run.folder))

    def write():
        while not stop.is_set():
            step = len(rounds)
            folder.append("metrics.jsonl", {"step": step, "text": "x" * 500})
            audit.record(store, None, "write", str(step))
            rounds.append(step)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        while len(rounds) < 5:
            pass
        for number in range(3):
            backup.make(chosen, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writing.join()
        store.close()
    restore.restore(tmp_path / "2.tar", chosen)
    lines = (chosen.data / "one" / "metrics.jsonl").read_bytes()
    assert lines.endswith(b"\n")
    assert all(json.loads(line) for line in lines.splitlines())


def test_rows_that_do_not_fit_leave_the_store_as_it_was(chosen, tmp_path, config_yaml, monkeypatch):
    fill(chosen, config_yaml)
    before = seen(chosen)
    backup.make(chosen, tmp_path / "b.tar")
    monkeypatch.setattr(restore, "_broken", lambda *_: AssertionError("not reached"))

    def unknown_user(connection, *given):
        connection.execute(text("UPDATE votes SET assignment_id = 999"))

    monkeypatch.setattr(backup_tables, "rebase", unknown_user)
    with pytest.raises(ApplianceError, match="database cannot be used"):
        restore.restore(tmp_path / "b.tar", chosen)
    assert seen(chosen) == before
    assert not [file.name for file in tmp_path.iterdir() if "restor" in file.name]


def test_a_failure_while_folders_are_exchanged_puts_everything_back(chosen, tmp_path, config_yaml, monkeypatch):
    fill(chosen, config_yaml)
    before = seen(chosen)
    backup.make(chosen, tmp_path / "b.tar")
    store = opened(chosen)
    users.add(store, "later", PASSWORD, "rater")
    store.close()
    rename = Path.rename

    def fails(path, target):
        if "restoring" in str(path):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    for stay in (False, True):  # the folder renamed; what is in it renamed, as in a volume
        monkeypatch.setattr(restore, "must_stay", lambda data, stay=stay: stay)
        monkeypatch.setattr(Path, "rename", fails)
        with pytest.raises(OSError, match="Input/output error"):
            restore.restore(tmp_path / "b.tar", chosen)
        monkeypatch.setattr(Path, "rename", rename)
        assert ("later", "rater") in seen(chosen)["users"]
        assert (chosen.data / "one" / "config.yaml").is_file()
    done = restore.restore(tmp_path / "b.tar", chosen, clock=lambda: AT)  # must_stay is still True
    assert seen(chosen) == before
    assert done.aside == chosen.data / f".before-restore-{STAMP}"
    assert (done.aside / "one" / "config.yaml").is_file()


HOLD = """
import sys, time
from appliance import settings
from appliance.store.db import open_store
store = open_store(settings.read())
with store.reading() as session:
    session.connection()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_page_that_has_the_store_open_is_noticed(chosen, tmp_path, config_yaml):
    fill(chosen, config_yaml)
    backup.make(chosen, tmp_path / "b.tar")
    environ = {**os.environ, "APPLIANCE_DATA": str(chosen.data), "APPLIANCE_DATABASE": chosen.database}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD], env=environ, **pipes) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ApplianceError, match=r"in use by (another process|other processes)"):
            restore.restore(tmp_path / "b.tar", chosen)
        other.stdin.close()
        assert other.wait(30) == 0
    restore.restore(tmp_path / "b.tar", chosen)


def test_a_worker_a_training_and_a_fresh_heartbeat_are_noticed(tmp_path, config_yaml):
    from appliance.store import workers
    from appliance.worker import device

    chosen = settings_of(tmp_path / "data")
    run = fill(chosen, config_yaml)
    (chosen.data / "workers" / "cpu.lock").write_text("")
    backup.make(chosen, tmp_path / "b.tar")
    with device.owned(chosen.data, "cpu"), pytest.raises(ApplianceError, match=r"a worker \(cpu\)"):
        restore.restore(tmp_path / "b.tar", chosen)
    folder = RunDir(Path(run.folder))
    folder.set_status("running", step=1, steps=2)
    with folder.locked(), pytest.raises(ApplianceError, match="the training in one"):
        restore.restore(tmp_path / "b.tar", chosen)
    store = opened(chosen)
    workers.beat(store, "w", host="elsewhere", pid=1, device="cpu")
    store.close()
    with pytest.raises(ApplianceError, match="heard of in the last half minute"):
        restore.restore(tmp_path / "b.tar", chosen)


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Steps of the store with one more after today's: what an appliance of the future has."""
    folder = tmp_path / "steps"
    (folder / "versions").mkdir(parents=True)
    for file in (migration.FOLDER / "versions").glob("v*.py"):
        (folder / "versions" / file.name).write_text(file.read_text())
    (folder / "env.py").write_text((migration.FOLDER / "env.py").read_text())
    newest = max(file.stem[1:] for file in (folder / "versions").glob("v*.py"))
    step = f"from alembic import op\nimport sqlalchemy as sa\nrevision = '0999'\ndown_revision = '{newest}'\n"
    step += "def upgrade():\n    op.add_column('users', sa.Column('language', sa.String(8), server_default='en'))\n"
    (folder / "versions" / "v0999.py").write_text(step)
    return lambda: monkeypatch.setattr(migration, "FOLDER", folder)


def test_a_backup_of_an_older_schema_is_brought_to_the_present_one(chosen, tmp_path, config_yaml, next_version):
    fill(chosen, config_yaml)
    before = seen(chosen)
    backup.make(chosen, tmp_path / "b.tar")
    next_version()
    restore.restore(tmp_path / "b.tar", chosen)
    store = opened(chosen)
    with store.engine.connect() as connection:
        assert migration.version_of(connection) == "0999"
        assert connection.execute(text("SELECT DISTINCT language FROM users")).all() == [("en",)]
    store.close()
    assert seen(chosen) == before


def test_restoring_into_an_empty_place_needs_nothing_there(tmp_path, config_yaml):
    fill(settings_of(tmp_path / "data"), config_yaml)
    backup.make(settings_of(tmp_path / "data"), tmp_path / "b.tar")
    done = restore.restore(tmp_path / "b.tar", settings_of(tmp_path / "new" / "data"))
    assert done.aside is None
    assert seen(settings_of(tmp_path / "new" / "data")) == seen(settings_of(tmp_path / "data"))


def test_the_commands_say_what_they_did(tmp_path, config_yaml, monkeypatch):
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("APPLIANCE_DATABASE", raising=False)
    fill(settings_of(tmp_path / "data"), config_yaml)
    file = str(tmp_path / "b.tar")
    said = CliRunner().invoke(backup_command, [file, "--without", "checkpoints"], catch_exceptions=False)
    assert "rows of the store" in said.output
    said = CliRunner().invoke(restore_command, [file, "--check"], catch_exceptions=False)
    assert "is whole" in said.output
    said = CliRunner().invoke(restore_command, [file], catch_exceptions=False)
    assert "the data from before" in said.output
    assert "everybody signs in again" in said.output
