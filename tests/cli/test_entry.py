"""The command line without a model: help, validate, exit codes, and how each way to end is told."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from appliance.cli import main, runs
from appliance.errors import ApplianceError, StoppedByUser
from appliance.store.rundir import RunDir

RECIPES = sorted(map(str, (Path(__file__).parents[2] / "configs").glob("*.yaml")))

WITHOUT_TORCH = """
import sys
from appliance.cli.main import main
code = None
try:
    main()
except SystemExit as end:
    code = end.code
heavy = [name for name in ("torch", "transformers", "trl", "peft", "datasets", "scipy") if name in sys.modules]
print("HEAVY", heavy, "CODE", code)
"""


class Ended(NamedTuple):
    """Exit code and output."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """command("runs", "list"): the command line in this process; its data folder is tmp_path / "data"."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "data"))

    def run(*argv: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["appliance", *argv])
        with pytest.raises(SystemExit) as end:
            main.main()
        return Ended(end.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["generate", "--help"],
        ["demo", "--help"],
        ["runs", "list"],
        ["validate", *RECIPES],
    ],
    ids=lambda argv: argv[0] + argv[-1][-6:],
)
def test_help_validate_and_the_list_of_runs_do_not_import_torch(argv, tmp_path):
    environ = os.environ | {"APPLIANCE_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *argv], capture_output=True, text=True, env=environ, check=True
    )
    assert "HEAVY [] CODE 0" in done.stdout, done.stderr


