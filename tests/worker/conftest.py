"""A store, workers in this process and in processes of their own, real tiny runs, and jobs that only pretend to train."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.store import runs
from appliance.store.db import Store
from appliance.store.schema import Run
from appliance.worker import job
from appliance.worker.device import Owned
from appliance.worker.identity import kill_all
from appliance.worker.loop import Worker

PATIENCE_S = 120.0
"""A test that waits longer has failed; none needs a tenth of it."""

PRETENDER = Path(__file__).with_name("pretender.py")


class Monotonic:
    """The machine's monotonic clock, which a test may push on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def monotonic() -> Monotonic:
    """The monotonic clock of the workers in this process."""
    return Monotonic()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store in a data folder of its own. Whatever process a test leaves is killed."""
    data = tmp_path / "data"
    data.mkdir()
    made = Store(f"sqlite:///{data / 'appliance.db'}", data)
    made.migrate()
    yield made
    for run in runs.list_runs(made):
        if run.token:
            kill_all(run.token)
    made.close()


@pytest.fixture
def make_worker(store: Store, monotonic: Monotonic) -> Iterator[Callable[..., Worker]]:
    """make_worker(): a worker in this process; each after the first is what a restart would be."""
    made: list[Worker] = []

    def make(name: str = "cpu-test", **given: Any) -> Worker:
        made.append(Worker(store, Owned("cpu", name), monotonic=monotonic, tick_s=0.02, **given))
        return made[-1]

    yield make
    for worker in made:
        worker.desk.close()
        if worker.following is not None and worker.following.job.child is not None:
            worker.following.job.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    """until(condition, worker): the worker's turns until the condition holds."""

    def wait(condition: Callable[[], Any], worker: Worker | None = None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            if worker is not None:
                worker.turn()
            time.sleep(0.01)

    return wait


@pytest.fixture
def pretend(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """pretend("steps"): a queued run whose process is pretender.py with that behaviour."""
    monkeypatch.setattr(job, "command", lambda run, config: [sys.executable, str(PRETENDER), run.folder, run.name])
    config = {
        "stage": "ppo",
        "policy": {"model": "none"},
        "reward": {"source": "length"},
        "prompts": {"source": "none"},
    }

    def make(behaviour: str, **given: Any) -> Run:
        given = {"stage": "ppo", "owner_id": None, "key": None} | given
        return runs.enqueue(store, config_yaml=yaml.safe_dump(config), name=behaviour, **given)

    return make


@pytest.fixture(scope="session")
def tiny_yaml(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PPO config of twelve small steps, a checkpoint after each."""
    prompts = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    prompts.write_text("".join(f"w{row} w{row + 1}\n" for row in range(40)))
    return yaml.safe_dump(
        {
            "stage": "ppo",
            "name": "tiny",
            "device": "cpu",
            "policy": {"model": str(folder_of("gpt2"))},
            "reward": {"source": "keyword", "positive": ["w2"], "negative": ["w3"]},
            "prompts": {"source": str(prompts)},
            "sampling": {"response_tokens": [3, 6]},
            "batch": {"steps": 12, "rollout": 8, "minibatch": 4, "microbatch": 2},
            "optimizer": {"learning_rate": 1e-3},
            "evaluation": {"every_steps": 4, "prompts": 4, "report_prompts": 8, "report_samples": 2},
            "checkpoint": {"every_steps": 1},
            "alarms": {"ended_share": 0},
        }
    )


@pytest.fixture
def queue_tiny(store: Store, tiny_yaml: str) -> Callable[..., Run]:
    """queue_tiny(): a real run of `tiny_yaml`, queued."""

    def make(name: str = "tiny", **given: Any) -> Run:
        given = {"config_yaml": tiny_yaml, "stage": "ppo", "owner_id": None, "key": None} | given
        return runs.enqueue(store, name=name, **given)

    return make


@pytest.fixture
def worker_process(store: Store) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """worker_process(): `appliance worker --device cpu` in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {"APPLIANCE_DATA": str(store.data), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "appliance", "worker", "--device", "cpu", *more]
        log = (store.data / "worker.log").open("ab")
        with log:
            started.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
