"""What the Training tab shows of one run: its state as the store and its folder have it now, how far it is, how long still."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import case, select

from appliance.store import metrics, runs, workers
from appliance.store.db import Store
from appliance.store.schema import Run
from appliance.ui.strip import span
from appliance.ui.training_rate import pace, step_of
from appliance.worker.job import newest_checkpoint

RECENT = 20
"""Runs that can be chosen; the Runs tab has them all."""

SUBSTEPS = ("starting", "loading the models", "first measurement", "first step")
"""What happens before the first numbers, as the worker names it."""

SUBSTEP_WORDS = {
    "starting": "start the process",
    "loading the models": "load the models",
    "first measurement": "answer the test prompts once, before training",
    "first step": "first step",
}


@dataclass(frozen=True)
class Now:
    """A run at one moment. `state` is the store's, or stalled: it runs, but its last step is far older than usual."""

    run: Run
    state: str
    newest: int | None = None  # the newest step with numbers
    broken: bool = False  # that step has a number that is not finite
    place: int | None = None
    waits_for: str | None = None
    worker: bool = True
    checkpoint: int | None = None
    elapsed_s: float | None = None
    left_s: float | None = None
    age_s: float | None = None
    usual_s: float | None = None

    @property
    def active(self) -> bool:
        """Whether there is a process."""
        return self.run.state in runs.ACTIVE

    @property
    def from_command_line(self) -> bool:
        """Whether no worker of ours leads it, so that it cannot be stopped from here."""
        return self.active and self.run.worker_id is None


def choices(store: Store) -> list[tuple[str, int]]:
    """(what is shown, id) of the recent runs: those at work first, then those that wait, then the newest."""
    order = case((Run.state.in_(runs.ACTIVE), 0), (Run.state == "queued", 1), else_=2)
    query = select(Run.id, Run.name, Run.state).order_by(order, Run.created.desc(), Run.id.desc()).limit(RECENT)
    with store.reading() as session:
        return [(f"{name} (run {number}, {state})", number) for number, name, state in session.execute(query)]


def look(store: Store, run_id: int) -> Now:
    """The run as it is now. Raises ApplianceError when there is none of that number."""
    run, now = runs.get(store, run_id), store.clock()
    last = metrics.last(store, run_id)
    going = pace(run, now)
    ahead = runs.current(store) if run.state == "queued" else None
    return Now(
        run=run,
        state="stalled" if going.stalled else run.state,
        newest=last.get("step"),
        broken=any(value is None for value in last.values()),
        place=runs.queue_place(store, run_id) if run.state == "queued" else None,
        waits_for=None if ahead is None else ahead.name,
        worker=bool(workers.heard_of(store)) if run.state not in ("done", "failed", "stopped") else True,
        checkpoint=step_of(newest_checkpoint(Path(run.folder))) if run.state in runs.ENDED else None,
        elapsed_s=elapsed(run, now),
        left_s=going.left_s,
        age_s=going.age_s,
        usual_s=going.usual_s,
    )


def elapsed(run: Run, now: float) -> float | None:
    """Seconds since the run was started this time, or that this time took."""
    if run.started is None or run.state == "queued":
        return None
    until = run.ended if run.state in runs.ENDED else now
    return None if until is None else max(0.0, until - run.started)


def progress_html(now: Now) -> str:
    """The bar and the line below it; every word from the store is escaped."""
    run, words = now.run, []
    if run.steps and now.state != "queued":
        share = min(1.0, run.step / run.steps)
        words.append(f"<strong>Step {run.step:,} of {run.steps:,}</strong> ({share:.0%})")
    if now.elapsed_s is not None:
        words.append(f"at work for {span(now.elapsed_s)}" if now.active else f"took {span(now.elapsed_s)}")
    if now.left_s is not None:
        words.append(f"about {span(now.left_s)} left")
    elif now.state == "running" and now.run.phase is None:
        words.append("time left: known after a few steps")
    if now.age_s is not None:
        words.append(f"last step {span(now.age_s)} ago")
    if now.active and run.phase and now.state != "starting":
        words.append(html.escape(run.phase))
    bar = ""
    if run.steps and now.state != "queued":
        bar = f'<progress max="{run.steps}" value="{run.step}" aria-label="Steps done" style="width:100%"></progress>'
    line = f"<div>{' · '.join(words)}</div>" if words else ""
    return f'<div data-state="{now.state}">{bar}{line}{_substeps(now) if now.state == "starting" else ""}</div>'


def _substeps(now: Now) -> str:
    at = now.run.phase if now.run.phase in SUBSTEPS else SUBSTEPS[0]
    place = SUBSTEPS.index(at)
    rows = []
    for number, name in enumerate(SUBSTEPS):
        words = SUBSTEP_WORDS[name]
        mark = "✓ " if number < place else "▶ " if number == place else ""
        rows.append(f"<li>{mark}{f'<strong>{words}</strong>' if number == place else words}</li>")
    return f'<ol id="training-substeps" style="margin:0.25rem 0 0 1.25rem">{"".join(rows)}</ol>'


@dataclass(frozen=True)
class Offers:
    """What can be done now: the words on each button, or None where it is not offered."""

    stop: str | None = None
    stop_works: bool = False
    go_on: str | None = None
    again: bool = False
    compare: bool = False


def offers(now: Now) -> Offers:
    """From the state alone, never from what was clicked."""
    state, run = now.state, now.run
    if now.from_command_line:
        return Offers()
    if state == "queued":
        return Offers(stop="Take it out of the queue", stop_works=True)
    if state == "stopping":
        return Offers(stop="Stopping: it saves first")
    if now.active:
        return Offers(stop="Stop and keep progress", stop_works=True)
    onward = None
    if state in ("stopped", "failed", "interrupted"):
        onward = f"Continue from step {now.checkpoint:,}" if now.checkpoint else "Try again from the beginning"
    trained = run.stage in ("ppo", "sft", "reward")
    return Offers(go_on=onward, again=trained, compare=state == "done" and run.stage == "ppo")
