"""One thread that owns the model: requests wait in a queue, and those that wait together are scored together."""

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from appliance.ppo.memory import ChunkSize, Notice, in_chunks
from appliance.ppo.types import ScoreFn
from appliance.rewards._checked import checked
from appliance.serving.counters import Counters


class Busy(Exception):
    """More texts wait than the queue may hold."""


@dataclass(frozen=True)
class _Job:
    prompts: list[str]
    responses: list[str]
    scores: "Future[list[float]]"


class Scorer:
    """Scores texts with `source` on a thread of its own, at most `batch` of them at a time.

    What waits is taken together, so that many small requests cost few forwards; a score depends on its own text alone, to
    the model's rounding. At most `waiting` texts wait; a request that would be more is refused with Busy.
    """

    def __init__(self, source: ScoreFn, *, batch: int, waiting: int, counters: Counters, notice: Notice) -> None:
        self.source, self.batch, self.waiting, self.counters = source, batch, waiting, counters
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.texts, self.lock, self.closed = 0, threading.Lock(), False
        self.chunk = ChunkSize("scoring", batch, notice)
        self.thread = threading.Thread(target=self._work, name="scorer", daemon=True)
        self.thread.start()

    def submit(self, prompts: list[str], responses: list[str]) -> "Future[list[float]]":
        """The scores to come, one for each text. Raises Busy."""
        job = _Job(prompts, responses, Future())
        with self.lock:
            if self.closed or (self.texts and self.texts + len(responses) > self.waiting):
                raise Busy
            self.texts += len(responses)
            self.jobs.put(job)
        return job.scores

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        with self.lock:
            self.closed = True
            self.jobs.put(None)
        self.thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            taken = [self.jobs.get()]
            while taken[-1] is not None and sum(len(job.responses) for job in taken if job) < self.batch:
                try:
                    taken.append(self.jobs.get_nowait())
                except queue.Empty:
                    break
            last = taken[-1] is None
            jobs = [job for job in taken if job is not None]
            wanted = [job for job in jobs if job.scores.set_running_or_notify_cancel()]
            with self.lock:
                self.texts -= sum(len(job.responses) for job in jobs) - sum(len(job.responses) for job in wanted)
            if wanted:
                self._answer(wanted)

    def _answer(self, jobs: list[_Job]) -> None:
        prompts = [text for job in jobs for text in job.prompts]
        responses = [text for job in jobs for text in job.responses]
        began = time.perf_counter()
        try:
            scores = self._scores(prompts, responses)
        except Exception as error:  # the thread outlives whatever a model does with a text
            if len(jobs) > 1:
                for job in jobs:  # so that one request's text spoils no other's answer
                    self._answer([job])
                return
            jobs[0].scores.set_exception(error)
        else:
            start = 0
            for job in jobs:
                job.scores.set_result(scores[start : start + len(job.responses)])
                start += len(job.responses)
            self.counters.add("texts_total", len(responses))
        self.counters.add("batches_total")
        self.counters.add("scoring_seconds_total", time.perf_counter() - began)
        with self.lock:
            self.texts -= len(responses)

    def _scores(self, prompts: list[str], responses: list[str]) -> list[float]:
        def some(rows: torch.Tensor) -> torch.Tensor:
            chosen = rows.tolist()
            asked = [prompts[row] for row in chosen], [responses[row] for row in chosen]
            return checked(self.source(*asked), *asked)

        if not responses:
            return []
        found = in_chunks(some, torch.arange(len(responses)), self.chunk)
        return [float(score) for score in torch.cat(found).tolist()]
