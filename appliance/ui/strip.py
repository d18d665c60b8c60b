"""The status strip above the tabs: GPU memory, the current run, percent, time left, age of the last step, the queue, Stop."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
from sqlalchemy import func, select

from appliance.preflight import nvml
from appliance.store import audit, runs, workers
from appliance.store.db import Store
from appliance.store.schema import Run
from appliance.ui.access import allowed
from appliance.ui.context import SILENT
from appliance.ui.desk import Desk
from appliance.ui.training_rate import pace

PERIOD_S = 3.0
SHARED_S = 1.0
"""Pages that ask within so many seconds of each other are told the same: one reading for all of them."""

RECENT_S = 600.0
"""How long after its end a run is still spoken of."""

TRAINERS = ("trainer", "admin")


@dataclass(frozen=True)
class Status:
    """What the strip says. `state`: idle, queued, starting, running, stalled, stopping, failed, done, or worker missing."""

    state: str
    run_id: int | None = None
    name: str = ""
    step: int = 0
    steps: int = 0
    phase: str = ""
    left_s: float | None = None
    age_s: float | None = None
    waiting: int = 0
    memory: str = "CPU"
    worker: bool = True


def read(store: Store, memory: str) -> Status:
    """The status as the store has it now. The current run, or the one that ended in the last ten minutes."""
    now = store.clock()
    with store.reading() as session:
        waiting = session.scalar(select(func.count()).select_from(Run).where(Run.state == "queued")) or 0
    worker = bool(workers.heard_of(store))
    run = runs.current(store)
    if run is None:
        ended = runs.list_runs(store, states=("failed", "done", "stopped", "interrupted"), limit=1)
        run = ended[0] if ended and ended[0].ended is not None and now - ended[0].ended < RECENT_S else None
    if run is None or (waiting and run.state in runs.ENDED):
        state = "worker missing" if not worker else "queued" if waiting else "idle"
        return Status(state, waiting=waiting, memory=memory, worker=worker)
    going = pace(run, now)
    return Status(
        state="stalled" if going.stalled else run.state,
        run_id=run.id,
        name=run.name,
        step=run.step,
        steps=run.steps,
        phase=run.phase or "",
        left_s=going.left_s,
        age_s=going.age_s,
        waiting=waiting,
        memory=memory,
        worker=worker,
    )


def span(seconds: float) -> str:
    """Seconds in words: 4 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


WORDS = {
    "idle": "No run. Start one on the first tab.",
    "queued": "Waiting for the worker to take the next run.",
    "starting": "Starting",
    "running": "Running",
    "stalled": "Standing still",
    "stopping": "Stopping: it finishes the step and saves",
    "stopped": "Stopped, progress kept",
    "interrupted": "Interrupted; it goes on by itself when the worker is back",
    "failed": "Failed",
    "done": "Done",
    "worker missing": "No worker is running: nothing can be trained. Start it with: appliance worker",
}


def view(status: Status) -> str:
    """The strip as HTML; every word from the store is escaped."""
    parts = [f'<span class="memory">{html.escape(status.memory)}</span>']
    words = WORDS[status.state]
    if status.run_id is not None:
        parts.append(f'<strong class="run">{html.escape(status.name)}</strong>')
        if status.state == "starting" and status.phase not in ("", "starting"):
            words += f": {status.phase}"
    parts.append(f'<span class="state">{html.escape(words)}</span>')
    if status.run_id is not None and status.steps:
        share = min(1.0, status.step / status.steps)
        parts.append(
            f'<progress max="{status.steps}" value="{status.step}" aria-label="Progress of the run"></progress>'
            f"<span>{share:.0%}</span>"
        )
    if status.left_s is not None:
        parts.append(f"<span>{span(status.left_s)} left</span>")
    if status.age_s is not None:
        parts.append(f"<span>last step {span(status.age_s)} ago</span>")
    if status.waiting:
        parts.append(f"<span>{status.waiting} in the queue</span>")
    if not status.worker and status.state != "worker missing":
        parts.append('<span class="warn">The worker does not answer</span>')
    kind = status.state.replace(" ", "-")
    return f'<div class="strip strip-{kind}" data-state="{kind}">{"".join(parts)}</div>'


def memory(desk: Desk) -> str:
    """GPU memory in words, "CPU" where there is none; asked of the driver once in three seconds for all pages."""
    return desk.shared("memory", PERIOD_S, _memory)


def _memory() -> str:
    with nvml.session() as opened:
        found = [] if opened["error"] else nvml.devices(("memory_bytes",))
    words = ", ".join(
        f"GPU {one['memory_bytes']['used'] / 2**30:.0f}/{one['memory_bytes']['total'] / 2**30:.0f} GB"
        for one in found
        if not nvml.is_error(one["memory_bytes"])
    )
    return words or "CPU"


def now(desk: Desk) -> Status:
    """The status, at most a second old: every open page asks for it."""
    return desk.shared("strip", SHARED_S, lambda: read(desk.store, memory(desk)))


@dataclass
class Strip:
    """The strip's widgets; `wire` connects them once the tabs are there."""

    desk: Desk
    shown: gr.HTML
    open: gr.Button
    stop: gr.Button
    again: gr.Button

    def wire(self, run: gr.Number, bar: gr.Tabs, *, has_training: bool) -> None:
        """Draw on load and when the state is another (see `ui.pulse`); Open shows the run, Stop asks it to end and keep all."""
        desk = self.desk

        @allowed(*TRAINERS, quiet=True)
        def draw(member: Any) -> tuple[Any, Any, Any]:
            status = now(desk)
            can_stop = status.state in ("starting", "running", "stalled")
            return (
                view(status),
                gr.Button(visible=status.run_id is not None and has_training),
                gr.Button(visible=can_stop),
            )

        outputs = [self.shown, self.open, self.stop]
        self.again.click(draw, None, outputs, **SILENT)

        @allowed(*TRAINERS)
        def stop(member: Any) -> None:
            current = runs.current(desk.store)
            if current is None:
                gr.Info("No run is at work.")
                return
            asked = runs.ask_stop(desk.store, current.id)
            desk.signs.pop("strip", None)
            audit.record(desk.store, member, "stop", asked.name)
            gr.Info(f"{asked.name} finishes its step, saves, and stops.")

        @allowed(*TRAINERS)
        def show(member: Any) -> tuple[Any, Any]:
            status = read(desk.store, "")
            return (gr.skip(), gr.skip()) if status.run_id is None else (gr.Tabs(selected="training"), status.run_id)

        gr.context.Context.root_block.load(draw, None, outputs, **SILENT)
        self.stop.click(stop, api_visibility="private").then(draw, None, outputs, **SILENT)
        self.open.click(show, None, [bar, run], api_visibility="private")


def build(desk: Desk) -> Strip:
    """The strip's row."""
    with gr.Row(elem_id="strip-row", equal_height=True):
        shown = gr.HTML('<div class="strip" data-state="loading">Loading.</div>', elem_id="strip", padding=False)
        opened = gr.Button("Open", size="sm", visible=False, elem_id="strip-open", min_width=80)
        stop = gr.Button("Stop and keep progress", size="sm", variant="stop", visible=False, elem_id="strip-stop")
        again = gr.Button("Draw the strip", visible="hidden", elem_id="strip-draw")
    return Strip(desk, shown, opened, stop, again)
