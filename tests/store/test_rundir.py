"""A run's folder: made once, opened only for the config it was made with, locked by one process, with whole log lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.config import SftConfig, to_yaml
from appliance.errors import ApplianceError, ConfigError
from appliance.store.rundir import RunDir, create, list_runs, open_existing


def sft(**more: object) -> SftConfig:
    return SftConfig.model_validate({"policy": {"model": "gpt2"}, "data": {"source": "texts.txt"}} | more)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A new run's folder."""
    return create(tmp_path / "run", sft())


def test_a_new_run_keeps_its_whole_config(tmp_path):
    made = create(tmp_path / "a" / "b", sft(seed=3))
    assert made.path == tmp_path / "a" / "b"
    assert (made.path / "config.yaml").read_text(encoding="utf-8") == to_yaml(sft(seed=3))
    assert made.config() == sft(seed=3)
    assert made.status() == {"state": "new"}


def test_an_empty_folder_may_become_a_run(tmp_path):
    assert create(tmp_path, sft()).config() == sft()


def test_a_run_that_failed_before_its_first_number_gives_its_folder_to_the_corrected_one(run):
    run.append("events.jsonl", {"step": 0, "kind": "notice"})
    run.set_status("failed", message="no such file")
    anew = create(run.path, sft(seed=9))
    assert anew.config().seed == 9
    assert anew.status() == {"state": "new"}
    assert anew.read_log("events.jsonl") == []


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path, run):
    run.append("metrics.jsonl", {"step": 0})
    with pytest.raises(ApplianceError) as caught:
        create(run.path, sft(seed=9))
    assert caught.value.what == f"{run.path} holds a run"
    assert caught.value.fix == "continue it with --resume, or choose another --run-dir"
    assert run.config().seed == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    for path, what in ((tmp_path / "other", "exists and is not empty"), (tmp_path / "other" / "x", "is a file")):
        with pytest.raises(ApplianceError, match=what):
            create(path, sft())


def test_an_existing_run_opens_with_its_own_config_or_none(run):
    assert open_existing(run.path) == run
    assert open_existing(run.path, sft()) == run


def test_another_config_is_refused_with_the_keys_that_differ(run):
    other = sft(seed=2, training={"batch": 4, "epochs": 3})
    with pytest.raises(ConfigError) as caught:
        open_existing(run.path, other)
    assert caught.value.what == (
        f"{run.path} belongs to another config: seed was 1, is 2; training.epochs was 1.0, is 3.0; "
        "training.batch was 32, is 4; training.microbatch was 32, is 4"
    )
    assert caught.value.fix


def test_a_section_that_appears_is_a_difference(run):
    with pytest.raises(ConfigError, match=r"lora was None, is None|lora\.rank was None, is 4"):
        open_existing(run.path, sft(lora={"rank": 4}))


def test_what_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ApplianceError, match="is not a run folder: it has no config"):
            open_existing(path)


@pytest.mark.parametrize("text", ["stage: [", "", "stage: sft\npolicy: 3\n", "a: 2026-99-01"])
def test_a_damaged_config_is_an_error_for_people(run, text):
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError):
        run.config()


# --- status


def test_status_says_what_was_set_and_by_whom(run):
    run.set_status("done", step=4, message="ü")
    status = run.status()
    assert (status["state"], status["step"], status["message"], status["pid"]) == ("done", 4, "ü", os.getpid())
    assert status["updated"] > 0


def test_a_state_that_does_not_exist_is_a_bug(run):
    with pytest.raises(AssertionError):
        run.set_status("finished")


def test_a_running_run_that_nobody_holds_was_interrupted(run):
    run.set_status("running", step=1)
    assert run.status()["state"] == "interrupted"
    with run.locked():
        assert run.status()["state"] == "running"
    assert run.status()["state"] == "interrupted"
    run.set_status("stopped")
    assert run.status()["state"] == "stopped"


def test_only_one_process_trains_in_a_folder(run):
    with run.locked():
        with pytest.raises(ApplianceError) as caught, run.locked():
            pass
        assert caught.value.what == f"another process trains in {run.path}"
    with run.locked():  # free again
        pass


def test_the_lock_of_a_process_that_died_is_free(run):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom appliance.store.rundir import RunDir\n"
        "run = RunDir(Path(sys.argv[1]))\nwith run.locked():\n    run.set_status('running')\n    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.path)], check=False)
    assert done.returncode == 9
    assert run.status()["state"] == "interrupted"
    with run.locked():
        pass


