"""What became of a run whose process is gone: from its exit code, its status.json and its log."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.cli.main import STOPPED
from appliance.store.causes import cause_of
from appliance.store.rundir import RunDir
from appliance.worker import logs
from appliance.worker.job import Ended

CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""A process sends these to itself: going on from the checkpoint would meet them again."""

FULL_BYTES = 2**20
"""With less room than this, a process that ended without a word had none to say it."""


@dataclass(frozen=True)
class Outcome:
    """The state, and for people: what happened, what to do, and the cause in one word."""

    state: str  # done, failed, stopped, interrupted
    message: str | None = None
    fix: str | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Known:
    """What the worker knows besides: whether a stop was asked for, whether it killed, whether memory ran out meanwhile."""

    pid: int | None
    stop_asked: bool = False
    killed_after_s: float | None = None
    oom_killed: bool = False


def outcome(folder: Path, log: Path, ended: Ended, known: Known) -> Outcome:
    """How the run ended. interrupted: its process is gone and did not say why, or could not."""
    status = _status(RunDir(folder), known.pid)
    state, code = status.get("state"), ended.code
    if state == "done" and code in (0, None):
        return Outcome("done")
    if state == "stopped" or code == STOPPED:
        said = str(status.get("message") or "stopped before the first checkpoint")
        return Outcome("stopped", said if known.stop_asked else f"{said} (asked for from outside the page)")
    if state == "failed" or (code is not None and code >= 0):
        return _failed(status, logs.last_words(logs.tail(log)), code, free_bytes=shutil.disk_usage(log.parent).free)
    return _gone(code, known)


def _gone(code: int | None, known: Known) -> Outcome:
    name = "killed" if code is None else f"killed by {signal.Signals(-code).name}"
    if known.killed_after_s is not None:
        said = (
            f"it did not stop within {known.killed_after_s:.0f} s and was killed; its last checkpoint is what is left"
        )
        return Outcome("interrupted", said, "continue it: it goes on from there")
    if known.stop_asked:
        return Outcome("stopped", "stopped before it could write a checkpoint; the one before is what is left")
    if code is not None and -code in CRASHES:
        fix = "read the end of the log; if it happens again, run `appliance preflight` on this machine"
        return Outcome("failed", f"the process died: {name}", fix, "crash")
    if known.oom_killed:
        said = "the process was killed because the machine's memory (not the GPU's) ran out"
        return Outcome("interrupted", said, "stop other programs, or use a smaller model or microbatch", "memory")
    return Outcome("interrupted", f"the process was {name} from outside, or the machine went down", None, "crash")


def _failed(status: dict[str, Any], said: logs.LastWords, code: int | None, *, free_bytes: int) -> Outcome:
    what, fix, error = said.what, said.fix, said.error
    if status.get("state") == "failed":
        what, _, own_fix = str(status.get("message") or "").partition("\n  fix: ")
        fix, error = own_fix or None, status.get("error") or error
    if not what and free_bytes < FULL_BYTES:
        what = f"the disk is full: {free_bytes / 2**20:.1f} MiB free, and not even the error could be written"
    if not what:
        what = f"the process ended with code {code} and no message"
    cause = cause_of(what, error)
    fix = fix or _FIXES.get(cause, "read the end of the log")
    return Outcome("failed", what, fix, cause)


_FIXES = {
    "memory": "try again with a smaller microbatch, or a smaller model",
    "disk": "free some room, then continue the run",
}


def _status(run: RunDir, pid: int | None) -> dict[str, Any]:
    """status.json, if it is of this process: one that failed before it came so far left the file of an earlier one."""
    try:
        found = run.status()
    except (OSError, ValueError, KeyError):
        return {}
    return found if pid is not None and found.get("pid") == pid else {}
