"""Several processes training one model: two real ones on this CPU, and the arithmetic of the batch."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from appliance.errors import ConfigError
from appliance.stages.processes import accumulation, any_of


def test_the_batch_is_shared_among_the_processes(monkeypatch: pytest.MonkeyPatch):
    assert accumulation(32, 4) == 8
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert accumulation(32, 4) == 4  # 2 processes x 4 micro-batches x 4 rows
    with pytest.raises(ConfigError, match="no multiple of 2 processes"):
        accumulation(4, 4)


def test_a_process_alone_asks_nobody():
    assert any_of(True, torch.device("cpu"))
    assert not any_of(False, torch.device("cpu"))


@pytest.fixture
def recipe(tmp_path: Path, folder_of: Callable[[str], Path]) -> Path:
    model = shutil.copytree(folder_of("gpt2"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text())  # no dropout, whose random numbers are each process's own
    (model / "config.json").write_text(json.dumps(config | {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}))
    (tmp_path / "texts.txt").write_text("\n".join(f"a b c d{i % 7} e f g {i}" for i in range(60)))
    made = {
        "stage": "sft",
        "name": "two",
        "policy": {"model": str(model)},
        "data": {"source": str(tmp_path / "texts.txt")},
        "training": {"max_steps": 4, "batch": 8, "microbatch": 4, "max_length_tokens": 16},
    }
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(made))
    return tmp_path / "sft.yaml"


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def start(stage: str, *options: str, processes: int = 2) -> list[subprocess.Popen[str]]:
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "appliance", "train", stage, *options]
    return [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]


def ended(running: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    outputs = [process.communicate(timeout=120)[0] for process in running]
    return [(process.returncode, output) for process, output in zip(running, outputs, strict=True)]


def test_two_processes_train_one_run(recipe: Path, tmp_path: Path):
    pair = ended(start("sft", "--config", str(recipe), "--run-dir", str(tmp_path / "two")))
    assert [code for code, _ in pair] == [0, 0], pair
    assert "model:" in pair[0][1]
    assert "model:" not in pair[1][1]
    (alone,) = ended(start("sft", "--config", str(recipe), "--run-dir", str(tmp_path / "one"), processes=1))
    assert alone[0] == 0, alone[1]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [row["num_tokens"] for row in two] == [row["num_tokens"] for row in one]  # the same rows in each step
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=1e-4)
    models = [load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two")]
    assert max(float((models[0][key] - models[1][key]).abs().max()) for key in models[0]) < 1e-5


def test_two_processes_train_a_reward_model_and_the_first_reports(recipe: Path, tmp_path: Path):
    made = yaml.safe_load(recipe.read_text())
    pairs = [{"prompt": f"a{i}", "chosen": f" b c {i}", "rejected": f" d e {i}"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    made |= {"stage": "reward", "model": made.pop("policy"), "data": {"source": str(tmp_path / "pairs.jsonl")}}
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump(made))
    pair = ended(start("reward", "--config", str(tmp_path / "reward.yaml"), "--run-dir", str(tmp_path / "run")))
    assert [code for code, _ in pair] == [0, 0], pair
    assert (tmp_path / "run/report/report.html").exists()
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_signal_to_one_process_stops_both_at_the_same_step_and_they_go_on(recipe: Path, tmp_path: Path):
    run = tmp_path / "run"
    long = ["--set", "training.max_steps=300", "--set", "training.epochs=100"]
    running = start("sft", "--config", str(recipe), "--run-dir", str(run), *long)
    for _ in range(600):
        if (run / "metrics.jsonl").exists():
            break
        time.sleep(0.1)
    running[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(running)] == [130, 130]
    (checkpoint,) = (run / "checkpoints").glob("checkpoint-*")
    assert {file.name for file in checkpoint.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    pair = ended(start("sft", "--run-dir", str(run), "--resume"))
    assert [code for code, _ in pair] == [0, 0], pair
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    pair = ended(start("sft", "--run-dir", str(run), "--resume"))  # nothing is left to do, for either
    assert [code for code, _ in pair] == [0, 0], pair


def test_ppo_and_a_run_without_a_folder_are_refused(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from click.testing import CliRunner

    from appliance.cli.train import train

    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(train, ["sft", "--config", str(recipe)])
    assert refused.exit_code == 2
    assert "--run-dir" in refused.output
