"""The process of a run: `appliance train ... --resume` in a session of its own, which outlives the worker if need be."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.store.db import Store
from appliance.store.files import explained, write_text
from appliance.store.runs import EXAMPLE
from appliance.store.schema import Run
from appliance.worker import logs
from appliance.worker.identity import TOKEN, Identity, boot_id, kill_all, started


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, minus the signal's number, or None where nobody can know: it was not our child."""

    code: int | None


@dataclass
class Job:
    """A run's process: started by this worker, or taken over from one that died."""

    identity: Identity
    child: subprocess.Popen[bytes] | None = None

    def ended(self) -> Ended | None:
        """How it ended, or None while it runs."""
        if self.child is not None:
            code = self.child.poll()
            return None if code is None else Ended(code)
        return None if self.identity.alive() else Ended(None)

    def kill(self) -> None:
        """End it and every process that it started, at once."""
        kill_all(self.identity.token)
        if self.child is not None:
            self.child.wait()


def start(store: Store, run: Run, environ: Mapping[str, str]) -> Job:
    """Start the process of a run that was claimed. Raises ApplianceError when its files cannot be written.

    Config, folder and log are all it gets; its output goes to a file and not to a pipe, so that no reader can hold it up.
    """
    assert run.token is not None
    config, log = store.data / "queue" / f"{run.id}.yaml", logs.path_of(store.data, run.id)
    with explained(log):
        for folder in (config.parent, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(config, run.config)
        with log.open("ab") as output:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(store.clock()))
            output.write(f"{logs.ATTEMPT} at {when} ---\n".encode())
            output.flush()
            child = subprocess.Popen(
                command(run, config),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environ) | _environ(store, run.token),
                start_new_session=True,
            )
    began = started(child.pid)
    if began is None:  # it has ended already; the exit code says how
        began = -1.0
    return Job(Identity(child.pid, began, boot_id(), run.token), child)


def command(run: Run, config: Path) -> list[str]:
    """What an engineer would type."""
    if run.stage == EXAMPLE:
        return [sys.executable, "-m", "appliance", "demo", "--models-only", "--out", run.folder]
    program = [sys.executable, "-m", "appliance", "train", run.stage]
    return [*program, "--config", str(config), "--run-dir", run.folder, "--resume"]


def newest_checkpoint(folder: Path) -> str | None:
    """The name of a run's newest checkpoint; it tells whether there was progress."""
    found = [path.name for path in (folder / "checkpoints").glob("[!.]*") if path.is_dir()]
    return max(found, key=_numbers, default=None)


def _numbers(name: str) -> list[int]:
    digits = "".join(letter if letter.isdecimal() else " " for letter in name)
    return [int(part) for part in digits.split()]


def _environ(store: Store, token: str) -> dict[str, str]:
    return {
        TOKEN: token,
        "APPLIANCE_DATA": str(store.data),
        "APPLIANCE_PROGRESS": "off",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def failed_to_start(error: OSError) -> ApplianceError:
    """What a user is told when the machine could not start another process."""
    return ApplianceError(
        f"the process could not be started: {error}", "free memory or processes, then continue the run"
    )
