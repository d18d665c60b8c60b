"""A run that is killed at any point and resumed writes the same metrics.jsonl and the same model, byte for byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

KILLED = -9

POINTS: dict[str, tuple[str, str, int]] = {
    # four steps with a checkpoint after each; call 1 of the held-out evaluation comes before the first step
    "before any step": ("appliance.ppo.loop:measure_held_out", "before", 1),
    "before the first checkpoint": ("appliance.ppo.checkpoint:write", "before", 1),
    "after a checkpoint": ("appliance.ppo.checkpoint:write", "after", 2),
    "between a checkpoint's files": ("appliance.ppo.checkpoint:save_file", "after", 5),  # three files in each
    "between the files and their rename": ("appliance.store.files:_sync", "before", 9),  # six syncs in each
    "while old checkpoints are removed": ("appliance.ppo.checkpoint:prune", "before", 3),
    "between a step's samples and its metrics": ("appliance.store.rundir:RunDir.append", "after", 27),  # of 30
    "after a step's metrics": ("appliance.ppo.journal:Journal.step", "after", 4),
    "in the middle of an update": ("appliance.ppo.update:_step", "before", 7),  # four optimizer steps in each
    "after an optimizer step": ("appliance.ppo.update:_step", "after", 10),
    "while sampling": ("appliance.ppo.loop:sample", "after", 3),
    "in the held-out evaluation": ("appliance.ppo.held_out:score", "before", 3),
    "before the export": ("appliance.stages.ppo:export", "before", 1),
    "in the export": ("appliance.stages.export:save_model", "after", 1),
    "before the report": ("appliance.stages.ppo:evaluate", "before", 1),
    "in the report": ("appliance.stages.evaluation:write_card", "before", 1),
}


def kill_at(point: str) -> dict[str, Any]:
    """What `appliance` is told."""
    function, when, call = POINTS[point]
    return {"function": function, "when": when, "call": call, "signals": ["SIGKILL"]}


def results(run: Path) -> dict[str, Any]:
    """What must not depend on how often a run was killed."""
    report = json.loads((run / "report" / "report.json").read_text())
    return {
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "samples": (run / "samples.jsonl").read_bytes(),
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "value head": (run / "model" / "value_head.safetensors").read_bytes(),
        "reward": report["mean_reward"],
        "checkpoints": sorted(folder.name for folder in (run / "checkpoints").iterdir()),
    }


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_values: Callable[..., dict[str, Any]], appliance: Callable[..., Any]
) -> Callable[[str], tuple[str, dict[str, Any]]]:
    """whole("lora"): a config's path, and the results of a run of it that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    made: dict[str, tuple[str, dict[str, Any]]] = {}

    def get(train: str) -> tuple[str, dict[str, Any]]:
        if train not in made:
            config = root / f"{train}.yaml"
            config.write_text(yaml.safe_dump(tiny_values(policy={"train": train, "top_layers": 1})))
            ended = appliance("train", "ppo", "--config", str(config), "--run-dir", str(root / train))
            assert ended.code == 0, ended.err
            made[train] = str(config), results(root / train)
        return made[train]

    return get


def check(appliance: Callable[..., Any], config: str, run: Path, kills: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of a run that is killed at each of `kills` in turn."""
    for kill in kills:
        ended = appliance("train", "ppo", "--config", config, "--run-dir", str(run), "--resume", at=kill)
        assert ended.code == KILLED, ended.err
    assert not kills or json.loads((run / "status.json").read_text())["state"] == "running"  # nobody could say more
    ended = appliance("train", "ppo", "--run-dir", str(run), "--resume")
    assert ended.code == 0, ended.err
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    left_over = [p.name for p in run.rglob(".*") if p.name.endswith((".tmp", ".old"))]
    assert left_over == []
    return results(run)


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_once_ends_as_if_nothing_had_been(point, whole, appliance, tmp_path):
    config, expected = whole("full")
    assert check(appliance, config, tmp_path / "run", [kill_at(point)]) == expected


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(train, whole, appliance, tmp_path):
    config, expected = whole(train)
    kills = [
        kill_at("before the first checkpoint"),
        kill_at("in the middle of an update"),  # of step 2
        kill_at("between the files and their rename"),  # of the second checkpoint from here on: step 3
        kill_at("in the held-out evaluation") | {"call": 1},  # of step 3
        kill_at("in the export"),
    ]
    assert check(appliance, config, tmp_path / "run", kills) == expected


def test_a_compiled_run_ends_as_if_nothing_had_been_too(compiler, tiny_values, appliance, tmp_path):
    config = tmp_path / "compiled.yaml"
    config.write_text(yaml.safe_dump(tiny_values(compile=True)))
    ended = appliance("train", "ppo", "--config", str(config), "--run-dir", str(tmp_path / "whole"))
    assert ended.code == 0, ended.err
    said = (tmp_path / "whole" / "events.jsonl").read_text()
    assert "cpu, fp32, compiled, engine compiled" in said
    kills = [kill_at("in the middle of an update")]
    assert check(appliance, str(config), tmp_path / "run", kills) == results(tmp_path / "whole")


def test_a_checkpoint_that_was_damaged_on_disk_is_passed_over_for_the_one_before(whole, appliance, tmp_path):
    config, expected = whole("full")
    run = tmp_path / "run"
    stop = {"function": "appliance.ppo.loop:collect", "when": "before", "call": 4, "signals": ["SIGKILL"]}
    appliance("train", "ppo", "--config", config, "--run-dir", str(run), at=stop)
    damaged = run / "checkpoints" / "step-000003" / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8])
    assert check(appliance, config, run, []) == expected
    said = [json.loads(line)["what"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert any("step-000003/weights.safetensors is damaged: going on from the checkpoint before it" in w for w in said)
