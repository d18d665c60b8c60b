"""SIGTERM and Ctrl-C: the micro-batch is finished, a checkpoint written, and the run goes on later as if it never stopped."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

STOPPED = 130


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_values: Callable[..., dict[str, Any]], appliance: Callable[..., Any]
) -> tuple[str, Path]:
    """A config's path, and the folder of a run of it that nothing stopped."""
    root = tmp_path_factory.mktemp("whole")
    config = root / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny_values(checkpoint={"every_steps": 3})))
    ended = appliance("train", "ppo", "--config", str(config), "--run-dir", str(root / "run"))
    assert ended.code == 0, ended.err
    return str(config), root / "run"


def signals(function: str, when: str, call: int, *names: str) -> dict[str, Any]:
    """What `appliance` is told."""
    return {"function": function, "when": when, "call": call, "signals": list(names)}


MICROBATCH = "appliance.ppo.update:_microbatch"
"""Eight in a step, two epochs of two minibatches of two, and one before the first step that probes the memory."""


@pytest.mark.parametrize(
    ("name", "function", "when", "call", "checkpoint"),
    [
        ("SIGTERM", MICROBATCH, "after", 2, "step-000000"),  # the first of all
        ("SIGTERM", MICROBATCH, "before", 4, "step-000000+1"),
        ("SIGTERM", MICROBATCH, "after", 12, "step-000001+1"),  # the first of minibatch 2 of step 2: done again
        ("SIGINT", MICROBATCH, "after", 15, "step-000001+3"),
        ("SIGINT", MICROBATCH, "after", 5, "step-000000+2"),
        ("SIGTERM", "appliance.ppo.loop:measure_held_out", "before", 1, "step-000000"),
        ("SIGTERM", "appliance.ppo.loop:sample", "after", 1, "step-000000"),
        ("SIGINT", "appliance.ppo.loop:score", "before", 3, "step-000002"),
        ("SIGTERM", "appliance.ppo.journal:Journal.step", "before", 4, "step-000003"),
        ("SIGINT", "appliance.stages.ppo:export", "before", 1, "step-000004"),
    ],
)
def test_a_stopped_run_has_a_checkpoint_and_goes_on_to_the_same_bytes(
    name, function, when, call, checkpoint, whole, appliance, tmp_path
):
    config, finished = whole
    run = tmp_path / "run"
    at = signals(function, when, call, name)
    ended = appliance("train", "ppo", "--config", config, "--run-dir", str(run), at=at)
    assert ended.code == STOPPED, ended.err
    assert "finishing the micro-batch and writing a checkpoint" in ended.err
    assert (
        f"stopped. Its checkpoint: {run}/checkpoints/{checkpoint}\n  go on with: appliance train ppo --run-dir {run} --resume\n"
        in ended.err
    )
    assert "Traceback" not in ended.err
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "stopped"
    assert checkpoint in status["message"]

    ended = appliance("train", "ppo", "--run-dir", str(run), "--resume")
    assert ended.code == 0, ended.err
    for file in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "model/value_head.safetensors"):
        assert (run / file).read_bytes() == (finished / file).read_bytes(), file


def test_a_run_may_be_stopped_at_every_turn(whole, appliance, tmp_path):
    config, finished = whole
    run = tmp_path / "run"
    for call in (3, 3, 4, 5):
        ended = appliance(
            *("train", "ppo", "--config", config, "--run-dir", str(run), "--resume"),
            at=signals(MICROBATCH, "after", call, "SIGTERM"),
        )
        assert ended.code == STOPPED, ended.err
    assert appliance("train", "ppo", "--run-dir", str(run), "--resume").code == 0
    for file in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors"):
        assert (run / file).read_bytes() == (finished / file).read_bytes(), file


def test_a_second_ctrl_c_ends_at_once_and_leaves_the_last_checkpoint(whole, appliance, tmp_path):
    config, finished = whole
    run = tmp_path / "run"
    at = signals("appliance.ppo.loop:collect", "after", 4, "SIGINT", "SIGINT")
    ended = appliance("train", "ppo", "--config", config, "--run-dir", str(run), at=at)
    assert ended.code == STOPPED
    assert "stopped at once; the last checkpoint is what is left" in ended.err
    assert "Traceback" not in ended.err
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-000003"]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["message"]) == ("stopped", "stopped by the user at once, without a new checkpoint")
    assert appliance("train", "ppo", "--run-dir", str(run), "--resume").code == 0
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_a_second_sigterm_changes_nothing(whole, appliance, tmp_path):
    at = signals(MICROBATCH, "after", 3, "SIGTERM", "SIGTERM")
    ended = appliance("train", "ppo", "--config", whole[0], "--run-dir", str(tmp_path / "run"), at=at)
    assert ended.code == STOPPED
    assert re.search(r"checkpoints/step-000000\+1$", ended.err, re.MULTILINE)


def test_what_a_resumed_run_says_stands_at_the_step_where_it_went_on(whole, appliance, tmp_path):
    run = tmp_path / "run"
    at = signals("appliance.ppo.loop:collect", "after", 3, "SIGTERM")
    appliance(
        "train", "ppo", "--config", whole[0], "--run-dir", str(run), "--resume", at=at
    )  # there is none: it begins
    appliance("train", "ppo", "--run-dir", str(run), "--resume")
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    notices = [(event["step"], event["what"]) for event in events if event["kind"] == "notice"]
    assert [step for step, what in notices if "prompts to train on" in what] == [0]  # said once, and not lost
    assert [step for step, what in notices if what.startswith("going on after step 2")] == [2]
