"""One run, led from its process's start (or takeover) to its end: numbers copied, stop passed on, outcome entered."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from appliance.store import metrics, run_folders, runs
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.store.schema import Run
from appliance.worker import logs
from appliance.worker.identity import kill_all
from appliance.worker.job import Ended, Job, newest_checkpoint
from appliance.worker.outcome import Known, Outcome, outcome

BEAT_S = 5.0

GRACE_S = 120.0
"""From the wish to stop to the kill: a micro-batch and a checkpoint take less."""

MOST_ATTEMPTS = 2
"""In a row that end where they began; then it is no accident."""


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since boot."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


@dataclass
class Following:
    """A run at work. `turn` is called again and again; whatever it did not come to, the next call does."""

    store: Store
    run: Run
    job: Job
    monotonic: Callable[[], float]
    grace_s: float = GRACE_S
    read: metrics.Read = field(default_factory=dict)
    found: metrics.Place | None = None  # how far metrics.jsonl was when the process was started
    beat_at: float = float("-inf")
    told_to_stop_at: float | None = None
    killed: bool = False
    step: int = 0
    phase: str | None = None
    ooms: int = field(default_factory=oom_kills)

    def turn(self) -> bool:
        """Look after the run once; whether it is at work still. Raises OperationalError where the store fails."""
        ended = self.job.ended()
        self._copy()
        if ended is None:
            self._pass_on_stop()
            return True
        asked = runs.get(self.store, self.run.id).stop_asked is not None
        known = Known(
            pid=self.job.identity.pid,
            stop_asked=asked,
            killed_after_s=self.grace_s if self.killed else None,
            oom_killed=oom_kills() > self.ooms,
        )
        settle(self.store, self.run.id, ended, known)
        return False

    def ask(self) -> None:
        """Ask the process to write a checkpoint and end; only the first time counts."""
        if self.told_to_stop_at is None:
            self.told_to_stop_at = self.monotonic()
            self.job.identity.send(signal.SIGTERM)

    def _pass_on_stop(self) -> None:
        if self.told_to_stop_at is None:
            if runs.get(self.store, self.run.id).stop_asked is None:
                return
            self.ask()
            metrics.add_event(self.store, self.run.id, "asked to stop: finishes the micro-batch, then a checkpoint")
        elif not self.killed and self.monotonic() - self.told_to_stop_at > self.grace_s:
            self.killed = True
            self.job.kill()

    def _copy(self) -> None:
        """Bring the store up to what the run's folder says, and beat."""
        log = logs.path_of(self.store.data, self.run.id)
        logs.shorten(log)
        folder = RunDir(Path(self.run.folder))
        if not self.read and self.job.child is not None:
            self.found = metrics.place_of(folder)
        self.read = metrics.ingest(self.store, self.run.id, folder, self.read)
        status = _status(folder, self.job.identity.pid)
        begun = self.read.get("metrics.jsonl") != self.found
        step, phase = status.get("step", 0), phase_of(status, begun=begun, told="events.jsonl" in self.read)
        now = self.monotonic()
        moved = step != self.step
        if not moved and phase == self.phase and now - self.beat_at < BEAT_S:
            return
        known = {"phase": phase} | ({"step": step, "steps": status.get("steps", 0)} if step else {})
        if moved:
            known["last_step_at"] = self.store.clock()
        runs.beat(self.store, self.run.id, running=begun, **known)
        self.step, self.phase, self.beat_at = step, phase, now


def phase_of(status: dict[str, int], *, begun: bool, told: bool) -> str | None:
    """What a run does before its first numbers and after its last ones; None in between. told: it has said what it is."""
    if begun and status.get("steps") and status.get("step") == status.get("steps"):
        return "saving the model and writing the report"
    if begun:
        return None
    if not status:
        return "starting"
    return "first measurement" if told else "loading the models"


def settle(store: Store, run_id: int, ended: Ended, known: Known, *, worker_ends: bool = False) -> Outcome:
    """Enter what became of a run whose process is gone, and let nothing of it live on.

    One that was interrupted waits in the queue again, unless it is not to resume by itself, or has ended where it began
    twice in a row: then it has failed. So does one that stopped only because its worker ends (`worker_ends`).
    """
    run = runs.get(store, run_id)
    folder = RunDir(Path(run.folder))
    if run.token:
        kill_all(run.token)
    found = outcome(folder.path, logs.path_of(store.data, run_id), ended, known)
    metrics.ingest(store, run_id, folder)
    by_worker = worker_ends and not known.stop_asked and found.state in ("stopped", "interrupted")
    if run.resume_by_itself and (by_worker or (found.state == "interrupted" and known.killed_after_s is None)):
        found = _resume(store, run, found, by_worker=by_worker)
        if found.state == "queued":
            return found
    result = run_folders.result(folder) if found.state == "done" else None
    entered = runs.finish(
        store, run_id, found.state, message=found.message, fix=found.fix, cause=found.cause, result=result
    )
    if entered and found.message:
        metrics.add_event(store, run_id, f"{found.state}: {found.message}", fix=found.fix, step=run.step)
    return found


def _resume(store: Store, run: Run, found: Outcome, *, by_worker: bool) -> Outcome:
    newest = newest_checkpoint(Path(run.folder))
    attempts = 0 if newest != run.checkpoint else run.attempts - by_worker
    if attempts >= MOST_ATTEMPTS:
        said = f"{found.message}; {attempts} attempts in a row ended before a new checkpoint"
        return Outcome("failed", said, found.fix or "read the end of the log, then continue the run", found.cause)
    what = "the worker was stopped" if by_worker else found.message
    said = f"interrupted: {what}; it goes on {f'from {newest}' if newest else 'from the beginning'} by itself"
    if runs.requeue(store, run.id, said, attempts=attempts):
        metrics.add_event(store, run.id, said, step=run.step)
    return Outcome("queued", said, None, found.cause)


def _status(folder: RunDir, pid: int) -> dict[str, int]:
    try:
        found = folder.status()
    except (OSError, ValueError, KeyError):
        return {}
    return found if found.get("pid") == pid else {}