def test_help_names_every_command(command):
    ended = command("--help")
    assert ended.code == 0
    for name in ("demo", "train", "evaluate", "generate", "validate", "runs"):
        assert f"\n  {name} " in ended.out
    assert command("-h").out == ended.out
    assert command("--version").out.startswith("appliance, version ")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["trane"],
        ["train"],
        ["train", "dpo"],
        ["train", "ppo"],
        ["train", "ppo", "--resume"],
        ["train", "ppo", "--config", "x.yaml", "--resume"],
        ["generate", "gpt2"],
        ["generate", "gpt2", "--prompt", "x", "--samples", "0"],
        ["generate", "gpt2", "--prompt", "x", "--temperature", "0"],
        ["evaluate"],
        ["evaluate", "run", "--samples", "none"],
        ["validate"],
        ["runs"],
        ["runs", "compare", "one"],
        ["demo", "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(argv, command):
    ended = command(*argv)
    assert ended.code == 2
    assert "Usage: " in ended.err + ended.out


def test_validate_says_which_files_are_right_and_goes_on_after_a_wrong_one(command, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "stage: ppo\npolicy: {modell: x}\nreward: {source: length}\nprompts: {source: p.txt}\n"
        "batch: {rollout: 8, minibatch: 3}\n"
    )
    ended = command("validate", str(wrong), *RECIPES, str(tmp_path / "none.yaml"))
    assert ended.code == 1
    assert [line.endswith(("right (ppo)", "right (sft)", "right (reward)")) for line in ended.out.splitlines()] == [
        True
    ] * len(RECIPES)
    assert f"{wrong}: wrong\n" in ended.err
    assert "policy.modell is an unknown key; did you mean policy.model?" in ended.err
    assert "minibatch 3 does not divide rollout 8. Use 2 or 4" in ended.err
    assert f"there is no config file {tmp_path / 'none.yaml'}" in ended.err
    assert ended.err.count("  fix: ") == 2


def test_a_config_of_another_stage_is_refused_with_the_command_for_it(command, tmp_path):
    file = tmp_path / "sft.yaml"
    file.write_text("stage: sft\npolicy: {model: m}\ndata: {source: d.txt}\n")
    ended = command("train", "ppo", "--config", str(file))
    assert ended.code == 1
    assert "sft.yaml is a config for sft, not ppo" in ended.err
    assert f"fix: run `appliance train sft --config {file}`" in ended.err


def test_an_environment_variable_that_is_wrong_is_an_error_with_a_fix(command, monkeypatch):
    monkeypatch.setenv("APPLIANCE_PROGRESS", "yes")
    ended = command("runs", "list")
    assert ended.code == 1
    assert "APPLIANCE_PROGRESS is 'yes'" in ended.err


def ending(error: BaseException) -> click.Command:
    """A command that ends like this."""

    @click.command("end")
    def end() -> None:
        raise error

    return end


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ApplianceError("the disk is full", "free some room"), 1, "error: the disk is full\n  fix: free some room\n"),
        (
            StoppedByUser("my/run/checkpoints/step-3"),
            130,
            "stopped. Its checkpoint: my/run/checkpoints/step-3\n  go on with: appliance train ? --run-dir my/run --resume\n",
        ),
        (StoppedByUser(None), 130, "stopped.\n  go on with: --resume\n"),
        (KeyboardInterrupt(), 130, "stopped at once; the last checkpoint is what is left\n"),
        (BrokenPipeError(), 0, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_way_to_end_has_its_exit_code(error, code, message, command, monkeypatch):
    monkeypatch.setitem(main.commands.commands, "end", ending(error))
    ended = command("end")
    assert ended.code == code
    assert ended.err.lstrip("\n") == message


def test_a_bug_keeps_its_traceback(command, monkeypatch):
    monkeypatch.setitem(main.commands.commands, "end", ending(KeyError("a bug")))
    monkeypatch.setattr(sys, "argv", ["appliance", "end"])
    with pytest.raises(KeyError):
        main.main()


def test_libraries_are_quiet_and_offline_means_offline():
    environ: dict[str, str] = {"TRANSFORMERS_VERBOSITY": "info"}
    main.quiet_libraries(environ, offline=False)
    assert environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert environ["TRANSFORMERS_VERBOSITY"] == "info"  # what the user chose stays
    assert "HF_HUB_OFFLINE" not in environ
    main.quiet_libraries(environ, offline=True)
    assert environ["HF_HUB_OFFLINE"] == environ["HF_DATASETS_OFFLINE"] == "1"


# --- runs


def a_run(folder: Path, state: str, **more: object) -> RunDir:
    """A run folder with a config and a status."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("stage: sft\npolicy: {model: m}\ndata: {source: d.txt}\n")
    run = RunDir(folder)
    run.set_status(state, **more)
    return run


def test_no_runs_are_said_to_be_none(command, tmp_path):
    assert command("runs", "list").out == f"no runs in {tmp_path / 'data'}\n"
    assert command("runs", "list", "--json").out == ""


def test_the_runs_of_demos_are_listed_too_and_a_dead_run_is_interrupted(command, tmp_path):
    a_run(tmp_path / "data" / "demo" / "sft", "done", step=3, steps=3)
    a_run(tmp_path / "data" / "mine", "running", step=2, steps=9)
    rows = [json.loads(line) for line in command("runs", "list", "--json").out.splitlines()]
    assert {row["run"]: (row["stage"], row["state"], row["step"]) for row in rows} == {
        "mine": ("sft", "interrupted", "step 2 of 9"),
        "demo/sft": ("sft", "done", "step 3 of 3"),
    }


def test_what_a_failed_run_said_is_shown_with_its_alarms(command, tmp_path):
    run = a_run(tmp_path / "data" / "mine", "failed", message="the disk is full")
    run.append("metrics.jsonl", {"step": 1, "loss": 2.5, "accuracy": None})
    run.append("events.jsonl", {"step": 1, "kind": "alarm", "name": "kl", "what": "KL is 30", "fix": "raise kl.coef"})
    shown = command("runs", "show", "mine").out
    assert f"{run.path}: failed\n  the disk is full\n" in shown
    assert "loss  2.5\n" in shown
    assert "alarm at step 1: KL is 30. raise kl.coef.\n" in shown


def test_one_damaged_run_does_not_hide_the_others(command, tmp_path):
    a_run(tmp_path / "data" / "mine", "done")
    (tmp_path / "data" / "broken").mkdir()
    (tmp_path / "data" / "broken" / "config.yaml").write_text("stage: nothing\n")
    ended = command("runs", "list")
    assert ended.code == 0
    assert "mine" in ended.out
    assert [line.split()[:2] for line in ended.out.splitlines() if line.startswith("broken")] == [["broken", "?"]]


def test_a_table_s_columns_are_as_wide_as_their_widest_cell(capsys):
    runs.table([["a", "long"], ["wider", "b"]])
    assert capsys.readouterr().out == "a      long\nwider  b\n"
