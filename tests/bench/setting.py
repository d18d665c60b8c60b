"""What every contender of the benchmark is given alike, and how they answer the driver. Standard library and torch only:
each contender runs this file under an interpreter of its own.
"""

import argparse
import importlib.metadata
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHASES = ("generate", "score", "evaluate", "update", "other")
"""What an iteration is split into; `other` is what the four leave: advantages, metrics, logs, and what a library adds."""

PACKAGES = ("rlhf-appliance", "trl", "torch", "transformers", "accelerate", "numpy")


@dataclass(frozen=True)
class Setting:
    """Sizes in sequences, lengths in tokens; the rest as in the PPO papers' sentiment example."""

    rollout: int = 128
    minibatch: int = 32
    epochs: int = 4
    prompt_tokens: tuple[int, int] = (2, 8)
    response_tokens: tuple[int, int] = (16, 24)
    kl_coef: float = 0.2
    kl_target: float = 6.0
    kl_horizon: int = 10_000
    clip: float = 0.2
    value_coef: float = 0.1
    gamma: float = 1.0
    lam: float = 0.95


SETTINGS = {"test": Setting(rollout=8, minibatch=4, epochs=2), "tiny": Setting(), "small": Setting()}


@dataclass(frozen=True)
class Task:
    """What one contender was told on its command line."""

    models: Path
    size: str
    learning_rate: float
    seed: int
    compute: str
    compiled: bool
    generation: str
    threads: int

    @property
    def setting(self) -> Setting:
        """The sizes for this model."""
        return SETTINGS[self.size]

    @property
    def policy(self) -> Path:
        """The policy's folder."""
        return self.models / self.size

    @property
    def classifier(self) -> Path:
        """The reward model's folder."""
        return self.models / "classifier"

    def prompts(self, kind: str = "train") -> list[list[int]]:
        """The `train` or `held_out` prompts as token ids."""
        ids: list[list[int]] = json.loads((self.models / "prompts.json").read_text(encoding="utf-8"))[kind]
        return ids


def read_task() -> Task:
    """The task on this process's command line; torch is set to use its threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path)
    parser.add_argument("size", choices=SETTINGS)
    parser.add_argument("--learning-rate", type=float, default=1.41e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compute", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--generation", default="batched", choices=("batched", "published"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    task = Task(**vars(parser.parse_args()))
    import torch

    torch.set_num_threads(task.threads)
    return task


def shuffled(prompts: list[list[int]], count: int, seed: int) -> Iterator[list[list[int]]]:
    """Endless batches of `count` prompts: each prompt once per epoch."""
    draw = random.Random(seed)
    queue: list[list[int]] = []
    while True:
        while len(queue) < count:
            queue += draw.sample(prompts, len(prompts))
        yield queue[:count]
        queue = queue[count:]


class Iteration:
    """The seconds of one iteration by phase, since it was made."""

    def __init__(self) -> None:
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        self.phases = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds what passes inside to the phase `name`."""
        began = time.perf_counter()
        yield
        self.phases[name] += time.perf_counter() - began

    def record(self, **figures: Any) -> dict[str, Any]:
        """The answer to `step`: seconds in all and by phase, CPU seconds, the process's peak memory, and `figures`."""
        seconds, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu_started
        phases = self.phases | {"other": seconds - sum(self.phases.values())}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"seconds": seconds, "cpu_seconds": cpu, "phases": phases, "peak_gib": peak, **figures}


class Gate:
    """One JSON line per command of the driver: `step`, `folder PATH`, `versions`. Libraries' prints go to stderr.

    `on_folder` saves the policy at PATH (or, in the evaluator, reads it) and returns the answer.
    """

    def __init__(self, on_folder: Callable[[Path], dict[str, Any]]) -> None:
        self.on_folder = on_folder
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def answer(self, record: dict[str, Any]) -> None:
        """Answer the command under way."""
        self.answers.write(json.dumps(record) + "\n")
        self.answers.flush()

    def wait(self) -> Iteration:
        """Returns when a step is asked for, its clock running. Ends the process when the driver has gone."""
        for line in iter(sys.stdin.readline, ""):
            command, _, argument = line.strip().partition(" ")
            if command == "step":
                return Iteration()
            if command == "folder":
                self.answer(self.on_folder(Path(argument)))
            elif command == "versions":
                self.answer(versions())
            else:
                raise SystemExit(f"unknown command {line!r}")
        raise SystemExit(0)


def versions() -> dict[str, str]:
    """The versions of PACKAGES that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
