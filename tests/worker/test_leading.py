"""One worker and jobs that pretend: order, stop, crashes, bursts, takeovers, clocks."""

import os
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from appliance.store import metrics, run_folders, runs, workers
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.worker import identity, logs, loop


def state(store, run):
    return runs.get(store, run.id).state


def at_work(store, run):
    """Whether the run has written some steps."""
    return lambda: runs.get(store, run.id).step >= 3


def test_runs_are_led_to_their_end_one_after_the_other(store, make_worker, pretend, until):
    first, second = pretend("quick"), pretend("quick")
    worker = make_worker()
    until(lambda: state(store, second) == "done", worker)
    ended = [runs.get(store, run.id) for run in (first, second)]
    assert ended[0].ended <= ended[1].started
    assert [run.state for run in ended] == ["done", "done"]
    assert [run.pid for run in ended] == [None, None]
    assert (store.data / "queue" / f"{first.id}.yaml").read_text() == first.config
    assert worker.turn() is False  # nothing waits
    assert [found.id for found in workers.heard_of(store)] == ["cpu-test"]


def test_progress_reaches_the_store_while_the_run_works(store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    found = runs.get(store, run.id)
    assert (found.state, found.steps, found.phase) == ("running", 400, None)
    assert found.last_step_at >= found.started
    assert metrics.points(store, run.id, ["kl"])["kl"][:3] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_stop_ends_with_a_checkpoint_and_continue_goes_on(store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    runs.ask_stop(store, run.id)
    assert state(store, run) == "stopping"
    until(lambda: state(store, run) == "stopped", worker)
    before = runs.get(store, run.id)
    assert before.message == "stopped by the user; checkpoint: x"
    runs.continue_run(store, run.id)
    until(lambda: runs.get(store, run.id).step > before.step, worker)


def test_a_run_that_does_not_stop_is_killed_and_waits_for_a_person(store, make_worker, pretend, until, monotonic):
    run = pretend("deaf")
    worker = make_worker()
    until(at_work(store, run), worker)
    runs.ask_stop(store, run.id)
    until(lambda: worker.following.told_to_stop_at is not None, worker)
    for _ in range(5):
        worker.turn()
    assert state(store, run) == "stopping"  # the grace is not over
    monotonic.ahead += 121
    until(lambda: state(store, run) == "interrupted", worker)
    assert "did not stop within 120 s and was killed" in runs.get(store, run.id).message
    for _ in range(5):
        worker.turn()
    assert state(store, run) == "interrupted"


def test_a_killed_job_goes_on_by_itself(store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    before = runs.get(store, run.id)
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: runs.get(store, run.id).pid not in (None, before.pid), worker)
    assert runs.get(store, run.id).attempts == 1  # the one before had come further
    until(lambda: runs.get(store, run.id).step > before.step, worker)
    said = [event.what for event in metrics.events(store, run.id)]
    assert any(
        "killed by SIGKILL from outside, or the machine went down; it goes on from step-" in what for what in said
    )


def test_a_killed_job_that_is_not_to_resume_by_itself_waits(store, make_worker, pretend, until):
    run = pretend("steps", resume_by_itself=False)
    worker = make_worker()
    until(at_work(store, run), worker)
    os.kill(runs.get(store, run.id).pid, signal.SIGKILL)
    until(lambda: state(store, run) == "interrupted", worker)
    worker.turn()
    assert state(store, run) == "interrupted"


def test_a_job_that_dies_where_it_began_twice_has_failed(store, make_worker, pretend, until):
    run = pretend("dies")
    until(lambda: state(store, run) == "failed", make_worker())
    found = runs.get(store, run.id)
    assert "2 attempts in a row ended before a new checkpoint" in found.message
    assert (found.cause, found.attempts) == ("crash", 2)
    log = (store.data / "logs" / f"{run.id}.log").read_text()
    assert log.count("--- attempt at ") == 2


@pytest.mark.parametrize(
    ("behaviour", "cause", "message", "fix"),
    [
        ("memory", "memory", "OutOfMemoryError: CUDA out of memory", "smaller microbatch"),
        ("early", "crash", "x.yaml: kl.coeff is an unknown key", "correct it"),
        ("segv", "crash", "the process died: killed by SIGSEGV", "appliance preflight"),
    ],
)
def test_a_failed_run_says_what_happened_and_what_to_do(
    behaviour, cause, message, fix, store, make_worker, pretend, until
):
    run = pretend(behaviour)
    until(lambda: state(store, run) == "failed", make_worker())
    found = runs.get(store, run.id)
    assert (found.cause, found.message) == (cause, message)
    assert fix in found.fix
    assert found.attempts == 1


def test_ten_megabytes_of_log_neither_block_nor_stay(store, make_worker, pretend, until, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 2**20)
    monkeypatch.setattr(logs, "KEPT_BYTES", 2**16)
    run = pretend("burst")
    until(lambda: state(store, run) == "done", make_worker())
    log = store.data / "logs" / f"{run.id}.log"
    assert log.stat().st_size <= 2**20
    assert log.read_text().splitlines()[-1] == "x" * 1023


def test_no_process_of_a_run_outlives_it(store, make_worker, pretend, until):
    run = pretend("family")
    worker = make_worker()
    until(at_work(store, run), worker)
    child = int((Path(run.folder) / "child").read_text())
    assert identity.started(child) is not None
    runs.ask_stop(store, run.id)
    until(lambda: state(store, run) == "stopped", worker)
    until(lambda: identity.started(child) is None)


def test_a_new_worker_takes_over_the_living_job_of_a_dead_one(store, make_worker, pretend, until):
    run = pretend("steps")
    first = make_worker()
    until(at_work(store, run), first)
    before = runs.get(store, run.id)
    second = make_worker()  # the first is never asked again: it was killed
    until(lambda: runs.get(store, run.id).step > before.step + 5, second)
    after = runs.get(store, run.id)
    assert (after.pid, after.token, after.attempts) == (before.pid, before.token, 1)
    runs.ask_stop(store, run.id)
    first.following.job.child.poll()  # reaped by init, had the first one died
    until(lambda: first.following.job.child.poll() is not None, second)
    until(lambda: state(store, run) == "stopped", second)
    assert runs.get(store, run.id).message == "stopped by the user; checkpoint: x"


def test_a_job_whose_number_was_not_yet_entered_is_found_by_its_token(store, make_worker, pretend, until):
    run = pretend("steps")
    until(at_work(store, run), make_worker())
    before = runs.get(store, run.id)
    with store.session() as session:
        row = session.get(type(run), run.id)
        row.pid = row.pid_started = row.boot_id = None
    second = make_worker()
    second.turn()
    assert runs.get(store, run.id).pid == before.pid


@pytest.mark.parametrize("changed", ["pid_started", "boot_id", "token"])
def test_another_process_with_the_same_number_is_never_signalled(changed, store, make_worker, pretend, until):
    run = pretend("steps")
    first = make_worker()
    until(at_work(store, run), first)
    value = {"pid_started": 1.0, "boot_id": "another", "token": "f" * 32}[changed]
    with store.session() as session:
        setattr(session.get(type(run), run.id), changed, value)
    assert loop.identity_in(runs.get(store, run.id)) is None
    pid = first.following.job.identity.pid
    stranger = identity.Identity(pid, 1.0, identity.boot_id(), first.following.job.identity.token)
    assert not stranger.send(signal.SIGKILL)
    assert first.following.job.ended() is None


@pytest.mark.parametrize("jump_s", [-7 * 3600.0, 7 * 3600.0])
def test_a_jump_of_the_clock_disturbs_no_run(jump_s, store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    before = runs.get(store, run.id)
    store.clock = lambda: time.time() + jump_s
    worker.beat_at = float("-inf")
    until(lambda: runs.get(store, run.id).step > before.step + 3, worker)
    second = make_worker()
    until(lambda: runs.get(store, run.id).step > before.step + 10, second)
    after = runs.get(store, run.id)
    assert (after.state, after.pid, after.attempts) == ("running", before.pid, 1)


def test_a_run_of_another_worker_is_settled_only_when_its_beat_stands_still(
    store, make_worker, pretend, until, monotonic
):
    run = pretend("quick")
    runs.claim(store, "another-host")
    worker = make_worker()
    worker.turn()
    for _ in range(3):
        monotonic.ahead += 100
        runs.beat(store, run.id)  # by a clock that may be hours off
        worker.beat_at = float("-inf")
        worker.turn()
    assert runs.get(store, run.id).worker_id == "another-host"
    monotonic.ahead += 121
    worker.beat_at = float("-inf")
    worker.turn()
    assert runs.get(store, run.id).worker_id == "cpu-test"  # interrupted, queued again, claimed


def test_a_worker_that_is_asked_to_end_leaves_its_run_in_the_queue(store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    worker.asked_to_end.set()
    worker.run()
    found = runs.get(store, run.id)
    assert (found.state, found.attempts, found.worker_id) == ("queued", 0, None)
    assert "the worker was stopped; it goes on from step-" in found.message
    assert workers.heard_of(store) == []
    assert RunDir(Path(run.folder)).status()["state"] == "stopped"
    until(lambda: runs.get(store, run.id).step > found.step, make_worker())


def test_a_store_that_fails_for_a_while_costs_nothing(store, make_worker, pretend, until, monkeypatch, capsys):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    real = Store.session

    def broken(self):
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(Store, "session", broken)
    os.kill(worker.following.job.identity.pid, signal.SIGKILL)
    worker.following.job.child.wait()
    for _ in range(3):
        assert worker._try(worker.turn) is None
    assert "the store cannot be used, trying again: database or disk is full" in capsys.readouterr().err
    monkeypatch.setattr(Store, "session", real)
    before = runs.get(store, run.id).step
    until(lambda: runs.get(store, run.id).step > before, worker)


def test_runs_from_the_command_line_show_and_finished_ones_have_their_numbers(store, make_worker):
    folder = RunDir(store.data / "cli")
    folder.path.mkdir()
    (folder.path / "config.yaml").write_text(
        "stage: ppo\npolicy: {model: x}\nreward: {source: length}\nprompts: {source: y}\n"
    )
    folder.append("metrics.jsonl", {"step": 1, "kl": 2.0})
    folder.set_status("done", step=1, steps=1)
    make_worker().turn()
    [found] = runs.list_runs(store)
    assert (found.name, found.state) == ("cli", "done")
    assert metrics.points(store, found.id, ["kl"])["kl"] == [(1, 2.0)]
    run_folders.delete(store, found.id)
    assert not folder.path.exists()


def test_a_run_that_goes_on_is_starting_until_it_writes_again(store, make_worker, pretend, until):
    run = pretend("steps")
    worker = make_worker()
    until(at_work(store, run), worker)
    runs.ask_stop(store, run.id)
    until(lambda: state(store, run) == "stopped", worker)
    runs.continue_run(store, run.id)
    until(lambda: worker.following is not None, worker)
    os.kill(worker.following.job.identity.pid, signal.SIGSTOP)  # before it has come to its first step
    for _ in range(3):
        worker.turn()
    assert (state(store, run), runs.get(store, run.id).phase) == ("starting", "starting")
    os.kill(worker.following.job.identity.pid, signal.SIGCONT)
    until(lambda: state(store, run) == "running", worker)
