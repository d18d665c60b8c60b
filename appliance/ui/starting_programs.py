"""Short programs beside the page: begun in the background, one at a time, with a time limit; read from their files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.store.files import write_text

_one_at_a_time = threading.Lock()
_begun = threading.Lock()
_alive: set[str] = set()
"""What is under way in this process: a server that was restarted begins again what had not ended."""


@dataclass(frozen=True)
class Job:
    """A program beside the page, as its files say: its lines so far, and its exit code and last words once it ended."""

    lines: list[dict[str, Any]]
    ended: bool
    code: int | None
    said: str


def begin(folder: Path, programs: Sequence[Sequence[str]], *, limit_s: float, wanted: str) -> None:
    """Run programs one after the other in the background; `wanted` says for what, so that older results are not taken.

    Their lines go to out.jsonl, the rest to said.txt. One that was begun for the same is not begun again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _begun:
        if text_of(folder / "wanted") == wanted and (wanted in _alive or (folder / "end.json").exists()):
            return
        _alive.add(wanted)
    for name in ("out.jsonl", "said.txt", "end.json"):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "wanted", wanted)
    threading.Thread(target=_worked, args=(folder, programs, limit_s, wanted), daemon=True, name="checks").start()


def _worked(folder: Path, programs: Sequence[Sequence[str]], limit_s: float, wanted: str) -> None:
    try:
        _work(folder, programs, limit_s, wanted)
    finally:
        with _begun:
            _alive.discard(wanted)


def _work(folder: Path, programs: Sequence[Sequence[str]], limit_s: float, wanted: str) -> None:
    environ = os.environ | {"APPLIANCE_PROGRESS": "off", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    code: int | None = 0
    with _one_at_a_time:
        for program in programs:
            if text_of(folder / "wanted") != wanted:  # the user chose something else meanwhile
                return
            with (folder / "out.jsonl").open("ab") as out, (folder / "said.txt").open("ab") as said:
                try:
                    code = subprocess.run(
                        program,
                        check=False,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=said,
                        timeout=limit_s,
                        env=environ,
                    ).returncode
                except subprocess.TimeoutExpired:
                    code = None
                except OSError as error:
                    said.write(str(error).encode())
                    code = 1
            if code != 0:
                break
        if text_of(folder / "wanted") == wanted:
            write_text(folder / "end.json", json.dumps({"code": code, "at": time.time()}))


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
    return Job(lines, end is not None, code, (text_of(folder / "said.txt") or "")[-2000:])


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
