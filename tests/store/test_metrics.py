"""Numbers and events: copied once however often, replaced after a resume, thinned for a chart."""

import json

import pytest

from appliance.store import metrics, runs
from appliance.store.rundir import RunDir


@pytest.fixture
def run(store, config_yaml):
    """A run's row and its folder."""
    row = runs.enqueue(store, config_yaml=config_yaml, name="tiny", stage="ppo", owner_id=None, key=None)
    folder = RunDir(store.data / "tiny")
    folder.path.mkdir()
    return row.id, folder


def all_points(store, number):
    return metrics.points(store, number, ["kl"])["kl"]


def test_ingesting_again_from_any_place_changes_nothing(store, run):
    number, folder = run
    for step in range(3):
        folder.append("metrics.jsonl", {"step": step, "kl": step / 2})
    read = metrics.ingest(store, number, folder)
    folder.append("metrics.jsonl", {"step": 3, "kl": 1.5})
    metrics.ingest(store, number, folder, read)
    metrics.ingest(store, number, folder, read)  # the worker died before it noted how far it was
    metrics.ingest(store, number, folder)
    assert all_points(store, number) == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]
    assert metrics.last(store, number) == {"step": 3, "kl": 1.5}
    assert metrics.names(store, number) == ["kl"]


def test_a_line_that_is_being_written_waits_for_its_end(store, run):
    number, folder = run
    folder.append("metrics.jsonl", {"step": 1, "kl": 1.0})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "k')
    read = metrics.ingest(store, number, folder)
    assert all_points(store, number) == [(1, 1.0)]
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('l": 2.0}\n')
    metrics.ingest(store, number, folder, read)
    assert all_points(store, number) == [(1, 1.0), (2, 2.0)]


def test_after_a_resume_later_steps_are_gone_and_written_again(store, run):
    number, folder = run
    for step in range(5):
        folder.append("metrics.jsonl", {"step": step, "kl": 1.0})
    read = metrics.ingest(store, number, folder)
    folder.truncate_logs(2)
    read = metrics.ingest(store, number, folder, read)
    assert [step for step, _ in all_points(store, number)] == [0, 1, 2]
    folder.append("metrics.jsonl", {"step": 3, "kl": 7.0})
    metrics.ingest(store, number, folder, read)
    assert all_points(store, number)[-1] == (3, 7.0)


def test_lines_of_one_step_are_one_point(store, run):
    number, folder = run
    folder.append("metrics.jsonl", {"step": 1, "loss": 2.0})
    folder.append("metrics.jsonl", {"step": 1, "kl": 1.0})
    metrics.ingest(store, number, folder)
    assert metrics.last(store, number) == {"step": 1, "loss": 2.0, "kl": 1.0}


def test_damaged_lines_are_left_out(store, run):
    number, folder = run
    (folder.path / "metrics.jsonl").write_text('{"step": 1, "kl": 1.0}\nrubbish\n[1]\n{"step": 2, "kl": 2.0}\n')
    metrics.ingest(store, number, folder)
    assert all_points(store, number) == [(1, 1.0), (2, 2.0)]


def test_a_chart_gets_few_points_the_first_and_the_newest_among_them(store, run):
    number, folder = run
    lines = [{"step": step, "kl": float(step)} | ({"eval": 1.0} if step % 50 == 0 else {}) for step in range(1, 1001)]
    lines[4]["kl"] = None  # a number that was not finite
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics.ingest(store, number, folder)
    found = metrics.points(store, number, ["kl", "eval", "nothing"], most=100)
    # 999 values, every tenth: 1, 12, ... (step 5 is missing), and the last
    assert len(found["kl"]) == 101
    assert found["kl"][0] == (1, 1.0)
    assert found["kl"][-1] == (1000, 1000.0)
    assert [step for step, _ in found["eval"]] == list(range(50, 1001, 50))  # rare ones are not thinned away
    assert found["nothing"] == []


def test_events_keep_the_time_they_were_first_seen(store, run, clock):
    number, folder = run
    folder.append("events.jsonl", {"step": 0, "kind": "notice", "what": "began"})
    read = metrics.ingest(store, number, folder)
    clock.now += 60
    folder.append("events.jsonl", {"step": 4, "kind": "alarm", "name": "kl", "what": "drift", "fix": "lower it"})
    metrics.ingest(store, number, folder, read)
    metrics.add_event(store, number, "the worker was restarted")
    metrics.add_event(store, number, "stopped")
    metrics.ingest(store, number, folder)
    found = {(event.what, event.kind): event for event in metrics.events(store, number)}
    assert len(found) == 4
    assert found["began", "notice"].at == clock.now - 60
    assert (found["drift", "alarm"].fix, found["drift", "alarm"].step) == ("lower it", 4)
    assert found["stopped", "worker"].number == -2
    folder.truncate_logs(0)
    metrics.ingest(store, number, folder, read)
    assert {event.what for event in metrics.events(store, number)} == {"began", "the worker was restarted", "stopped"}
