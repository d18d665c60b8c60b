"""What the Training tab says of a run at one moment: state, progress, time left, buttons, charts, samples, log."""

import json
import time
from pathlib import Path

import pytest

from appliance.settings import read
from appliance.store import metrics, runs, workers
from appliance.store.db import open_store
from appliance.store.rundir import RunDir
from appliance.store.schema import Run
from appliance.ui import training, training_charts, training_drawing, training_files
from appliance.ui.training_rate import is_stalled, session_rate, step_of

CONFIG = """\
stage: ppo
policy: {model: m}
reward: {source: length}
prompts: {source: p.txt}
"""
POINT = {"score_mean": 1.0, "score_std": 1.0, "kl": 1.0, "length_mean": 9.0, "entropy": 2.0, "ratio_mean": 1.0,
         "clip_share": 0.1, "score_length_correlation": 0.0, "saturated_share": 0.0}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    made = open_store(read({"APPLIANCE_DATA": str(tmp_path)}))
    workers.beat(made, "w", host="h", pid=1, device="cpu")
    yield made
    made.close()


def enter(store, state="running", *, steps=3, seconds=2.0, **more):
    """A run with `steps` steps done, and its folder."""
    name = f"run-{len(runs.list_runs(store))}"
    folder = RunDir(store.data / name)
    folder.path.mkdir()
    for step in range(1, steps + 1):
        folder.append("metrics.jsonl", {"step": step, **POINT})
        folder.append("timings.jsonl", {"step": step, "seconds": seconds})
    now = time.time()
    known = {"created": now, "started": now - 60, "last_step_at": now - 1, "step": steps, "steps": 10, "worker_id": "w"}
    with store.session() as session:
        row = Run(name=name, stage="ppo", folder=str(folder.path), config=CONFIG, state=state, **known | more)
        session.add(row)
        session.flush()
        number = row.id
    metrics.ingest(store, number, folder)
    return number, folder


class Looked:
    """As much of a Context as drawing needs."""

    def __init__(self, store):
        self.store = store

    def url(self, path):
        return path


def draw(store, run_id=None, drawn=None, with_log=False):
    return training_drawing.draw(Looked(store), run_id, drawn or {}, with_log=with_log)


def test_a_running_run_has_a_rate_and_a_time_left(store):
    number, _ = enter(store)
    now = training.look(store, number)
    assert (now.state, now.newest, now.broken) == ("running", 3, False)
    assert now.usual_s == 2.0
    # 7 steps of 2 s are left, 1 s of the first has passed, and some time since
    assert 11.0 < now.left_s <= 13.0
    shown = training.progress_html(now)
    assert "Step 3 of 10</strong> (30%)" in shown
    assert "about 1" in shown
    assert 'value="3"' in shown


def test_a_step_far_older_than_usual_is_standing_still():
    assert not is_stalled(119.0, 1.0)
    assert is_stalled(121.0, 1.0)
    assert not is_stalled(499.0, 100.0)
    assert is_stalled(501.0, 100.0)
    assert not is_stalled(None, 1.0)


def test_after_a_resume_only_this_sessions_steps_give_the_rate(store):
    number, folder = enter(store, steps=4, seconds=100.0, checkpoint="step-000004")
    run = runs.get(store, number)
    assert session_rate(folder.path, run, 4) is None
    assert training.look(store, number).left_s is None
    assert "time left: known after a few steps" in training.progress_html(training.look(store, number))
    for step, seconds in ((5, 9.0), (6, 2.0), (7, 4.0)):
        folder.append("timings.jsonl", {"step": step, "seconds": seconds})
    assert session_rate(folder.path, run, 4) == 3.0  # the first of a session warms up and is left out


def test_a_run_without_timings_is_reckoned_as_a_whole(tmp_path):
    run = Run(stage="sft", started=100.0, last_step_at=160.0, step=30)
    assert session_rate(tmp_path, run, 10) == 3.0  # 60 s for 20 steps
    assert session_rate(tmp_path, run, 30) is None


def test_the_step_of_an_earlier_attempt_has_no_age(store):
    now = time.time()
    number, _ = enter(store, "running", started=now - 10, last_step_at=now - 500)
    assert training.look(store, number).age_s is None


