"""The queue: order, states, one click one run, one claim one worker; what is deleted and what is found."""

import threading
from pathlib import Path

import pytest
import yaml

from appliance.config import parse
from appliance.errors import ApplianceError, ConfigError
from appliance.store import run_folders, rundir, runs
from appliance.store.causes import CAUSES, cause_of, changed, retry_changes
from appliance.store.rundir import RunDir


@pytest.fixture
def enqueue(store, clock, config_yaml):
    """enqueue("name"): a run that waits; each is a second after the one before."""

    def make(name="tiny", **given):
        clock.now += 1
        given = {"config_yaml": config_yaml, "stage": "ppo", "owner_id": None, "key": None} | given
        return runs.enqueue(store, name=name, **given)

    return make


def test_the_same_click_twice_is_one_run(store, enqueue):
    first, again, other = enqueue(key="a"), enqueue(key="a"), enqueue(key="b")
    assert again.id == first.id != other.id
    assert [run.id for run in runs.queue(store)] == [first.id, other.id]


def test_a_click_that_arrives_twice_at_once_is_one_run(store, enqueue):
    made, errors = [], []

    def click():
        try:
            made.append(enqueue(key="same").id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=click) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(made) == 6
    assert len(set(made)) == 1


def test_runs_of_one_name_get_folders_of_their_own(store, enqueue):
    (store.data / "tiny-2").mkdir()
    assert [Path(enqueue().folder).name for _ in range(2)] == ["tiny", "tiny-3"]
    assert enqueue("models").name == "models-2"  # the data folder's own
    assert [enqueue("n" * 64).name for _ in range(2)] == ["n" * 64, "n" * 62 + "-2"]


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "n" * 65, "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(name, store, enqueue):
    with pytest.raises(ConfigError, match="cannot be a folder's"):
        enqueue(name)
    assert runs.list_runs(store) == []


def test_a_config_that_cannot_run_is_not_queued(store, enqueue, config_yaml):
    with pytest.raises(ConfigError, match=r"kl\.coeff is an unknown key"):
        enqueue(config_yaml=config_yaml + "kl: {coeff: 1}\n")
    with pytest.raises(ConfigError, match="is for ppo, not sft"):
        enqueue(stage="sft")
    with pytest.raises(ConfigError, match="not YAML"):
        enqueue(config_yaml="a: [")
    assert runs.list_runs(store) == []


def test_the_config_is_kept_to_the_letter(store, enqueue, config_yaml):
    text = "# mine\n" + config_yaml
    assert runs.get(store, enqueue(config_yaml=text).id).config == text


def test_the_queue_is_served_in_order_and_says_who_is_next(store, enqueue):
    first, second, third = enqueue(), enqueue(), enqueue()
    assert [runs.queue_place(store, run.id) for run in (first, second, third)] == [1, 2, 3]
    claimed = runs.claim(store, "w")
    assert (claimed.id, claimed.state, claimed.worker_id, claimed.attempts) == (first.id, "starting", "w", 1)
    assert len(claimed.token) == 32
    assert [runs.queue_place(store, run.id) for run in (first, second, third)] == [None, 1, 2]
    assert runs.claim(store, "w", lambda run: run.id == third.id).id == third.id
    assert runs.claim(store, "w", lambda run: False) is None
    assert runs.current(store).id in (first.id, third.id)


