"""The commands: one worker per device, `appliance up`, and what each says."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.store import runs, workers
from appliance.worker import device, logs, outcome
from appliance.worker.job import Ended, newest_checkpoint
from appliance.worker.keeping import Part, end_all, look_after


def test_a_device_has_one_worker_with_the_same_number_at_each_start(tmp_path):
    with device.owned(tmp_path, "cpu") as first:
        with (
            pytest.raises(
                ApplianceError, match=rf"held by another worker: process {os.getpid()} on {socket.gethostname()}"
            ),
            device.owned(tmp_path, "cpu"),
        ):
            pass
        with device.owned(tmp_path, "cuda:1") as other:
            assert other.worker_id != first.worker_id
            assert first.environ({}) == {"CUDA_VISIBLE_DEVICES": ""}
    with device.owned(tmp_path, "cpu") as again:
        assert again.worker_id == first.worker_id


@pytest.mark.parametrize(
    ("visible", "name", "expected"), [(None, "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("GPU-a", "cuda:0", "GPU-a")]
)
def test_a_child_sees_its_own_gpu_alone(visible, name, expected):
    inherited = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert device.Owned(name, "w").environ(inherited) == {"CUDA_VISIBLE_DEVICES": expected}


def test_a_run_that_asks_for_a_gpu_is_not_taken_by_the_cpu(pretend):
    run = pretend("quick")
    run.config += "device: cuda\n"
    assert not device.Owned("cpu", "w").takes(run)
    assert device.Owned("cuda:0", "w").takes(run)
    run.config = run.config.replace("device: cuda", "device: cpu")
    assert device.Owned("cuda:0", "w").takes(run)


def test_a_device_that_does_not_exist_by_name_is_refused():
    with pytest.raises(ApplianceError, match="--device is 'gpu'"):
        device.choose("gpu")
    assert device.choose("cuda") == "cuda:0"


def test_the_worker_command_ends_when_nothing_waits_and_refuses_a_second(store, worker_process, until):
    first = worker_process()
    until(lambda: workers.heard_of(store))
    second = worker_process()
    assert second.wait(timeout=60) == 1
    assert "is held by another worker: process" in (store.data / "worker.log").read_text()
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 0
    assert workers.heard_of(store) == []
    assert worker_process("--once").wait(timeout=60) == 0


def test_a_worker_that_is_terminated_lets_the_run_write_a_checkpoint(store, worker_process, queue_tiny, until):
    run = queue_tiny()
    worker = worker_process()
    until(lambda: runs.get(store, run.id).step >= 1)
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    found = runs.get(store, run.id)
    assert found.state == "queued", found.message
    assert newest_checkpoint(store.data / "tiny") in found.message


LIVES = [sys.executable, "-c", "import time; time.sleep(600)"]
DIES = [sys.executable, "-c", "raise SystemExit(3)"]


def test_a_part_that_dies_is_started_again_after_a_while_and_given_up_in_the_end(capfd):
    part, now, waited = Part("page", DIES), 0.0, []
    for _ in range(4):
        look_after(part, now)
        part.child.wait()
        look_after(part, now)
        assert part.child is None  # not before its time
        waited.append(part.next_start - now)
        now = part.next_start
    assert waited == [1.0, 2.0, 4.0, 8.0]
    assert "page ended with code 3; starting it again in 8 s" in capfd.readouterr().err
    look_after(part, now)
    part.child.wait()
    with pytest.raises(ApplianceError, match="page ended 5 times in a row, the last time with code 3"):
        look_after(part, now)


def test_a_part_that_lived_long_is_started_again_at_once():
    part = Part("worker", LIVES)
    look_after(part, 0.0)
    first = part.child
    first.kill()
    first.wait()
    look_after(part, 31.0)
    assert part.child is not None
    assert part.child.pid != first.pid
    end_all([part], 20.0)
    assert part.child.returncode == -signal.SIGTERM


def test_all_parts_end_with_the_keeper():
    script = (
        "import sys; from appliance.worker.keeping import Part, keep_up\n"
        f"keep_up([Part('a', {LIVES!r}), Part('b', {LIVES!r})])\n"
    )
    keeper = subprocess.Popen([sys.executable, "-c", script])
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
    deadline = time.monotonic() + 60
    while len(found := children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(timeout=60) == 0
    assert not [pid for pid in found if Path(f"/proc/{pid}").exists()]


def known(**more):
    return outcome.Known(pid=7, **more)


@pytest.mark.parametrize(
    ("code", "more", "state", "cause"),
    [
        (-9, {}, "interrupted", "crash"),
        (-9, {"oom_killed": True}, "interrupted", "memory"),
        (-15, {"stop_asked": True}, "stopped", None),
        (-11, {}, "failed", "crash"),
        (None, {}, "interrupted", "crash"),
        (130, {}, "stopped", None),
        (1, {}, "failed", "crash"),
        (0, {}, "failed", "crash"),  # it says that all is well, and left no sign of it
    ],
)
def test_what_an_exit_code_means_where_the_folder_says_nothing(code, more, state, cause, tmp_path):
    found = outcome.outcome(tmp_path / "run", tmp_path / "log", Ended(code), known(**more))
    assert (found.state, found.cause) == (state, cause)
    assert found.message


def test_the_last_words_are_those_of_the_newest_attempt():
    old = "--- attempt at x ---\nerror: old\n  fix: old\n--- attempt at y ---\n"
    assert logs.last_words(old) == logs.LastWords()
    assert logs.last_words(old + "error: new\nsecond line\n  fix: do it\n") == logs.LastWords(
        "new\nsecond line", "do it"
    )
    trace = old + "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n"
    assert logs.last_words(trace) == logs.LastWords("KeyError: 'a'", None, "KeyError")
    trace = old + "Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: CUDA out of memory\n"
    assert logs.last_words(trace).error == "OutOfMemoryError"


def test_a_long_log_is_cut_in_place_while_its_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    monkeypatch.setattr(logs, "KEPT_BYTES", 100)
    file = tmp_path / "1.log"
    with file.open("ab") as writer:
        writer.write(b"".join(b"line %d\n" % number for number in range(200)))
        writer.flush()
        assert logs.shorten(file) is True
        assert logs.shorten(file) is False
        writer.write(b"after\n")
    kept = file.read_text().splitlines()
    assert kept[0].startswith("[the log was longer; ")
    assert kept[1:] == [f"line {number}" for number in range(189, 200)] + ["after"]
    assert logs.tail(file, 20) == "line 199\nafter\n"
    file.write_bytes(b"  1%\r 50%\r100%\nend\n")
    assert logs.tail(file) == "100%\nend\n"


def test_the_newest_checkpoint_is_the_one_of_the_most_steps(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    for name in ("step-000009", "step-000010", "step-000010+2", ".step-000011.tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_checkpoint(tmp_path) == "step-000010+2"
