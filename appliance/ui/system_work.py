"""Long work that an admin begins: one of a kind at a time, done by a program beside the page, told from files.

Whoever opens the page later sees it: at work, since when and begun by whom; how it ended; or that it was cut off.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from appliance.store.db import Store
from appliance.store.files import read_json, write_json
from appliance.store.users import Member
from appliance.ui.markdown import plain
from appliance.ui.starting_programs import Job, begin, job_of, text_of

FOLDER = ".system"
"""In the data folder; in no backup."""

State = Literal["at work", "ended", "cut off"]

_beginning = threading.Lock()


@dataclass(frozen=True)
class Work:
    """One piece of work: who began it and when (seconds since 1970), what it makes, and its program."""

    by: str
    at: float
    makes: str
    job: Job
    out: str

    @property
    def state(self) -> State:
        """How far it is."""
        return "ended" if self.job.ended else "at work" if self.job.alive else "cut off"

    @property
    def begun(self) -> str:
        """ "14:03:22 on 2026-11-21 by anna", for Markdown."""
        return f"{datetime.fromtimestamp(self.at):%H:%M:%S on %Y-%m-%d} by {plain(self.by)}"

    @property
    def why(self) -> str:
        """What its program said of its failure, and the fix, as sentences for Markdown."""
        if self.job.code is None:
            return "It took too long and was ended. Look at how busy the machine and its disk are, then start it again."
        lines = [line.strip() for line in self.job.said.splitlines() if line.strip()]
        errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        if not errors:
            last = lines[-1] if lines else f"its program ended with {self.job.code}"
            return f"{_sentence(last)} Start it again; if it stays, download the diagnostics."
        found = lines[errors[-1] :]
        fix = next((line.removeprefix("fix: ") for line in found if line.startswith("fix: ")), "start it again")
        return f"{_sentence(found[0].removeprefix('error: '))} *{_sentence(fix)}*"


def start(
    store: Store,
    kind: str,
    member: Member,
    program: Sequence[str],
    *,
    limit_s: float,
    makes: str = "",
    then: Callable[[int | None], None] | None = None,
) -> Work | None:
    """Begin work of a kind in the background; None when it was begun, else the work of this kind that is under way."""
    with _beginning:
        found = _last(store, kind)
        if found is not None and found.state == "at work":
            return found
        folder, wanted = folder_of(store, kind), uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        about = {"wanted": wanted, "by": member.name, "at": store.clock(), "makes": makes}
        write_json(folder / "about.json", about)
        begin(folder, [program], limit_s=limit_s, wanted=wanted, lane=f"{store.data} {kind}", then=then)
        return None


def last(store: Store, kind: str) -> Work | None:
    """The work of this kind that was begun last; None where there was none."""
    with _beginning:
        return _last(store, kind)


def _last(store: Store, kind: str) -> Work | None:
    folder = folder_of(store, kind)
    about = read_json(folder / "about.json")
    if about is None:
        return None
    job = job_of(folder, about["wanted"]) or Job([], False, None, "")  # a crash came between the two files
    return Work(about["by"], about["at"], about["makes"], job, text_of(folder / "out.jsonl") or "")


def folder_of(store: Store, kind: str) -> Path:
    """Where the files of a kind of work are."""
    return store.data / FOLDER / kind


def _sentence(text: str) -> str:
    words = plain(text)
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
