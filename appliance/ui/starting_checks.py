"""Checks of a training before it starts, and scores tried on a text: what programs beside the page find, and the list of it.

Nothing here is loaded into the serving process. What the programs say goes to files in the user's drafts folder, which
the page reads again and again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from appliance.plan import files
from appliance.store import runs
from appliance.store.db import Store
from appliance.store.files import size_text, write_text
from appliance.ui.markdown import plain
from appliance.ui.starting_config import Built
from appliance.ui.starting_programs import Job, begin, digest, job_of, program, text_of
from appliance.ui.starting_size import EXAMPLE_DISK, EXAMPLE_MEMORY, disk_bytes
from appliance.worker import room

LIMIT_S = 300.0
TRYOUT_LIMIT_S = 120.0
WORDS = {
    "model": "Starting model",
    "prompts": "Prompts",
    "scorer": "Scorer",
    "samples": "Two answers, written and scored",
}
MARKS = {"ok": "✓", "warn": "⚠", "bad": "✗", "busy": "…", "later": "–"}


@dataclass(frozen=True)
class Check:
    """One line of the list: ok, warn, bad, busy, or later (not tried here)."""

    state: str
    what: str
    said: str

    @property
    def line(self) -> str:
        """As Markdown."""
        return f"{MARKS[self.state]} **{self.what}**: {self.said}"


@dataclass(frozen=True)
class Checklist:
    """Everything that was looked at. `answers` are of the dry run."""

    checks: list[Check]
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether something is still being tried."""
        return any(check.state == "busy" for check in self.checks)

    @property
    def may_start(self) -> bool:
        """Nothing is wrong, and nothing is still being tried."""
        return not any(check.state in ("bad", "busy") for check in self.checks)


def room_for(store: Store, models: Sequence[str]) -> str | None:
    """Why models cannot be loaded beside the page now, or None where they can."""
    folders = [files.folder_of(model, None) for model in models]
    sizes = sum(room.weights_bytes(folder) for folder in folders if folder is not None)
    needed, free = room.PROCESS_BYTES + int(room.ANSWERING * sizes), room.available_bytes()
    if runs.current(store) is not None and needed > free // 2:
        return "a training is at work and memory is short"
    if needed > free:
        return f"about {size_text(needed)} of memory are needed, and {size_text(free)} are free"
    return None


def begin_checks(store: Store, folder: Path, built: Built) -> None:
    """Load and try what the config names, unless that was begun before, or there is no room for it."""
    if room_for(store, models_in(built)) is not None:
        return
    wanted = digest(built.yaml)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    write_text(config, built.yaml)
    begin(
        folder,
        [program("validate", "--dry-run", "--json", str(config))],
        limit_s=LIMIT_S,
        wanted=wanted,
    )


def models_in(built: Built) -> list[str]:
    """Folders of every model that the config loads."""
    reward = built.config.reward
    sections = [reward, *(reward.get("sources") or ())]
    return [built.config.policy.model, *(str(one["model"]) for one in sections if isinstance(one.get("model"), str))]


def checklist(
    store: Store, folder: Path, built: Built, *, example: bool, place: int, preflight: Check | None
) -> Checklist:
    """Everything that can be said of the config now. `example`: its models are made first, so nothing can be loaded."""
    checks = [Check("ok", "Prompts", f"{built.split.sentence}")]
    answers: list[dict[str, Any]] = []
    if example:
        said = "the example's own small models are trained first, about a minute; your run is next"
        checks += [
            Check("later", "Models", said),
            Check("ok", "Memory", EXAMPLE_MEMORY),
            Check("ok", "Disk", EXAMPLE_DISK),
        ]
    else:
        tried, answers = _tried(store, folder, built)
        checks += [*tried, _memory(built), _disk(store, built)]
    if preflight is not None:
        checks.append(preflight)
    checks.append(_queue(store, place))
    return Checklist(checks, answers)


