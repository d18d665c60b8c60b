"""The checks before a training: programs beside the page, and the list that is made of what they say."""

import json
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from appliance.config import parse
from appliance.plan.parts import Plan
from appliance.ui import starting_checks as checks
from appliance.ui import starting_programs as programs
from appliance.ui.starting_prompts import Split

SAYS = 'print(\'{"check": "model", "ok": true, "said": "loads *well*"}\', flush=True)'


@pytest.fixture
def built(tmp_path):
    values = {
        "stage": "ppo",
        "policy": {"model": str(tmp_path)},
        "reward": {"source": "length"},
        "prompts": {"source": "x.txt"},
    }
    config = parse(values, origin="c")
    return SimpleNamespace(config=config, yaml="stage: ppo", plan=Plan("RAM", 8.0), split=Split(10, 2, 2))


def python(code):
    return [sys.executable, "-c", code]


def ended(folder, wanted):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job = programs.job_of(folder, wanted)
        if job is not None and job.ended:
            return job
        time.sleep(0.02)
    raise AssertionError("it did not end")


def listed(store, folder, built, **more):
    found = checks.checklist(store, folder, built, example=False, place=1, preflight=None)
    return {check.what: check for check in found.checks}, found


def test_what_a_program_says_is_read_line_by_line(tmp_path):
    programs.begin(tmp_path / "a", [python(SAYS)], limit_s=60, wanted="w")
    job = ended(tmp_path / "a", "w")
    assert (job.code, job.lines[0]["check"]) == (0, "model")
    assert programs.job_of(tmp_path / "a", "something else") is None


def test_a_program_that_takes_too_long_is_ended(tmp_path):
    programs.begin(tmp_path / "a", [python("import time; time.sleep(60)")], limit_s=0.2, wanted="w")
    assert ended(tmp_path / "a", "w").code is None


def test_the_same_is_begun_once_and_again_after_a_restart_of_the_server(tmp_path):
    count = tmp_path / "count"
    code = python(f"open({str(count)!r}, 'a').write('x')")
    for _ in range(2):
        programs.begin(tmp_path / "a", [code], limit_s=60, wanted="w")
        ended(tmp_path / "a", "w")
    assert count.read_text() == "x"
    while any(thread.name == "checks" for thread in threading.enumerate()):
        time.sleep(0.01)
    (tmp_path / "a" / "end.json").unlink()  # as a server leaves it that died in between
    programs.begin(tmp_path / "a", [code], limit_s=60, wanted="w")
    ended(tmp_path / "a", "w")
    assert count.read_text() == "xx"


def test_lanes_do_not_wait_for_each_other_and_folders_are_not_confused(tmp_path):
    wait = python("import sys, pathlib, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)")
    programs.begin(tmp_path / "a", [[*wait, str(tmp_path / "go")]], limit_s=60, wanted="w", lane="long")
    programs.begin(tmp_path / "b", [python(SAYS)], limit_s=60, wanted="w")
    assert ended(tmp_path / "b", "w").code == 0
    assert programs.job_of(tmp_path / "a", "w").alive
    (tmp_path / "go").touch()
    job = ended(tmp_path / "a", "w")
    assert (job.code, job.alive) == (0, False)