def test_a_checkpoints_name_tells_its_step():
    assert step_of("step-000340") == 340
    assert step_of("step-000340+3") == 340  # stopped in the middle of the next one
    assert step_of("checkpoint-12") == 12
    assert step_of(None) is None


def test_a_starting_run_says_at_which_substep_it_is(store):
    number, _ = enter(store, "starting", steps=0, phase="loading the models")
    shown = training.progress_html(training.look(store, number))
    assert "✓ start the process" in shown
    assert "▶ <strong>load the models" in shown


def test_what_a_run_says_is_escaped(store):
    number, _ = enter(store, "running", phase="<b>x</b>")
    assert "&lt;b&gt;" in training.progress_html(training.look(store, number))


@pytest.mark.parametrize(
    ("state", "more", "offered"),
    [
        ("queued", {}, {"stop": "Take it out of the queue", "stop_works": True}),
        ("starting", {}, {"stop": "Stop and keep progress", "stop_works": True}),
        ("running", {}, {"stop": "Stop and keep progress", "stop_works": True}),
        ("running", {"worker_id": None}, {}),
        ("stopping", {}, {"stop": "Stopping: it saves first"}),
        ("stopped", {}, {"go_on": "Continue from step 20", "again": True}),
        ("interrupted", {}, {"go_on": "Continue from step 20", "again": True}),
        ("failed", {}, {"go_on": "Continue from step 20", "again": True}),
        ("done", {}, {"again": True, "compare": True}),
        ("done", {"stage": "reward"}, {"again": True}),
        ("done", {"stage": "example"}, {}),
    ],
)
def test_buttons_are_drawn_from_the_state(state, more, offered):
    run = Run(**{"id": 1, "name": "a", "stage": "ppo", "state": state, "worker_id": "w"} | more)
    found = training.offers(training.Now(run=run, state=state, checkpoint=20))
    assert found == training.Offers(**offered)


def test_without_a_checkpoint_it_is_tried_again_from_the_beginning():
    run = Run(id=1, name="a", stage="ppo", state="failed", worker_id="w")
    assert training.offers(training.Now(run=run, state="failed")).go_on == "Try again from the beginning"


def test_no_run_leads_to_start_and_is_drawn_once(store):
    first = draw(store)
    assert first["head"].startswith("### No run yet")
    assert first["start"].visible
    assert draw(store, drawn=first["drawn"]) == {}


def test_a_second_drawing_sends_only_what_is_new(store):
    number, folder = enter(store)
    first = draw(store)
    assert first["shown"] == number
    assert {"head", "plot0", "plot3", "samples", "events", "chosen"} <= first.keys()
    assert draw(store, drawn=first["drawn"]) == {}
    folder.append("metrics.jsonl", {"step": 4, **POINT})
    metrics.ingest(store, number, folder)
    again = draw(store, drawn=first["drawn"])
    assert {"head", "plot0"} <= again.keys()
    assert "samples" not in again
    assert json.loads(json.dumps(again["drawn"])) == again["drawn"]  # marks are plain values


def test_the_pulse_changes_when_there_is_something_to_draw(store):
    looked = Looked(store)
    assert training_drawing.pulse(looked, None, with_log=False) == ("", "none")
    number, folder = enter(store)
    shown, first = training_drawing.pulse(looked, number, with_log=False)
    assert "Step 3 of 10" in shown
    assert training_drawing.pulse(looked, number, with_log=False)[1] == first
    folder.append("metrics.jsonl", {"step": 4, **POINT})
    metrics.ingest(store, number, folder)
    second = training_drawing.pulse(looked, number, with_log=False)[1]
    runs.ask_stop(store, number)
    assert len({first, second, training_drawing.pulse(looked, number, with_log=False)[1]}) == 3


def test_the_marks_hold_no_text_of_the_run(store):
    number, folder = enter(store, "failed", message="secret words")
    folder.append("samples.jsonl", {"step": 0, "prompt": "secret words", "response": "x", "score": 1.0})
    marks = json.dumps(draw(store, number)["drawn"])
    assert "secret" not in marks
    assert "run-0" not in marks


