"""Tiny runs for the end-to-end tests, and the command line in processes of its own that may be killed at any point."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from appliance.cli import main
from appliance.config import PpoConfig, parse
from appliance.config.load import STAGES
from appliance.store import rundir
from appliance.store.rundir import RunDir

GOOD = [f"w{i}" for i in range(0, 94, 2)]
BAD = [f"w{i}" for i in range(1, 94, 2)]


class Ended(NamedTuple):
    """How a process ended: its exit code, or minus the signal's number; what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty different prompts of one to five words."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    lines = [" ".join(f"w{(7 * row + 3 * word) % 94}" for word in range(1 + row % 5)) for row in range(60)]
    assert len(set(lines)) == 60
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.fixture(scope="session")
def tiny_values(folder_of: Callable[[str], Path], prompts_file: Path) -> Callable[..., dict[str, Any]]:
    """tiny_values(section={...}): the values of a PPO config of four steps; a section's keys replace its own."""

    def make(**sections: Any) -> dict[str, Any]:
        values: dict[str, Any] = {
            "stage": "ppo",
            "name": "tiny",
            "device": "cpu",
            "policy": {"model": str(folder_of("gpt2"))},
            "reward": {"source": "keyword", "positive": GOOD, "negative": BAD},
            "prompts": {"source": str(prompts_file)},
            "sampling": {"response_tokens": [3, 6]},
            "batch": {"steps": 4, "rollout": 8, "minibatch": 4, "microbatch": 2},
            "ppo": {"epochs": 2},
            "kl": {"coef": 0.05},
            "optimizer": {"learning_rate": 1e-3},
            "evaluation": {"every_steps": 2, "prompts": 4, "report_prompts": 8, "report_samples": 2},
            "checkpoint": {"every_steps": 1},
            "alarms": {"ended_share": 0},
        }
        for name, section in sections.items():
            keep = isinstance(section, dict) and name != "reward"
            values[name] = values.get(name, {}) | section if keep else section
        return values

    return make


@pytest.fixture(scope="session")
def tiny(tiny_values: Callable[..., dict[str, Any]]) -> Callable[..., PpoConfig]:
    """tiny(section={...}): the checked config of `tiny_values`."""

    def make(**sections: Any) -> PpoConfig:
        config = parse(tiny_values(**sections), origin="tiny.yaml")
        assert isinstance(config, STAGES["ppo"])
        return config  # type: ignore[return-value]

    return make


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    """appliance("train", "ppo", ..., at={...}): the command line in a fork of one process (see forked.py)."""
    place = tmp_path_factory.mktemp("processes")
    out, err = place / "out", place / "err"
    environ = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "APPLIANCE_DATA": str(place),
    }
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forked.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def run(*argv: str, at: dict[str, Any] | None = None) -> Ended:
        job = {"argv": argv, "at": at, "out": str(out), "err": str(err)}
        print(json.dumps(job), file=server.stdin, flush=True)
        code = json.loads(server.stdout.readline())
        return Ended(code, out.read_text(), err.read_text())

    yield run
    server.stdin.close()
    server.wait(timeout=20)
    server.stdout.close()


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """write_config(values): the path of a YAML file that holds them."""

    def write(values: dict[str, Any]) -> str:
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values))
        return str(file)

    return write


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """command("train", "ppo", ...): the command line in this process, where a test may have replaced something."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "appliance-data"))

    def run(*argv: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["appliance", *argv])
        with pytest.raises(SystemExit) as end:
            main.main()
        return Ended(end.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def finish(tmp_path: Path) -> Callable[..., tuple[RunDir, dict[str, Any]]]:
    """finish(config, "name"): a PPO run of the config to its end in this process; its folder and its report."""

    def run(config: PpoConfig, name: str = "run") -> tuple[RunDir, dict[str, Any]]:
        from appliance.stages import ppo

        made = rundir.create(tmp_path / name, config)
        return made, ppo.run(config, made)

    return run
