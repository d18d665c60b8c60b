"""A stage in its run folder: locked, its state written down however it ends, signals heard and given back."""

import os
import signal
import threading
from pathlib import Path

import pytest

from appliance.config import SftConfig
from appliance.errors import ApplianceError, StoppedByUser
from appliance.stages.session import free_folder, open_run, session
from appliance.store.rundir import RunDir

CONFIG = SftConfig.model_validate({"name": "mine", "policy": {"model": "m"}, "data": {"source": "d.txt"}})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A new run folder."""
    return open_run(CONFIG, tmp_path / "run", resume=False)


def test_a_stage_that_ends_is_done_and_was_running_before(run):
    with session(run):
        assert run.status()["state"] == "running"
        run.set_status("running", step=3, steps=9)
    status = run.status()
    assert (status["state"], status["step"], status["steps"]) == ("done", 3, 9)
    assert "message" not in status


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (StoppedByUser("checkpoints/step-3"), "stopped", "stopped by the user; checkpoint: checkpoints/step-3"),
        (KeyboardInterrupt(), "stopped", "stopped by the user at once, without a new checkpoint"),
        (ApplianceError("no room", "make some"), "failed", "no room\n  fix: make some"),
        (ValueError("a bug"), "failed", "ValueError: a bug"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_way_to_end_is_written_down_and_goes_on_up(error, state, message, run):
    with pytest.raises(type(error)), session(run):
        raise error
    assert (run.status()["state"], run.status()["message"]) == (state, message)


def test_a_disk_without_room_for_the_status_does_not_hide_what_went_wrong(run, monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise ApplianceError("the disk is full", "free some room")

    def fail() -> None:
        with session(run):
            monkeypatch.setattr(RunDir, "set_status", no_room)
            raise ApplianceError("no weights", "give some")

    with pytest.raises(ApplianceError, match="no weights"):
        fail()


def test_two_stages_do_not_train_in_one_folder(run):
    with session(run):
        with pytest.raises(ApplianceError, match="another process trains in"), session(run):
            pass
        assert run.status()["state"] == "running"  # the one that was refused has not touched it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_the_stage_to_stop_and_handlers_come_back(number, run, capsys):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with session(run) as stop:
        assert stop() is False
        os.kill(os.getpid(), number)
        assert stop() is True
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert f"{name}: finishing the micro-batch and writing a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_any_first_signal_ends_at_once(first, run):
    def interrupt() -> None:
        with session(run):
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_outside_the_main_thread_no_signal_is_touched(run):
    asked = []

    def work() -> None:
        with session(run) as stop:
            asked.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=10)
    assert asked == [False]
    assert run.status()["state"] == "done"


def test_a_new_run_takes_the_first_free_name(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "data"))
    made = [open_run(CONFIG, None, resume=False).path.name for _ in range(3)]
    assert made == ["mine", "mine-2", "mine-3"]
    assert free_folder(tmp_path, "data") == tmp_path / "data-2"


def test_resume_opens_what_is_there_and_begins_what_is_not(tmp_path):
    begun = open_run(CONFIG, tmp_path / "run", resume=True)
    begun.append("metrics.jsonl", {"step": 0})
    assert open_run(CONFIG, tmp_path / "run", resume=True) == begun
    with pytest.raises(ApplianceError, match="holds a run"):
        open_run(CONFIG, tmp_path / "run", resume=False)
    with pytest.raises(ApplianceError, match="belongs to another config: name was 'mine', is 'other'"):
        open_run(CONFIG.model_copy(update={"name": "other"}), tmp_path / "run", resume=True)
