"""The worker: owns a device, takes the oldest run that waits, leads it to its end, and answers questions in between."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import DBAPIError

from appliance.errors import ApplianceError
from appliance.store import datasets, metrics, questions, run_folders, runs, workers
from appliance.store.db import Store
from appliance.store.rundir import RunDir
from appliance.store.schema import Run
from appliance.worker.answering import AnswerDesk
from appliance.worker.device import Owned
from appliance.worker.following import BEAT_S, GRACE_S, Following, settle
from appliance.worker.identity import Identity, find
from appliance.worker.job import Ended, Job, failed_to_start, newest_checkpoint, start
from appliance.worker.outcome import Known

TICK_S = 1.0

WARM_TICK_S = 0.15
"""While models are loaded for answers: somebody may wait for one."""

SILENT_S = 120.0
"""Another worker's run is taken for dead when its heartbeat has not moved for so long by our own monotonic clock."""


class Worker:
    """One device's worker. `run` is the whole life of it; nothing that it knows is lost if it is killed."""

    def __init__(
        self,
        store: Store,
        owned: Owned,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self.store, self.owned, self.monotonic, self.tick_s, self.grace_s = store, owned, monotonic, tick_s, grace_s
        self.following: Following | None = None
        self.desk = AnswerDesk(store, owned, monotonic)
        self.asked_to_end = threading.Event()
        self.beat_at = float("-inf")
        self.settled_in = False
        self.others: dict[int, tuple[float | None, float]] = {}

    def run(self, *, once: bool = False) -> None:
        """Work until asked to end; with `once`, until nothing waits. A run at work is then stopped and queued again."""
        while not self.asked_to_end.is_set():
            worked = self._try(self.turn)
            if once and worked is False:
                break
            self.asked_to_end.wait(self.tick_s if self.desk.warm is None else min(self.tick_s, WARM_TICK_S))
        self._end()

    def turn(self) -> bool:
        """One round; whether there is or may be something to do."""
        if self.monotonic() - self.beat_at >= BEAT_S:
            self._look_around()
            self.beat_at = self.monotonic()
        if self.following is not None:
            if not self.following.turn():
                self._say(f"run {self.following.run.name}: {runs.get(self.store, self.following.run.id).state}")
                self.following = None
                return True  # the next turn takes the next run
        else:
            claimed = runs.claim(self.store, self.owned.worker_id, self.owned.takes)
            if claimed is not None:
                self._start(claimed)
        answering = self.desk.turn(training=None if self.following is None else self.following.run)
        return self.following is not None or answering

    def recover(self) -> None:
        """Take over the runs that the store says are ours and that nobody leads: after a worker died, or the store failed.

        The one that lives goes on; the others are settled.
        """
        for run in runs.list_runs(self.store, states=runs.ACTIVE):
            if run.worker_id != self.owned.worker_id:
                continue
            identity = identity_in(run)
            if identity is None or self.following is not None:
                self._say(f"run {run.name}: its process is gone")
                self._settle_gone(run)
            else:
                self._take_over(run, identity)

    def _take_over(self, run: Run, identity: Identity) -> None:
        self.following = self._follow(run, Job(identity))
        if run.pid is None:
            self._identify(run, identity)
        self._say(f"run {run.name}: taken over, process {identity.pid}")
        metrics.add_event(self.store, run.id, "the worker was restarted; the run went on meanwhile", step=run.step)

    def _settle_gone(self, run: Run) -> None:
        settle(self.store, run.id, Ended(None), Known(pid=run.pid, stop_asked=run.stop_asked is not None))

    def _start(self, run: Run) -> None:
        self.desk.make_room(run)
        try:
            job = start(self.store, run, self.owned.environ(os.environ))
        except (ApplianceError, OSError) as error:
            told = error if isinstance(error, ApplianceError) else failed_to_start(error)
            cause = "disk" if "disk" in told.what else "crash"
            runs.finish(self.store, run.id, "failed", message=told.what, fix=told.fix, cause=cause)
            return
        self.following = self._follow(run, job)
        self._identify(run, job.identity)
        self._say(f"run {run.name}: started, process {job.identity.pid}")

    def _follow(self, run: Run, job: Job) -> Following:
        return Following(self.store, run, job, self.monotonic, grace_s=self.grace_s, step=run.step)

    def _identify(self, run: Run, identity: Identity) -> None:
        known = {"pid": identity.pid, "pid_started": identity.started, "boot_id": identity.boot_id}
        runs.identify(self.store, run.id, checkpoint=newest_checkpoint(Path(run.folder)), **known)

    def _look_around(self) -> None:
        """What need not be done every second: beat, runs from the command line, runs that nobody leads any more."""
        me = {"host": socket.gethostname(), "pid": os.getpid(), "device": self.owned.device}
        workers.beat(self.store, self.owned.worker_id, **me)
        if not self.settled_in:
            run_folders.sweep(self.store)
            datasets.sweep(self.store)
            questions.put_back(self.store, self.owned.worker_id)
            self.settled_in = True
        for number in (*run_folders.adopt(self.store), *run_folders.refresh(self.store)):
            metrics.ingest(self.store, number, run_folders.of(self.store, number))
        if self.following is None:
            self.recover()
        self._settle_orphans()

    def _settle_orphans(self) -> None:
        """Runs whose worker fell silent. Its clock and ours may differ, or jump: only whether its beat moves counts."""
        now = self.monotonic()
        foreign = {
            run.id: run
            for run in runs.list_runs(self.store, states=runs.ACTIVE)
            if run.worker_id not in (None, self.owned.worker_id)
        }
        seen = {
            number: self.others[number]
            if number in self.others and self.others[number][0] == run.heartbeat
            else (run.heartbeat, now)
            for number, run in foreign.items()
        }
        self.others = seen
        for number, (_, since) in seen.items():
            run = foreign[number]
            led = RunDir(Path(run.folder)).status()["state"] == "running" or identity_in(run) is not None
            if now - since > SILENT_S and not led:
                self._settle_gone(run)

    def _end(self) -> None:
        """Stop the run at work with a checkpoint and put it back into the queue, for the worker that comes next."""
        self.desk.close()
        following, self.following = self.following, None
        if following is not None:
            self._say(f"run {following.run.name}: writing a checkpoint")
            following.ask()
            while following.job.ended() is None and not self._out_of_patience(following):
                time.sleep(min(self.tick_s, 0.2))
            self._try(lambda: self._give_back(following))
        self._try(lambda: workers.leave(self.store, self.owned.worker_id))

    def _out_of_patience(self, following: Following) -> bool:
        assert following.told_to_stop_at is not None
        if self.monotonic() - following.told_to_stop_at <= self.grace_s:
            return False
        following.job.kill()
        return True

    def _give_back(self, following: Following) -> None:
        run = runs.get(self.store, following.run.id)
        known = Known(pid=following.job.identity.pid, stop_asked=run.stop_asked is not None)
        settle(self.store, run.id, following.job.ended() or Ended(None), known, worker_ends=True)

    def _try(self, work: Callable[[], bool | None]) -> bool | None:
        """Do it; a store that fails for a while (a full disk, a server that restarts) is tried again at the next turn."""
        try:
            return work()
        except DBAPIError as error:
            self._say(f"the store cannot be used, trying again: {' '.join(str(error.orig).split())}")
            return None

    def _say(self, text: str) -> None:
        print(f"worker {self.owned.device}: {text}", file=sys.stderr, flush=True)


def identity_in(run: Run) -> Identity | None:
    """The living process of a run, or None. A worker that died before it could enter the number left the token."""
    if run.token is None:
        return None
    if run.pid is None or run.pid_started is None or run.boot_id is None:
        return find(run.token)
    identity = Identity(run.pid, run.pid_started, run.boot_id, run.token)
    return identity if identity.alive() else None


def listen(worker: Worker) -> None:
    """SIGTERM and Ctrl-C end the worker after its run has written a checkpoint; a second one no longer waits for that."""

    def end(number: int, frame: FrameType | None) -> None:
        if worker.asked_to_end.is_set():
            worker.grace_s = 0.0
        worker.asked_to_end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
