"""What a step leaves in the run's logs, what is told to trackers, and how time is counted."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch

from appliance.ppo.clock import Clock, peak_memory_gib
from appliance.ppo.journal import Journal
from appliance.progress import Progress
from appliance.store.rundir import RunDir

NUMBERS = {"step": 3, "score_mean": 1.5, "kl": 0.25}


class Heard:
    """A journal in an empty run folder, and all that it said."""

    def __init__(self, folder: Path) -> None:
        self.screen, self.tracked = StringIO(), []
        shown = Progress("PPO", 9, 0, bars=False, stream=self.screen)
        self.run = RunDir(folder)
        self.journal = Journal(self.run, 9, shown, lambda numbers, step: self.tracked.append((numbers, step)))


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    """A new one."""
    return Heard(tmp_path)


def test_a_step_is_entered_everywhere(heard):
    heard.journal.step(NUMBERS, samples=[{"prompt": "p", "response": "r", "score": 1.0}], timings={"seconds": 2.0})
    assert heard.run.read_log("metrics.jsonl") == [NUMBERS]
    assert heard.run.read_log("samples.jsonl") == [{"step": 3, "prompt": "p", "response": "r", "score": 1.0}]
    assert heard.run.read_log("timings.jsonl") == [{"step": 3, "seconds": 2.0}]
    assert heard.tracked == [(NUMBERS, 3)]
    status = heard.run.status()
    assert (status["step"], status["steps"]) == (3, 9)
    assert not (heard.run.path / "events.jsonl").exists()


def test_the_numbers_come_last_and_are_on_disk(heard, monkeypatch):
    """No checkpoint may be ahead of metrics.jsonl, and no line of it without what belongs to it."""
    written = []
    plain = RunDir.append

    def watch(self: RunDir, name: str, record: dict[str, Any], *, sync: bool = False) -> None:
        written.append((name, sync))
        plain(self, name, record, sync=sync)

    monkeypatch.setattr(RunDir, "append", watch)
    alarm = {"name": "kl", "what": "KL is 30", "fix": "raise kl.coef"}
    heard.journal.step(NUMBERS, samples=[{"score": 1.0}], alarms=[alarm], timings={"seconds": 2.0})
    assert [name for name, _ in written] == ["events.jsonl", "samples.jsonl", "timings.jsonl", "metrics.jsonl"]
    assert written[-1] == ("metrics.jsonl", True)


def test_a_number_that_is_not_finite_is_null_and_an_alarm(heard):
    heard.journal.step(NUMBERS | {"value_loss": float("nan"), "ratio_max": float("inf")}, samples=[])
    line = heard.run.read_log("metrics.jsonl")[0]
    assert (line["value_loss"], line["ratio_max"], line["kl"]) == (None, None, 0.25)
    (event,) = heard.run.read_log("events.jsonl")
    assert (event["step"], event["kind"], event["name"]) == (3, "alarm", "not_finite")
    assert event["what"] == "not finite: value_loss, ratio_max"
    assert heard.tracked[0][0] == NUMBERS
    assert "alarm at step 3: not finite" in heard.screen.getvalue()


def test_an_alarm_is_kept_and_shown_with_what_to_do(heard):
    alarm = {"name": "kl", "what": "KL is 30", "fix": "raise kl.coef"}
    heard.journal.step(NUMBERS, samples=[], alarms=[alarm])
    assert heard.run.read_log("events.jsonl") == [{"step": 3, "kind": "alarm"} | alarm]
    assert "alarm at step 3: KL is 30. raise kl.coef." in heard.screen.getvalue()


def test_what_is_measured_before_the_first_step_moves_no_bar(heard):
    heard.journal.step({"step": 0, "eval_score_mean": 1.0}, samples=[])
    assert heard.run.read_log("metrics.jsonl") == [{"step": 0, "eval_score_mean": 1.0}]
    assert heard.journal.shown.done == 0
    assert not (heard.run.path / "status.json").exists()


def test_a_notice_stands_at_the_step_where_it_was_given(heard):
    heard.journal.notice("first")
    heard.journal.step(NUMBERS, samples=[])
    heard.journal.notice("second")
    assert [(event["step"], event["what"]) for event in heard.run.read_log("events.jsonl")] == [
        (0, "first"),
        (3, "second"),
    ]
    assert heard.screen.getvalue().startswith("  first\n")


def test_a_line_is_the_same_bytes_whoever_writes_it(heard):
    heard.journal.step(NUMBERS, samples=[])
    assert (heard.run.path / "metrics.jsonl").read_text() == json.dumps(NUMBERS) + "\n"


def test_a_clock_adds_up_the_phases(monkeypatch):
    moments = iter([0.0, 1.0, 3.0, 3.5, 4.0, 5.0, 5.25, 10.0])
    monkeypatch.setattr("appliance.ppo.clock.time.perf_counter", lambda: next(moments))
    clock = Clock(torch.device("cpu"))
    for name in ("generate", "update", "generate"):
        with clock.phase(name):
            pass
    record = clock.record(96)
    assert record["seconds"] == 10.0
    assert record["generate"] == 2.25  # 1 to 3 and 5 to 5.25
    assert record["update"] == 0.5
    assert record["response_tokens"] == 96


def test_a_phase_that_fails_is_counted_too():
    clock = Clock(torch.device("cpu"))
    with pytest.raises(ValueError, match="no"), clock.phase("score"):
        raise ValueError("no")
    assert "score" in clock.record(0)


def test_the_peak_memory_of_a_process_is_in_gib():
    assert 0.05 < peak_memory_gib(torch.device("cpu")) < 64  # with torch loaded, and on no machine of ours more
