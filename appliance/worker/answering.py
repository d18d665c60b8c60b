"""Answers to "try your own prompt": the models of the last run that was asked about stay loaded in a process beside."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.store import questions, runs
from appliance.store.db import Store
from appliance.store.schema import Question, Run
from appliance.worker import logs, room
from appliance.worker.device import Owned

IDLE_S = 600.0
"""Models that nobody asked anything of for so long are let go."""

WAITS = "waiting: a training is running, and the models do not fit beside it; the answer comes when it ends"


@dataclass
class _Warm:
    """A process with the models of one run."""

    run_id: int
    process: subprocess.Popen[bytes]
    used_at: float
    question: Question | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    unread: bytes = b""


class AnswerDesk:
    """Takes questions from the store, one at a time. Never beside a training that would not fit."""

    def __init__(self, store: Store, owned: Owned, monotonic: Callable[[], float], *, idle_s: float = IDLE_S) -> None:
        self.store, self.owned, self.monotonic, self.idle_s = store, owned, monotonic, idle_s
        self.warm: _Warm | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for what is being written."""
        return self.warm is not None and self.warm.question is not None

    def turn(self, *, training: Run | None) -> bool:
        """One round; whether a question is being answered."""
        if self.warm is not None:
            self._listen(self.warm)
        if self.busy:
            return True
        question = questions.oldest(self.store)
        if question is None:
            if self.warm is not None and self.monotonic() - self.warm.used_at > self.idle_s:
                self.close()
            return False
        return self._take(question, training)

    def make_room(self, run: Run) -> None:
        """A training is about to start: let the models go if it would not fit beside them."""
        if self.warm is not None and not self._fits(room.training_bytes(run.config)):
            self.close()

    def close(self) -> None:
        """Let the models go; a question that is not answered yet waits again."""
        warm, self.warm = self.warm, None
        if warm is None:
            return
        warm.process.kill()
        warm.process.wait()
        for pipe in (warm.process.stdin, warm.process.stdout):
            if pipe is not None:
                pipe.close()
        if warm.question is not None:
            questions.put_back(self.store, self.owned.worker_id)

    def _take(self, question: Question, training: Run | None) -> bool:
        if self.warm is None or self.warm.run_id != question.run_id:
            run = runs.get(self.store, question.run_id)
            self.close()
            if training is not None and not self._fits(room.answering_bytes(Path(run.folder))):
                if question.message != WAITS:
                    questions.waits(self.store, question.id, WAITS)
                return False
            needed, free = room.answering_bytes(Path(run.folder)), room.available_bytes()
            if self.owned.device == "cpu" and needed > free:
                said = f"both models need about {needed / room.GIB:.1f} GiB of memory, {free / room.GIB:.1f} are free"
                questions.fail(self.store, question.id, said)
                return True
            self.warm = self._open(run)
        if questions.take(self.store, question.id, self.owned.worker_id):
            self.warm.question, self.warm.answer = question, {}
            self._send(self.warm, {"id": question.id, "prompt": question.prompt})
        return True

    def _fits(self, needed: int) -> bool:
        """Beside a training: on a GPU nobody can say, so never; on a CPU if the memory is there."""
        return self.owned.device == "cpu" and needed <= room.available_bytes()

    def _open(self, run: Run) -> _Warm:
        log = self.store.data / "logs" / "answers.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        logs.shorten(log)
        with log.open("ab") as said:
            process = subprocess.Popen(
                command(run),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | self.owned.environ(os.environ) | {"APPLIANCE_DATA": str(self.store.data)},
                start_new_session=True,
            )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return _Warm(run.id, process, self.monotonic())

    def _send(self, warm: _Warm, message: dict[str, Any]) -> None:
        assert warm.process.stdin is not None
        try:
            warm.process.stdin.write(json.dumps(message).encode() + b"\n")
            warm.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead, which `_listen` will find
        warm.used_at = self.monotonic()

    def _listen(self, warm: _Warm) -> None:
        dead = warm.process.poll() is not None  # before reading: what it said at its end is not missed
        for message in self._messages(warm):
            self._hear(warm, message)
        if dead and self.warm is warm:
            self._fail(warm, "the process with the models died (logs/answers.log says why); ask again")
            self.close()

    def _messages(self, warm: _Warm) -> list[dict[str, Any]]:
        assert warm.process.stdout is not None
        while True:
            piece = os.read(warm.process.stdout.fileno(), 65536) if _readable(warm.process.stdout.fileno()) else b""
            if not piece:
                break
            warm.unread += piece
        *lines, warm.unread = warm.unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def _hear(self, warm: _Warm, message: dict[str, Any]) -> None:
        question = warm.question
        if "error" in message:
            self._fail(warm, str(ApplianceError(message["error"], message["fix"])))
            return
        if question is None or message.get("id") != question.id:
            return
        warm.used_at = self.monotonic()
        told = {name: message[name] for name in ("text", "seconds", "finished")}
        warm.answer[message["side"]] = told
        if len(warm.answer) == 2 and all(side["finished"] for side in warm.answer.values()):
            questions.answer(self.store, question.id, dict(warm.answer))
            warm.question = None
        else:
            questions.partial(self.store, question.id, dict(warm.answer))

    def _fail(self, warm: _Warm, why: str) -> None:
        if warm.question is not None:
            questions.fail(self.store, warm.question.id, why)
            warm.question = None


def command(run: Run) -> list[str]:
    """The program that holds a run's two models."""
    return [sys.executable, "-m", "appliance.worker.answers", run.folder]


def _readable(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])