def test_each_run_is_claimed_by_one_worker(store, enqueue):
    wanted = {enqueue().id for _ in range(6)}
    claimed, errors = [], []

    def work(name):
        try:
            while (run := runs.claim(store, name)) is not None:
                claimed.append(run.id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(claimed) == sorted(wanted)


def test_a_run_that_waits_is_stopped_at_once_and_one_at_work_is_asked(store, enqueue, clock):
    at_work, waiting = enqueue(), enqueue()
    runs.claim(store, "w")
    assert runs.ask_stop(store, waiting.id).state == "stopped"
    asked = runs.ask_stop(store, at_work.id)
    assert (asked.state, asked.stop_asked) == ("stopping", clock.now)
    clock.now += 5
    assert runs.ask_stop(store, at_work.id).stop_asked == clock.now - 5  # a second click changes nothing
    assert runs.finish(store, at_work.id, "stopped", message="stopped")
    with pytest.raises(ApplianceError, match="is stopped: there is nothing to stop"):
        runs.ask_stop(store, at_work.id)


def test_a_stopped_run_is_continued_at_the_end_of_the_queue(store, enqueue, clock):
    stopped = enqueue()
    runs.claim(store, "w")
    runs.finish(store, stopped.id, "stopped", message="stopped", fix="x", cause="crash")
    other = enqueue()
    clock.now += 1
    again = runs.continue_run(store, stopped.id)
    assert (again.state, again.message, again.fix, again.cause, again.ended) == ("queued", None, None, None, None)
    assert again.worker_id is None
    with pytest.raises(ApplianceError, match="is queued: it cannot be continued"):
        runs.continue_run(store, stopped.id)
    assert [runs.queue_place(store, run.id) for run in (other, stopped)] == [1, 2]


def test_an_interrupted_run_keeps_its_place(store, enqueue):
    first, second = enqueue(), enqueue()
    runs.claim(store, "w")
    assert runs.requeue(store, first.id, "gone", attempts=1)
    assert not runs.requeue(store, first.id, "gone", attempts=1)  # only from a state of being at work
    assert [run.id for run in runs.queue(store)] == [first.id, second.id]
    assert runs.claim(store, "w").attempts == 2


def test_the_end_of_a_run_is_entered_once(store, enqueue):
    run = enqueue()
    assert not runs.finish(store, run.id, "done")  # it has not begun
    runs.claim(store, "w")
    assert runs.finish(store, run.id, "done", result={"kl": 1.5})
    assert not runs.finish(store, run.id, "failed", message="too late")
    found = runs.get(store, run.id)
    assert (found.state, found.message, found.result) == ("done", None, {"kl": 1.5})


def test_the_first_numbers_make_a_starting_run_a_running_one(store, enqueue):
    run = enqueue()
    runs.claim(store, "w")
    runs.beat(store, run.id, phase="loading the models")
    assert runs.get(store, run.id).state == "starting"
    runs.ask_stop(store, run.id)
    runs.beat(store, run.id, running=True, step=1, steps=4)
    assert runs.get(store, run.id).state == "stopping"  # the wish to stop is not forgotten
    assert runs.get(store, run.id).step == 1


def test_notes_and_stars(store, enqueue):
    run = enqueue()
    runs.note(store, run.id, "good one")
    runs.star(store, run.id, True)
    found = runs.get(store, run.id)
    assert (found.note, found.starred) == ("good one", True)
    with pytest.raises(ApplianceError, match="no run number 99"):
        runs.note(store, 99, "x")


@pytest.fixture
def folder_of_run(config_yaml):
    """folder_of_run(path, state): a run folder as the command line leaves it."""

    def make(path, state, **more):
        made = rundir.create(path, parse(yaml.safe_load(config_yaml), origin="x"))
        made.set_status(state, step=2, steps=4, **more)
        return made

    return make


def test_runs_from_the_command_line_are_found_once(store, folder_of_run):
    made = folder_of_run(store.data / "cli", "failed", message="no such model\n  fix: check the path")
    made.append("metrics.jsonl", {"step": 1})
    folder_of_run(store.data / "demo" / "ppo", "done")
    assert len(run_folders.adopt(store)) == 2
    assert run_folders.adopt(store) == []
    found = {run.name: run for run in runs.list_runs(store)}
    assert (found["cli"].state, found["cli"].message, found["cli"].fix) == ("failed", "no such model", "check the path")
    assert (found["cli"].step, found["cli"].steps, found["cli"].stage) == (2, 4, "ppo")
    assert (found["ppo"].state, found["ppo"].resume_by_itself) == ("done", False)


def test_a_run_at_a_command_line_is_followed_and_not_stopped_from_here(store, folder_of_run):
    made = folder_of_run(store.data / "cli", "running")
    with made.locked():
        [number] = run_folders.adopt(store)
        assert runs.get(store, number).state == "running"
        with pytest.raises(ApplianceError, match="started from the command line"):
            runs.ask_stop(store, number)
        made.set_status("running", step=3, steps=4)
        assert run_folders.refresh(store) == [number]
        assert runs.get(store, number).step == 3
        with pytest.raises(ApplianceError, match="is running"):
            run_folders.delete(store, number)
    assert run_folders.refresh(store) == []
    assert runs.get(store, number).state == "interrupted"  # its lock is free and it said nothing


def test_a_run_that_the_command_line_went_on_with_is_seen(store, enqueue, folder_of_run):
    run = enqueue()
    runs.claim(store, "w")
    runs.finish(store, run.id, "stopped", message="stopped")
    made = folder_of_run(Path(run.folder), "done")
    (made.report).mkdir()
    (made.report / "report.json").write_text('{"kl": 2.0, "per_prompt": [], "seconds": {"total": 9}}')
    run_folders.refresh(store)
    found = runs.get(store, run.id)
    assert (found.state, found.result) == ("done", {"kl": 2.0, "seconds": 9})


def test_deleting_removes_folder_log_and_row_and_says_how_much(store, enqueue, folder_of_run):
    run = enqueue()
    made = folder_of_run(Path(run.folder), "done")
    (made.path / "big").write_bytes(b"x" * 10_000)
    (store.data / "logs").mkdir()
    (store.data / "logs" / f"{run.id}.log").write_bytes(b"y" * 1000)
    expected = run_folders.size(made.path) + 1000
    runs.claim(store, "w")
    with pytest.raises(ApplianceError, match="is starting"):
        run_folders.delete(store, run.id)
    runs.finish(store, run.id, "done")
    assert run_folders.delete(store, run.id) == expected > 11_000
    assert runs.list_runs(store) == []
    assert not made.path.exists()
    assert list((store.data / "logs").iterdir()) == []
    assert enqueue().id != run.id  # links to the old one lead nowhere, and not to another run


def test_a_deletion_cut_short_is_finished_or_undone(store, enqueue, folder_of_run):
    run = enqueue()
    made = folder_of_run(Path(run.folder), "done")
    made.path.rename(made.path.with_name(".tiny.deleted"))
    (store.data / ".gone.deleted").mkdir()
    run_folders.sweep(store)
    assert RunDir(Path(run.folder)).status()["state"] == "done"  # the row was still there
    assert not (store.data / ".gone.deleted").exists()


def test_a_folder_outside_the_data_folder_is_never_removed(store, enqueue, tmp_path):
    run = enqueue()
    outside = tmp_path / "outside"
    outside.mkdir()
    with store.session() as session:
        session.get(type(run), run.id).folder = str(outside)
    run_folders.delete(store, run.id)
    assert outside.is_dir()


@pytest.mark.parametrize(
    ("what", "error", "cause"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", "OutOfMemoryError", "memory"),
        ("the disk is full: x could not be written, 0.00 GiB free", "ApplianceError", "disk"),
        ("OSError: [Errno 28] No space left on device", "OSError", "disk"),
        ("prompts.txt line 3: no text", "DataError", "data"),
        ("there is no model folder x", "ModelError", "model"),
        ("reward source http answered 500", "ApplianceError", "reward"),
        ("x.yaml: kl.coeff is an unknown key", "ConfigError", "config"),
        ("ZeroDivisionError: division by zero", "ZeroDivisionError", "crash"),
    ],
)
def test_causes(what, error, cause):
    assert cause_of(what, error) == cause
    assert cause in CAUSES


def test_a_run_that_had_too_little_memory_is_tried_with_half_the_microbatch_then_with_lora(config_yaml):
    changes = retry_changes(config_yaml, "memory")
    assert changes == {"batch.microbatch": 4}
    text = changed(config_yaml, changes)
    assert yaml.safe_load(text) == yaml.safe_load(config_yaml) | {"batch": {"rollout": 8, "microbatch": 4}}
    smallest = changed(config_yaml, {"batch.microbatch": 1})
    assert retry_changes(smallest, "memory") == {"policy.train": "lora"}
    assert retry_changes(changed(smallest, {"policy.train": "lora"}), "memory") == {}
    assert retry_changes(config_yaml, "disk") == {}
    training = "stage: sft\npolicy: {model: x}\ndata: {source: y}\ntraining: {batch: 6}\n"
    assert retry_changes(training, "memory") == {"training.microbatch": 3}
