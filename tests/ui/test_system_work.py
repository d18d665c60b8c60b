"""Long work of the System tab: begun once, told from files to everybody, and after a restart of the server too."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from appliance.ui import machine, system_work

ANNA = SimpleNamespace(id=1, name="an_na")
SLOW = [sys.executable, "-c", "import time; time.sleep(60)"]


def python(code):
    return [sys.executable, "-c", code]


def ended(store, kind):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        work = system_work.last(store, kind)
        if work.state == "ended":
            return work
        time.sleep(0.02)
    raise AssertionError("it did not end")


@pytest.fixture
def said(monkeypatch):
    """What was shown as a toast."""
    shown = []
    monkeypatch.setattr(machine.gr, "Info", shown.append)
    return shown


@pytest.fixture
def stop(store):
    """Ends what a test began."""
    yield
    for kind in ("preflight", "backup"):
        file = system_work.folder_of(store, kind) / "process.json"
        while (work := system_work.last(store, kind)) is not None and work.state == "at work":
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
            time.sleep(0.02)


def cut_off(store, kind, makes=""):
    """The files as a server leaves them that was killed together with its programs."""
    folder = system_work.folder_of(store, kind)
    folder.mkdir(parents=True)
    about = {"wanted": "w", "by": "an_na", "at": store.clock(), "makes": makes}
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "wanted").write_text("w")
    (folder / "process.json").write_text(json.dumps({"pid": 2**22 + 1, "created": 1.0}))


def test_a_second_click_finds_the_backup_that_is_under_way(store, said, stop, monkeypatch):
    monkeypatch.setattr(machine, "program", lambda *_: SLOW)
    assert machine.last_backup(store) == ""
    name = machine.begin_backup(store, ANNA)
    assert machine.begin_backup(store, SimpleNamespace(id=2, name="bert")) is None
    assert said == [f"A backup is being made already, begun at {system_work.last(store, 'backup').begun}."]
    assert system_work.last(store, "backup").makes == name
    told = machine.last_backup(store)
    assert told.startswith("**A backup is being made**, begun at ")
    assert told.endswith("by an\\_na: 0 bytes so far. This page can be closed.")


def test_kinds_of_work_do_not_wait_for_each_other(store, said, stop, monkeypatch):
    monkeypatch.setattr(machine, "program", lambda *_: SLOW)
    machine.begin_backup(store, ANNA)
    monkeypatch.setattr(machine.diagnostics, "PREFLIGHT", python("print('{\"checks\": []}')"))
    assert machine.begin_preflight(store, ANNA)
    ended(store, "preflight")
    assert "**ready**, 0 failures, 0 warnings" in machine.checked(store)[0]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit('boom *x*')", "it ended with 1: boom \\*x\\*"),
        ("print('[1]')", "it ended with 0"),
        ("import time; time.sleep(60)", "it took longer than 0 s"),
    ],
)
def test_a_preflight_without_a_result_says_why_and_what_to_do(store, said, monkeypatch, code, told):
    monkeypatch.setattr(machine.diagnostics, "PREFLIGHT", python(code))
    monkeypatch.setattr(machine.diagnostics, "PREFLIGHT_S", 0.3 if "sleep" in code else 60.0)
    machine.begin_preflight(store, ANNA)
    ended(store, "preflight")
    text, table = machine.checked(store)
    assert f"gave no result: {told}. Start it again" in text
    assert not table.visible


def test_a_backup_that_failed_says_what_happened_and_the_fix(store, said, monkeypatch):
    code = (
        "import sys; print('left\\nerror: the disk is full: a_b\\n  fix: free some room', file=sys.stderr); sys.exit(1)"
    )
    monkeypatch.setattr(machine, "program", lambda *_: python(code))
    machine.begin_backup(store, ANNA)
    ended(store, "backup")
    assert machine.last_backup(store).endswith("failed.** The disk is full: a\\_b. *Free some room.*")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "Its program ended with -9. Start it again"),
        ("raise ValueError('x')", "ValueError: x. Start it again"),
    ],
)
def test_a_backup_that_died_says_its_last_words(store, said, monkeypatch, code, told):
    monkeypatch.setattr(machine, "program", lambda *_: python(code))
    machine.begin_backup(store, ANNA)
    ended(store, "backup")
    assert told in machine.last_backup(store)


def test_a_backup_that_is_whole_says_what_it_holds_and_what_it_lacks(store, said, monkeypatch):
    code = f"import sys; print('{store.data}/x.tar: 7 files, 3 rows'); print('left out: a_b: a link', file=sys.stderr)"
    monkeypatch.setattr(machine, "program", lambda *_: python(code))
    machine.begin_backup(store, ANNA)
    ended(store, "backup")
    first, second = machine.last_backup(store).splitlines()
    assert first.endswith("by an\\_na is whole: 7 files, 3 rows.")
    assert second == "- left out: a\\_b: a link"


def test_what_a_restart_of_the_server_cut_off_is_said_and_may_be_begun_again(store, said, monkeypatch):
    cut_off(store, "backup", "backup-1.tar")
    cut_off(store, "preflight")
    assert machine.last_backup(store).endswith("was cut off: the server was restarted. Start it again.")
    assert machine.checked(store)[0].endswith("was cut off: the server was restarted. Start it again.")
    monkeypatch.setattr(machine, "program", lambda *_: python("pass"))
    assert machine.begin_backup(store, ANNA)
    ended(store, "backup")
    assert "cut off" not in machine.last_backup(store)


def test_a_backup_that_outlived_its_server_and_became_whole_is_not_called_cut_off(store):
    cut_off(store, "backup", "backup-1.tar")
    (store.data / machine.BACKUPS).mkdir()
    (store.data / machine.BACKUPS / "backup-1.tar").touch()
    assert machine.last_backup(store).endswith("is whole.")


def test_an_older_verdict_stays_while_the_machine_is_looked_at(store, said, stop, monkeypatch):
    report = {"at": 0.0, "report": {"checks": []}}
    (store.data / machine.PREFLIGHT).write_text(json.dumps(report))
    monkeypatch.setattr(machine.diagnostics, "PREFLIGHT", SLOW)
    machine.begin_preflight(store, ANNA)
    text, _ = machine.checked(store)
    assert text.startswith("**The machine is being looked at**, begun at ")
    assert "Preflight at 1970-01-01" in text
    assert not machine.begin_preflight(store, ANNA)
    assert len(said) == 1
