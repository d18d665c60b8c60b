"""Programs beside the page: begun in the background, one at a time in each lane, with a time limit; read from their files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from appliance.store.files import write_text

CHECKS = "checks"
"""The lane of what people wait for on the Start tab: nothing long goes into it."""

_lanes: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_begun = threading.Lock()
_alive: set[tuple[Path, str]] = set()
"""What is under way in this process: a server that was restarted begins again what had not ended."""


@dataclass(frozen=True)
class Job:
    """A program beside the page, as its files say: its lines so far, and its exit code and last words once it ended.

    `alive`: it waits or works, in this process or left over from a server that was restarted. What neither ended nor is
    alive was cut off.
    """

    lines: list[dict[str, Any]]
    ended: bool
    code: int | None
    said: str
    alive: bool = False


def begin(
    folder: Path,
    programs: Sequence[Sequence[str]],
    *,
    limit_s: float,
    wanted: str,
    lane: str = CHECKS,
    then: Callable[[int | None], None] | None = None,
) -> None:
    """Run programs one after the other in the background; `wanted` says for what, so that older results are not taken.

    Their lines go to out.jsonl, the rest to said.txt. One that was begun for the same is not begun again. Programs of one
    `lane` wait for each other. `then` is called with the exit code (None: it took too long) before it counts as ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _begun:
        if text_of(folder / "wanted") == wanted and ((folder, wanted) in _alive or (folder / "end.json").exists()):
            return
        _alive.add((folder, wanted))
        lock = _lanes[lane]
    for name in ("out.jsonl", "said.txt", "end.json", "process.json"):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "wanted", wanted)

    def work() -> None:
        try:
            with lock:
                _work(folder, programs, limit_s, wanted, then)
        finally:
            with _begun:
                _alive.discard((folder, wanted))

    threading.Thread(target=work, daemon=True, name=lane).start()


def _work(
    folder: Path,
    programs: Sequence[Sequence[str]],
    limit_s: float,
    wanted: str,
    then: Callable[[int | None], None] | None,
) -> None:
    code: int | None = 0
    for program in programs:
        if text_of(folder / "wanted") != wanted:  # the user chose something else meanwhile
            return
        code = _run(folder, program, limit_s)
        if code != 0:
            break
    if text_of(folder / "wanted") == wanted:
        try:
            if then is not None:
                then(code)
        finally:
            write_text(folder / "end.json", json.dumps({"code": code, "at": time.time()}))


def _run(folder: Path, program: Sequence[str], limit_s: float) -> int | None:
    """The exit code; None where it took too long."""
    environ = os.environ | {"APPLIANCE_PROGRESS": "off", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "out.jsonl").open("ab") as out, (folder / "said.txt").open("ab") as said:
        try:
            begun = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=out, stderr=said, env=environ)
        except OSError as error:
            said.write(str(error).encode())
            return 1
        with begun:
            try:
                made = {"pid": begun.pid, "created": psutil.Process(begun.pid).create_time()}
                write_text(folder / "process.json", json.dumps(made))
                return begun.wait(limit_s)
            except subprocess.TimeoutExpired:
                return None
            except psutil.NoSuchProcess:  # it has ended already
                return begun.wait()
            finally:
                begun.kill()  # does nothing to one that has ended


def _left_over(folder: Path) -> bool:
    """Whether the program that was begun last goes on: it may outlive a server that was killed."""
    try:
        kept = json.loads(text_of(folder / "process.json") or "")
        return bool(abs(psutil.Process(kept["pid"]).create_time() - kept["created"]) < 1.0)
    except (ValueError, KeyError, psutil.Error):
        return False


def job_of(folder: Path, wanted: str) -> Job | None:
    """What the programs for `wanted` have said; None where they were not begun."""
    if text_of(folder / "wanted") != wanted:
        return None
    lines = []
    for line in (text_of(folder / "out.jsonl") or "").split("\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            lines.append(found)
    end = text_of(folder / "end.json")
    code = json.loads(end)["code"] if end else None
    alive = end is None and ((folder, wanted) in _alive or _left_over(folder))
    return Job(lines, end is not None, code, (text_of(folder / "said.txt") or "")[-2000:], alive)


def digest(*texts: str) -> str:
    """A name for what a result belongs to."""
    return hashlib.sha256("\0".join(texts).encode(errors="replace")).hexdigest()


def program(*arguments: str) -> list[str]:
    """`appliance ...` as a program."""
    return [sys.executable, "-m", "appliance", *arguments]


def text_of(file: Path) -> str | None:
    """What is in the file; None where there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