def test_a_program_that_outlives_its_server_is_told_from_one_that_was_cut_off(tmp_path, monkeypatch):
    programs.begin(tmp_path / "a", [python("import time; time.sleep(60)")], limit_s=60, wanted="w", lane="other")
    until = time.monotonic() + 30
    while not (tmp_path / "a" / "process.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    monkeypatch.setattr(programs, "_alive", set())  # as in a server that was started just now
    assert programs.job_of(tmp_path / "a", "w").alive
    kept = json.loads((tmp_path / "a" / "process.json").read_text())
    written(tmp_path / "b", "w", [])
    (tmp_path / "b" / "process.json").write_text(json.dumps(kept | {"created": kept["created"] - 5}))
    found = programs.job_of(tmp_path / "b", "w")  # the number is another program's now
    assert (found.alive, found.ended) == (False, False)
    os.kill(kept["pid"], signal.SIGKILL)
    assert ended(tmp_path / "a", "w").code == -signal.SIGKILL


def test_what_is_to_be_kept_is_kept_before_the_end_is_told(tmp_path):
    seen = []

    def keep(code):
        seen.append((code, (tmp_path / "a" / "end.json").exists(), (tmp_path / "a" / "out.jsonl").stat().st_size > 0))

    programs.begin(tmp_path / "a", [python(SAYS)], limit_s=60, wanted="w", then=keep)
    ended(tmp_path / "a", "w")
    assert seen == [(0, False, True)]


def written(folder, wanted, lines, code=None, said=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wanted").write_text(wanted)
    (folder / "out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "said.txt").write_text(said)
    if code is not None:
        (folder / "end.json").write_text(json.dumps({"code": code, "at": 0}))


GOOD = [{"check": name, "ok": True, "said": name} for name in ("model", "prompts", "scorer")]
ANSWER = {"prompt": "p", "response": "r", "score": 1.5, "parts": {}}


def test_nothing_starts_while_something_is_tried(store, built, tmp_path):
    written(tmp_path / "c", programs.digest(built.yaml), GOOD[:2])
    lines, found = listed(store, tmp_path / "c", built)
    assert lines["Starting model"].state == "ok"
    assert lines["Scorer"].state == "busy"
    assert found.busy
    assert not found.may_start


def test_all_good_may_start_and_shows_the_answers(store, built, tmp_path):
    lines = [*GOOD, {"check": "samples", "ok": True, "said": "2", "answers": [ANSWER]}]
    written(tmp_path / "c", programs.digest(built.yaml), lines, code=0)
    _, found = listed(store, tmp_path / "c", built)
    assert found.may_start
    assert found.answers == [ANSWER]


def test_a_scorer_that_does_not_load_keeps_the_run_from_starting(store, built, tmp_path):
    bad = {"check": "scorer", "ok": False, "said": "it has 2 outputs", "fix": "choose <b>another</b>"}
    written(tmp_path / "c", programs.digest(built.yaml), [*GOOD[:2], bad], code=1)
    lines, found = listed(store, tmp_path / "c", built)
    assert lines["Scorer"].state == "bad"
    assert r"\<b\>another" in lines["Scorer"].line
    assert not found.may_start


def test_a_check_that_died_says_its_last_words(store, built, tmp_path):
    written(tmp_path / "c", programs.digest(built.yaml), [], code=1, said="trace\nerror: out of memory\n")
    lines, found = listed(store, tmp_path / "c", built)
    assert lines["Models"].said == "error: out of memory"
    assert not found.may_start


def test_without_room_the_models_are_tried_by_the_run_itself(store, built, tmp_path, monkeypatch):
    monkeypatch.setattr(checks.room, "available_bytes", lambda: 0)
    lines, found = listed(store, tmp_path / "c", built)
    assert lines["Models"].state == "later"
    assert found.may_start


def test_the_example_says_that_its_models_are_made_first(store, built, tmp_path):
    found = checks.checklist(store, tmp_path, built, example=True, place=1, preflight=None)
    assert any("trained first, about a minute; your run is next" in check.said for check in found.checks)
    assert found.may_start


def test_a_machine_without_a_gpu_is_a_warning(tmp_path):
    report = {"checks": [{"id": "pci.gpu_present", "status": "fail", "found": "0"}]}
    written(tmp_path, "x", [report], code=1)
    assert checks.preflight_check(tmp_path).state == "warn"
    assert checks.preflight_check(tmp_path / "none").state == "busy"


def test_a_score_is_read_from_the_parts():
    line = {"score": 2, "parts": {"kind-1": {"score": 1.25}, "other": None}}
    assert checks.tryout_scores(programs.Job([line], True, 0, "")) == {"kind-1": 1.25}
    assert checks.tryout_scores(programs.Job([], True, 1, "")) == {}