def test_a_lock_that_may_not_be_written_is_explained(run, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ApplianceError, match="is not writable"), run.locked():
        pass


# --- logs


def test_records_come_back_in_order(run):
    assert run.read_log("metrics.jsonl") == []
    records = [{"step": 0, "text": "a\nb\u2028ü"}, {"step": 1, "kl": None}]
    for record in records:
        run.append("metrics.jsonl", record, sync=True)
    assert run.read_log("metrics.jsonl") == records
    assert (run.path / "metrics.jsonl").read_bytes().count(b"\n") == 2


def test_a_number_that_json_lacks_is_never_written(run):
    with pytest.raises(ValueError, match="JSON compliant"):
        run.append("metrics.jsonl", {"kl": float("nan")})
    assert run.read_log("metrics.jsonl") == []


CUT = '{"step": 1, "text": "ü'.encode()[:-1]
"""A line that a crash cut off in the middle of a letter."""


def test_a_last_line_that_was_cut_off_is_left_out(run):
    run.append("samples.jsonl", {"step": 0})
    with (run.path / "samples.jsonl").open("ab") as file:
        file.write(CUT)
    assert run.read_log("samples.jsonl") == [{"step": 0}]


def test_the_next_line_does_not_continue_one_that_was_cut_off(run):
    for before in ([], [{"step": 0}]):
        (run.path / "events.jsonl").write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in before) + CUT)
        run.append("events.jsonl", {"step": 2})
        assert run.read_log("events.jsonl") == [*before, {"step": 2}]


def test_a_damaged_line_inside_a_log_is_an_error_for_people(run):
    (run.path / "metrics.jsonl").write_bytes(b'{"step": 0}\n\x00\x00\n{"step": 1}\n')
    with pytest.raises(ApplianceError) as caught:
        run.read_log("metrics.jsonl")
    assert caught.value.what.startswith(f"{run.path / 'metrics.jsonl'} line 2 is damaged")


def test_a_full_disk_while_logging_is_explained(run, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ApplianceError, match="the disk is full"):
        run.append("metrics.jsonl", {"step": 0}, sync=True)


def test_truncating_drops_later_steps_and_changes_no_byte_before(run):
    for step in range(4):
        run.append("metrics.jsonl", {"step": step, "x": 0.1 + 0.2, "text": "ü"})
        run.append("events.jsonl", {"step": step})
        run.append("events.jsonl", {"step": step, "again": True})
    whole = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(CUT)
    run.truncate_logs(1)
    assert (run.path / "metrics.jsonl").read_bytes() == b"".join(whole[:2])
    assert [record["step"] for record in run.read_log("events.jsonl")] == [0, 0, 1, 1]
    run.truncate_logs(-1)
    assert (run.path / "metrics.jsonl").read_bytes() == b""


# --- lists


def test_runs_are_listed_oldest_first(tmp_path):
    assert list_runs(tmp_path / "absent") == []
    for age, name in enumerate(["c", "a", "b"]):
        made = create(tmp_path / name, sft())
        os.utime(made.path / "config.yaml", (1000 + age, 1000 + age))
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").touch()
    assert [run.path.name for run in list_runs(tmp_path)] == ["c", "a", "b"]


def test_the_folder_s_parts_have_their_places(run):
    assert [p.relative_to(run.path).as_posix() for p in (run.checkpoints, run.model, run.report)] == [
        "checkpoints",
        "model",
        "report",
    ]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "model", "adapter", "report", "result.json"])
def test_anything_that_a_run_made_keeps_its_folder(name, run):
    assert not run.has_begun()
    (run.path / name).mkdir()
    assert run.has_begun()
    with pytest.raises(ApplianceError, match="holds a run"):
        create(run.path, sft(seed=9))
    assert run.config().seed == 1


def test_what_is_no_run_is_not_to_be_resumed(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    for path, what in (("other", "exists and is not empty, and is no run"), ("other/x", "is a file")):
        with pytest.raises(ApplianceError) as caught:
            create(tmp_path / path, sft())
        assert caught.value.what == f"{tmp_path / path} {what}"
        assert caught.value.fix == "choose another --run-dir"


def test_a_place_below_a_file_is_not_writable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ApplianceError, match="is not writable: ") as caught:
        create(tmp_path / "file" / "run", sft())
    assert caught.value.fix == "choose a folder that you may write to"
