"""Lines where there is no terminal, bars where there is one, and neither disturbs what is said in between."""

import io

import pytest

from appliance import progress as module
from appliance.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """clock[0] is the time; tests move it."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_at_most_every_15_seconds_and_at_the_end(clock):
    stream = io.StringIO()
    with progress("training", 4, stream=stream) as shown:
        for seconds in (5, 5, 6, 1):
            clock[0] += seconds
            shown.advance(score=0.12345)
    # the third comes 16 s after the start: 3 done in 16 s, 1 left at 16/3 s each; the last is the end
    assert stream.getvalue().splitlines() == [
        "training: 3/4, 5 s left, score 0.123",
        "training: 4/4, 0 s left, score 0.123",
    ]


def test_what_was_done_before_counts_as_done_and_not_as_speed(clock):
    stream = io.StringIO()
    with progress("training", 20, done=10, stream=stream) as shown:
        clock[0] += 20
        shown.advance(2)
    # 2 in 20 s, 8 left: 80 s
    assert stream.getvalue() == "training: 12/20, 80 s left\n"


def test_begin_at_moves_the_start(clock):
    stream = io.StringIO()
    with progress("training", 20, stream=stream) as shown:
        shown.begin_at(10)
        clock[0] += 20
        shown.advance(2)
    assert stream.getvalue() == "training: 12/20, 80 s left\n"


def test_say_prints_a_line_of_its_own():
    stream = io.StringIO()
    with progress("training", 4, stream=stream) as shown:
        shown.say("a notice")
    assert stream.getvalue() == "a notice\n"


def test_a_terminal_gets_a_bar_with_count_and_figures(monkeypatch):
    monkeypatch.delenv("APPLIANCE_PROGRESS", raising=False)
    stream = Terminal()
    with progress("training", 4, done=1, stream=stream) as shown:
        shown.say("a notice")
        shown.advance(3, kl=1.23456)
    text = stream.getvalue()
    assert "a notice\n" in text
    assert "4/4" in text
    assert "100%" in text
    assert "kl=1.23" in text


@pytest.mark.parametrize(("wanted", "bars"), [("on", True), ("off", False), ("auto", False)])
def test_the_setting_decides_between_bars_and_lines(monkeypatch, wanted, bars):
    monkeypatch.setenv("APPLIANCE_PROGRESS", wanted)
    with progress("training", 4, stream=io.StringIO()) as shown:
        assert (shown.bar is not None) == bars


def test_off_draws_no_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("APPLIANCE_PROGRESS", "off")
    with progress("training", 4, stream=Terminal()) as shown:
        assert shown.bar is None


def test_the_bar_is_closed_when_the_work_fails(monkeypatch):
    monkeypatch.setenv("APPLIANCE_PROGRESS", "on")
    with pytest.raises(RuntimeError), progress("training", 4, stream=io.StringIO()) as shown:
        raise RuntimeError
    assert shown.bar is not None
    assert shown.bar.disable  # what tqdm's close leaves