def _tried(store: Store, folder: Path, built: Built) -> tuple[list[Check], list[dict[str, Any]]]:
    job = job_of(folder, digest(built.yaml))
    if job is None:
        why = room_for(store, models_in(built))
        if why is None:
            return [Check("busy", "Models", "being tried")], []
        return [Check("later", "Models", f"not tried now, because {why}; the run itself tries them first")], []
    found, answers = [], []
    for line in job.lines:
        name, good = str(line.get("check")), bool(line.get("ok"))
        if name not in WORDS:
            continue
        said = plain(line.get("said", "")) + ("" if good else f". *{plain(line.get('fix') or '')}*")
        if name != "prompts" or not good:
            found.append(Check("ok" if good else "bad", WORDS[name], said))
        answers = line.get("answers") or answers
    failed = any(check.state == "bad" for check in found)
    if job.ended and job.code != 0 and not failed:
        why = f"no answer within {LIMIT_S / 60:.0f} minutes" if job.code is None else _last_line(job.said)
        found.append(Check("bad" if job.code is not None else "warn", "Models", plain(why)))
    if not job.ended and not failed:
        seen = {str(line.get("check")) for line in job.lines}
        step = next((words for name, words in WORDS.items() if name not in seen), "Models")
        found.append(Check("busy", step, "being tried"))
    return found, answers


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "the check ended without a word; try again"


def _memory(built: Built) -> Check:
    from appliance.plan.make import fits_line

    said = plain(fits_line(built.plan).replace("GiB", "GB"))
    if built.plan.fits is False:
        return Check("warn", "Memory", f"{said}. The run makes its batches smaller by itself, and may still run out")
    return Check("ok" if built.plan.fits else "warn", "Memory", said)


def _disk(store: Store, built: Built) -> Check:
    free = shutil.disk_usage(store.data).free
    needed = disk_bytes(built.config, built.plan)
    if needed is None:
        return Check("ok", "Disk", f"{size_text(free)} are free")
    if needed > free:
        said = f"about {size_text(needed)} are needed and {size_text(free)} are free. *Delete runs on the tab Runs*"
        return Check("bad", "Disk", said)
    return Check("ok", "Disk", f"about {size_text(needed)} at most, of {size_text(free)} that are free")


def _queue(store: Store, place: int) -> Check:
    if place <= 1 and runs.current(store) is None:
        return Check("ok", "Queue", "nobody else's run is at work: it starts at once when a worker is there")
    return Check("ok", "Queue", f"other runs come first: this one would be number {place} in the queue")


def next_place(store: Store) -> int:
    """The place in the queue that a run would get now; the one at work counts."""
    return len(runs.queue(store)) + (runs.current(store) is not None) + 1


def begin_preflight(folder: Path) -> None:
    """Look at the machine, once in ten minutes."""
    begin(
        folder,
        [program("preflight", "--json", "--level", "quick")],
        limit_s=60.0,
        wanted=_preflight_key(),
    )


def _preflight_key() -> str:
    return f"preflight {int(time.time() // 600)}"


def preflight_check(folder: Path) -> Check:
    """What preflight says of the machine. It never keeps a run from starting: small models train on any CPU."""
    if text_of(folder / "wanted") is None:
        return Check("busy", "Machine (preflight)", "being looked at")
    if text_of(folder / "end.json") is None:
        return Check("busy", "Machine (preflight)", "being looked at")
    try:
        report = json.loads(text_of(folder / "out.jsonl") or "")
        rows = report["checks"]
    except (ValueError, KeyError, TypeError):
        return Check("later", "Machine (preflight)", "could not be looked at; the tab System can")
    failed = {row["id"]: row for row in rows if row["status"] == "fail"}
    if "pci.gpu_present" in failed:
        return Check("warn", "Machine (preflight)", "there is no GPU here. Small models train on the processor")
    if failed:
        first = next(iter(failed.values()))
        said = f"{len(failed)} failed, first {plain(first['id'])}: {plain(first['found'])}. See the tab System"
        return Check("warn", "Machine (preflight)", said)
    warned = sum(row["status"] == "warn" for row in rows)
    return Check("ok", "Machine (preflight)", f"nothing failed; {warned} warnings")


def begin_tryout(folder: Path, sections: dict[str, dict[str, Any]], prompt: str, text: str) -> str:
    """Score an answer with models, each for itself; returns what the result is asked for by."""
    sources = [{**section, "name": name, "normalize": False} for name, section in sections.items()]
    reward = yaml.safe_dump({"reward": {"source": "blend", "sources": sources}}, sort_keys=False, allow_unicode=True)
    wanted = digest(reward, prompt, text)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "reward.yaml", reward)
    asked = program("score", "--reward", str(folder / "reward.yaml"), f"--text={text}", f"--prompt={prompt}", "--json")
    begin(folder, [asked], limit_s=TRYOUT_LIMIT_S, wanted=wanted)
    return wanted


def tryout_scores(job: Job) -> dict[str, float]:
    """Each model's own score, by its name in the blend; empty before the end, or where it failed."""
    for line in job.lines:
        if isinstance(line.get("parts"), dict):
            return {name: part["score"] for name, part in line["parts"].items() if part is not None}
    return {}
