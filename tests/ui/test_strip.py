"""What the status strip says of a run, from the store and the run's folder alone."""

import json

import pytest

from appliance.settings import read as read_settings
from appliance.store import runs, workers
from appliance.store.db import open_store
from appliance.ui import strip

CONFIG = """
stage: ppo
name: tiny
policy: {model: gpt2}
reward: {source: length}
prompts: {source: prompts.txt}
batch: {rollout: 8, microbatch: 8}
"""


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    made = open_store(read_settings({"APPLIANCE_DATA": str(tmp_path)}), clock=clock)
    workers.beat(made, "w", host="here", pid=1, device="cpu")
    yield made
    made.close()


def running(store, step=10, steps=100, seconds=2.0):
    """A run whose steps take 2 s; the first took 60."""
    run = runs.enqueue(store, config_yaml=CONFIG, name="support", stage="ppo", owner_id=None, key=None)
    runs.claim(store, "w")
    runs.beat(store, run.id, running=True, step=step, steps=steps, last_step_at=store.clock())
    folder = store.data / run.name
    folder.mkdir()
    lines = [json.dumps({"step": n, "seconds": 60.0 if n == 1 else seconds}) for n in range(1, step + 1)]
    (folder / "timings.jsonl").write_text("\n".join(lines) + '\n{"step": 11, "sec')
    return run


def test_nothing_to_do_and_nobody_to_do_it(store, clock):
    assert strip.read(store, "CPU").state == "idle"
    clock.now += workers.SILENT_S + 1
    assert strip.read(store, "CPU").state == "worker missing"
    assert "appliance worker" in strip.view(strip.read(store, "CPU"))


def test_a_running_run_has_its_time_left_by_its_usual_step(store, clock):
    running(store)
    clock.now += 1
    now = strip.read(store, "CPU")
    assert (now.state, now.name, now.step, now.steps, now.age_s) == ("running", "support", 10, 100, 1.0)
    assert now.left_s == 90 * 2.0 - 1  # 90 steps of 2 s, one second of the next is over
    shown = strip.view(now)
    assert "10%" in shown
    assert "3 min left" in shown
    assert "last step 1 s ago" in shown


def test_a_run_without_a_step_for_long_stands_still(store, clock):
    running(store)
    clock.now += 100  # more than five steps of 2 s, less than two minutes
    workers.beat(store, "w", host="here", pid=1, device="cpu")
    assert strip.read(store, "CPU").state == "running"
    clock.now += 21
    workers.beat(store, "w", host="here", pid=1, device="cpu")
    assert strip.read(store, "CPU").state == "stalled"


def test_slow_steps_do_not_make_it_stand_still(store, clock):
    running(store, seconds=60.0)
    clock.now += 299
    assert strip.read(store, "CPU").state == "running"
    clock.now += 2
    assert strip.read(store, "CPU").state == "stalled"


def test_the_last_run_is_spoken_of_for_ten_minutes(store, clock):
    run = running(store)
    runs.finish(store, run.id, "failed", message="out of memory")
    assert strip.read(store, "CPU").state == "failed"
    runs.enqueue(store, config_yaml=CONFIG, name="next", stage="ppo", owner_id=None, key=None)
    assert strip.read(store, "CPU").state == "queued"
    runs.ask_stop(store, runs.queue(store)[0].id)
    clock.now += 601
    workers.beat(store, "w", host="here", pid=1, device="cpu")
    assert strip.read(store, "CPU").state == "idle"


def test_words_from_the_store_are_escaped():
    shown = strip.view(strip.Status("starting", 1, "<b>", phase="<script>", memory="<i>"))
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "Starting: &lt;script&gt;" in shown


def test_a_run_whose_phase_is_its_state_says_it_once():
    assert ">Starting</span>" in strip.view(strip.Status("starting", 1, "a", phase="starting"))


def test_every_state_of_a_run_has_words():
    from appliance.store.schema import STATES

    assert set(STATES) <= set(strip.WORDS)
    for state in strip.WORDS:
        assert strip.view(strip.Status(state, 1, "x", 1, 2))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (86400 * 3, "3 d 0 h")],
)
def test_spans_in_words(seconds, words):
    assert strip.span(seconds) == words


def test_a_run_with_no_timings_has_no_time_left(store):
    run = runs.get(store, running(store).id)
    for text in (None, "x\n{}\n"):
        (store.data / run.name / "timings.jsonl").unlink(missing_ok=True)
        if text is not None:
            (store.data / run.name / "timings.jsonl").write_text(text)
        assert strip.read(store, "CPU").left_s is None


def test_after_a_resume_the_time_left_is_by_this_sessions_steps(store):
    run = running(store, step=10, seconds=50.0)
    runs.identify(store, run.id, pid=1, pid_started=0.0, boot_id="b", checkpoint="step-000008")
    folder = store.data / run.name
    lines = [json.dumps({"step": n, "seconds": 50.0 if n <= 8 else 3.0}) for n in range(1, 11)]
    (folder / "timings.jsonl").write_text("\n".join(lines) + "\n")
    assert strip.read(store, "CPU").left_s == 90 * 3.0


def test_one_reading_serves_pages_that_ask_at_once(tmp_path, monkeypatch):
    from appliance.ui import desk

    now, read = [100.0], []
    monkeypatch.setattr(desk.time, "monotonic", lambda: now[0])
    one = desk.Desk(None, None, None, None)
    assert [one.shared("x", 1.0, lambda: read.append(1) or len(read)) for _ in range(3)] == [1, 1, 1]
    now[0] += 1.5
    assert one.shared("x", 1.0, lambda: read.append(1) or len(read)) == 2