def test_on_a_long_run_the_charts_wait_for_a_visible_change(store):
    number, folder = enter(store, steps=500)
    first = draw(store)
    folder.append("metrics.jsonl", {"step": 501, **POINT})
    metrics.ingest(store, number, folder)
    assert draw(store, drawn=first["drawn"]) == {}  # 500 // 200: every second step
    folder.append("metrics.jsonl", {"step": 502, **POINT})
    metrics.ingest(store, number, folder)
    assert "plot0" in draw(store, drawn=first["drawn"])


def test_another_run_is_drawn_whole_and_an_unknown_one_is_not_asked_for(store):
    one, _ = enter(store, "done")
    other, _ = enter(store, "running")
    first = draw(store)
    assert first["shown"] == other  # the one at work comes first
    chosen = draw(store, one, first["drawn"])
    assert chosen["shown"] == one
    assert "plot0" in chosen
    assert draw(store, 999)["shown"] == other


def test_the_log_is_read_only_while_it_is_open(store):
    number, _ = enter(store)
    log = store.data / "logs" / f"{number}.log"
    log.parent.mkdir()
    log.write_text("".join(f"line {i}\n" for i in range(300)))
    first = draw(store)
    assert first["log"] == ""
    opened = draw(store, drawn=first["drawn"], with_log=True)
    assert opened["log"].startswith("line 100\n")
    assert opened["log"].endswith("line 299")
    assert "log" not in draw(store, drawn=opened["drawn"], with_log=True)


def test_a_chart_is_a_long_frame_of_floats_with_the_limit_across(store):
    number, _ = enter(store, steps=1000)
    drift = training_charts.PPO[1]
    found = metrics.points(store, number, training_charts.wanted([drift]))
    frame = training_charts.frame(drift, found, 20.0)
    assert list(map(str, frame.dtypes[:2])) == ["float64", "float64"]
    assert frame["series"].value_counts()["practice prompts"] <= 401
    assert frame[frame["series"] == "limit"][["step", "value"]].values.tolist() == [[1.0, 20.0], [1000.0, 20.0]]
    sent = training_drawing.as_sent(frame)
    assert sent["datatypes"] == {"step": "quantitative", "value": "quantitative", "series": "nominal"}


def test_entropy_is_shown_relative_to_its_first_value():
    stability = training_charts.PPO[3]
    frame = training_charts.frame(stability, {"entropy": [(1, 4.0), (2, 1.0)]})
    assert frame["value"].tolist() == [1.0, 0.25]


def test_a_blended_scorer_has_a_chart_of_its_parts():
    found = training_charts.plots("ppo", ["added/b", "added/a", "score/a", "kl"])
    assert len(found) == training_charts.SLOTS
    assert found[4].series == (("added/a", "a"), ("added/b", "b"))
    assert len(training_charts.plots("ppo", ["kl"])) == 4
    assert [plot.title for plot in training_charts.plots("sft", [])] == ["Loss", "Accuracy"]
    assert training_charts.plots("example", []) == ()


def samples_file(folder: Path, *records):
    file = folder / "samples.jsonl"
    file.write_text(
        "".join(json.dumps(dict(zip(("step", "prompt", "response", "score"), r, strict=True))) + "\n" for r in records)
    )
    return file


def test_samples_stand_beside_those_of_the_start(tmp_path):
    file = samples_file(
        tmp_path,
        (0, "p", " a", 0.5),
        (0, "q", "b", 1.0),
        (10, "q", "x", 1.0),
        (20, "q", " B", 3.0),
        (20, "p", "A", 2.0),
    )
    assert training_files.samples(file) == (20, [["p", "a", "A", "0.50", "2.00"], ["q", "b", "B", "1.00", "3.00"]])


def test_several_answers_to_one_prompt_keep_their_order(tmp_path):
    file = samples_file(tmp_path, (0, "p", "a", 0.0), (0, "p", "b", 0.0), (5, "p", "c", 0.0), (5, "p", "d", 0.0))
    assert [row[1:3] for row in training_files.samples(file)[1]] == [["a", "c"], ["b", "d"]]


def test_before_the_second_measurement_now_is_empty_and_a_cut_line_is_left_out(tmp_path):
    file = samples_file(tmp_path, (0, "p", "a", None))
    with file.open("a") as opened:
        opened.write('{"step": 0, "pro')
    assert training_files.samples(file) == (0, [["p", "a", "", "", ""]])
    assert training_files.samples(tmp_path / "none") == (None, [])
