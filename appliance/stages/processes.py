"""Several processes training one model: what torchrun, `accelerate launch` or a batch script says of them in RANK, WORLD_SIZE
and LOCAL_RANK. Process 0 owns the run folder; the others train along, and what they write is thrown away.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from appliance import settings
from appliance.errors import ConfigError
from appliance.store.rundir import RunDir


def world() -> int:
    """How many processes train together."""
    return settings.launched().world


def is_first() -> bool:
    """Whether this process owns the run folder."""
    return world() == 1 or settings.launched().rank == 0


@dataclass(frozen=True)
class FollowerDir(RunDir):
    """The run folder of a process that is not the first: a folder of its own, with the first one's checkpoints."""

    shared: Path

    @property
    def checkpoints(self) -> Path:
        """The first process's checkpoints: the trainer keeps each process's random state among them."""
        return self.shared / "checkpoints"


def follow(train: Callable[[RunDir], object], shared: Path) -> None:
    """Train along with the first process: the same steps, nothing shown, and what is written goes away afterwards."""
    os.environ["APPLIANCE_PROGRESS"] = "off"
    with tempfile.TemporaryDirectory(prefix="rlhf-process-", ignore_cleanup_errors=True) as folder:
        if (shared / "result.json").exists():  # a run that ended: nothing left to do here either
            shutil.copy(shared / "result.json", folder)
        with suppress(_Left):
            train(FollowerDir(Path(folder), shared))


class _Left(Exception):
    """This process has done its part."""


def leave_the_rest_to_the_first() -> None:
    """From here on nothing is done together: a process that is not the first ends here."""
    if not is_first():
        raise _Left


def accumulation(batch: int, microbatch: int) -> int:
    """Micro-batches of each process in one optimizer step. Raises ConfigError when they do not come out even."""
    if batch % (microbatch * world()):
        raise ConfigError(
            f"training.batch {batch} is no multiple of {world()} processes x training.microbatch {microbatch}",
            f"use training.batch {microbatch * world() * max(1, round(batch / (microbatch * world())))}, or fewer processes",
        )
    return batch // (microbatch * world())


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process says so; every process must ask, at the same step."""
    if not distributed.is_initialized():
        return flag
    told = torch.tensor(float(flag), device=device)
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return bool(told)
