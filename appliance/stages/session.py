"""A stage at work in its run folder: locked, its state written down, and asked to stop by Ctrl-C or SIGTERM."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from appliance import settings
from appliance.config.base import StageConfig
from appliance.errors import ApplianceError, StoppedByUser
from appliance.ppo.pieces import Stop
from appliance.store import rundir
from appliance.store.rundir import RunDir

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def open_run(config: StageConfig, folder: Path | None, *, resume: bool) -> RunDir:
    """The run folder to train in: a new one, or with `resume` the one that has begun there. Raises ApplianceError."""
    if resume and folder is not None and (folder / "config.yaml").exists() and RunDir(folder).has_begun():
        return rundir.open_existing(folder, config)
    return rundir.create(folder or free_folder(settings.read().data, config.name), config)


def free_folder(parent: Path, name: str) -> Path:
    """parent/name, or the first of parent/name-2, name-3, ... that does not exist."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


@contextmanager
def session(run: RunDir) -> Iterator[Stop]:
    """Holds the run's lock and keeps its status.json true, however the stage ends; yields what says that it should stop."""
    with run.locked(), _listening() as stop:
        run.set_status("running", **_so_far(run))
        try:
            yield stop
        except StoppedByUser as stopped:
            _note(run, "stopped", f"stopped by the user; checkpoint: {stopped.checkpoint}")
            raise
        except KeyboardInterrupt:
            _note(run, "stopped", "stopped by the user at once, without a new checkpoint")
            raise
        except ApplianceError as error:
            _note(run, "failed", str(error), type(error).__name__)
            raise
        except BaseException as error:
            _note(run, "failed", f"{type(error).__name__}: {error}", type(error).__name__)
            raise
        _note(run, "done", None)


def _so_far(run: RunDir) -> dict[str, Any]:
    known = run.status()
    return {key: known[key] for key in ("step", "steps") if key in known}


def _note(run: RunDir, state: str, message: str | None, error: str | None = None) -> None:
    with suppress(ApplianceError):  # on a full disk the error that led here says more
        more = {"message": message, "error": error}
        run.set_status(state, **_so_far(run), **{name: text for name, text in more.items() if text})


class _Flag:
    asked = False

    def __call__(self) -> bool:
        return self.asked

    def raise_it(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first time asks, the second Ctrl-C ends at once."""
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        print(
            f"\n{name}: finishing the micro-batch and writing a checkpoint (Ctrl-C again: quit now, without one)",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def _listening() -> Iterator[Stop]:
    flag = _Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag.raise_it) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
