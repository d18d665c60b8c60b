"""The real worker and real runs: killed in turn, a full disk. The end is the same, to the byte, as if nothing had been."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.store import metrics, runs
from appliance.store.db import Store
from appliance.worker import identity


@pytest.fixture(scope="module")
def undisturbed(tiny_yaml, tmp_path_factory):
    """The folder of a run of `tiny_yaml` that nothing disturbed, led by `appliance worker --once`."""
    data = tmp_path_factory.mktemp("undisturbed")
    store = Store(f"sqlite:///{data / 'appliance.db'}", data)
    store.migrate()
    run = runs.enqueue(store, config_yaml=tiny_yaml, name="tiny", stage="ppo", owner_id=None, key=None)
    environ = os.environ | {"APPLIANCE_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = ["appliance", "worker", "--device", "cpu", "--once"]
    done = subprocess.run([sys.executable, "-m", *command], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ended = runs.get(store, run.id)
    store.close()
    assert ended.state == "done", ended.message
    assert ended.result["verdict"]["word"]
    assert ended.result["seconds"] > 0
    assert (ended.step, ended.steps) == (12, 12)
    return Path(run.folder)


def lines(run):
    file = Path(run.folder) / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def same_bytes(folder, other):
    return [
        name
        for name in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "model/value_head.safetensors")
        if (folder / name).read_bytes() != (other / name).read_bytes()
    ]


def test_worker_and_job_killed_in_turn_and_together(store, undisturbed, worker_process, queue_tiny, until):
    run = queue_tiny()
    worker = worker_process()
    until(lambda: lines(run) >= 3)
    worker.kill()
    worker.wait()
    before = runs.get(store, run.id)
    living = identity.Identity(before.pid, before.pid_started, before.boot_id, before.token)
    assert living.alive()  # the job lives on without a worker

    os.kill(living.pid, signal.SIGSTOP)  # so that it is not at its end before the next worker is up
    worker = worker_process()
    until(lambda: any("worker was restarted" in event.what for event in metrics.events(store, run.id)))
    os.kill(living.pid, signal.SIGCONT)
    assert runs.get(store, run.id).pid == before.pid  # taken over, not started again
    until(lambda: lines(run) >= 5)
    os.kill(living.pid, signal.SIGKILL)
    until(lambda: (now := runs.get(store, run.id)).pid not in (None, before.pid) or now.state == "failed")
    until(lambda: lines(run) >= 8)

    worker.kill()
    worker.wait()
    both = runs.get(store, run.id)
    os.kill(both.pid, signal.SIGKILL)
    worker_process()
    until(lambda: runs.get(store, run.id).state in ("done", "failed"))
    ended = runs.get(store, run.id)
    assert ended.state == "done", ended.message
    assert same_bytes(Path(run.folder), undisturbed) == []
    steps = [step for step, _ in metrics.points(store, run.id, ["kl"])["kl"]]
    assert steps == list(range(1, 13))
    until(lambda: list(identity.carriers(both.token)) == [])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one and a half MiB; skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_fails_the_run_with_its_cause_and_leaves_nothing_half_written(
    store, undisturbed, small_disk, worker_process, queue_tiny, until
):
    run = queue_tiny()
    with store.session() as session:  # the runs are on another disk than the store
        session.get(type(run), run.id).folder = str(small_disk / "tiny")
    worker_process()
    until(lambda: runs.get(store, run.id).state in ("failed", "done"))
    found = runs.get(store, run.id)
    assert (found.state, found.cause) == ("failed", "disk"), found.message
    assert found.message.startswith("the disk is full: ")
    assert "free some room" in found.fix
    folder = small_disk / "tiny"
    assert [path.name for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old"))] == []

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    runs.continue_run(store, run.id)
    until(lambda: runs.get(store, run.id).state in ("failed", "done"))
    assert runs.get(store, run.id).state == "done", runs.get(store, run.id).message
    assert same_bytes(folder, undisturbed) == []


def test_a_data_folder_that_is_full_altogether_stops_nothing_for_good(
    tiny_yaml, undisturbed, small_disk, worker_process, until, store, monkeypatch
):
    data = small_disk / "data"
    data.mkdir()
    crowded = Store(f"sqlite:///{data / 'appliance.db'}", data)
    crowded.migrate()
    run = runs.enqueue(crowded, config_yaml=tiny_yaml, name="tiny", stage="ppo", owner_id=None, key=None)
    monkeypatch.setattr(store, "data", data)
    worker = worker_process()
    until(lambda: (data / "worker.log").read_text().count("cannot be used") or _ended(crowded, run))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    until(lambda: _ended(crowded, run))
    found = runs.get(crowded, run.id)
    assert (found.state, found.cause) == ("failed", "disk"), found.message
    runs.continue_run(crowded, run.id)
    until(lambda: runs.get(crowded, run.id).state in ("failed", "done"))
    assert runs.get(crowded, run.id).state == "done"
    assert same_bytes(Path(run.folder), undisturbed) == []
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    crowded.close()


def _ended(store, run):
    return runs.get(store, run.id).state in ("failed", "done")
