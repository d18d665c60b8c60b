"""One drawing of the Training tab: what changed since the last one, by the names of its widgets."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import gradio as gr
import yaml

from appliance.config import PpoConfig, parse
from appliance.errors import ApplianceError
from appliance.store import metrics, runs
from appliance.store.schema import Event, Run
from appliance.ui import training, training_again, training_cards, training_charts, training_files, training_words
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.training import Now
from appliance.worker import logs

EMPTY = "### No run yet\n\nStart one: choose prompts, what a good answer is, and how long to train."

COARSE = 200
"""Charts are drawn anew when there are new steps, and on a long run when those are one in so many."""

POINTS = 200
"""Points of a line in a chart, which is about 500 pixels wide."""

MOST_KEPT = 16

BUTTONS = ("start", "stop", "retry", "go_on", "compare", "teach", "again")

Drawing = dict[str, Any]
"""Updates by the widget's name; what is not named stays as it is."""


@dataclass(frozen=True)
class Seen:
    """What there is to show now, and the marks of it: where two marks agree, nothing need be drawn."""

    now: Now
    known: list[tuple[str, int]]
    events: list[Event]
    marks: dict[str, Any]


def see(context: Context | Desk, run_id: int | None, *, with_log: bool) -> Seen | None:
    """The run that is looked at: `run_id`, or the one at work, or the newest. None when there is no run."""
    known = training.choices(context.store)
    ids = [number for _, number in known]
    wanted = run_id if run_id in ids else _exists(context, run_id)
    wanted = wanted if wanted is not None else next(iter(ids), None)
    if wanted is None:
        return None
    now = training.look(context.store, int(wanted))
    run = now.run
    if wanted not in ids:
        known = [*known, (f"{run.name} (run {run.id}, {run.state})", run.id)]
    events = metrics.events(context.store, run.id, limit=60)
    step = coarse(now.newest)
    head = [now.state, step, now.broken, now.place, now.waits_for, now.worker, now.checkpoint, run.message]
    log = training_files.mark_of(logs.path_of(context.store.data, run.id)) if with_log else None
    marks = {
        "run": run.id,
        "choices": _digest([wanted, known]),
        "head": _digest([*head, run.result is None]),
        "buttons": _digest([now.run.stage, *head[:1], *head[3:], asdict(training.offers(now))]),
        "charts": [step, now.active],
        "samples": training_files.mark_of(Path(run.folder) / "samples.jsonl") if run.stage == "ppo" else None,
        "events": [len(events), events[0].at if events else 0],
        "log": None if log is None else list(log),
    }
    marks["samples"] = None if marks["samples"] is None else list(marks["samples"])
    return Seen(now, known, events, marks)


def coarse(newest: int | None) -> int | None:
    """The newest step that is worth a drawing."""
    return None if newest is None else newest - newest % max(1, newest // COARSE)


def pulse(desk: Desk, run_id: int | None, *, with_log: bool) -> tuple[str, str]:
    """The progress line, and a short text that changes when anything else must be drawn.

    What is asked for every few seconds, around Gradio: see `ui.pulse`.
    """
    seen = see(desk, run_id, with_log=with_log)
    if seen is None:
        return "", "none"
    return training.progress_html(seen.now), _digest(seen.marks)


def _digest(values: Any) -> str:
    """Short, the same for the same values: a mark holds no names and no words."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def draw(context: Context, run_id: int | None, drawn: dict[str, Any], *, with_log: bool) -> Drawing:
    """What the tab must change. drawn: the marks of what it shows, a new set of which is returned as `drawn`."""
    seen = see(context, run_id, with_log=with_log)
    if seen is None:
        return {} if drawn.get("run") == "none" else _nothing()
    now = seen.now
    same = drawn.get("run") == now.run.id
    new = {name for name, mark in seen.marks.items() if not same or drawn.get(name) != mark}
    if not new:
        return {}
    found: Drawing = {"drawn": seen.marks}
    if "run" in new:
        link = context.url(f"download/training/{now.run.id}/log")
        found |= {
            "shown": now.run.id,
            "progress": training.progress_html(now),
            "details": gr.Column(visible=True),
            "log_link": f"[Download the whole log]({link})",
            "log": "",
        }
    if "choices" in new:
        found["chosen"] = gr.Dropdown(seen.known, value=now.run.id, visible=True)
    if "head" in new:
        mark = str(seen.marks["head"])
        found["head"] = _once(context, "head", now.run, mark, lambda: _headline(context, now))
    if "buttons" in new:
        _buttons(now, found)
    if "charts" in new:
        _charts(context, now, drawn.get("charts") if same else None, found)
    if "samples" in new:
        _samples(now.run, found)
    if "events" in new:
        found["events"] = training_cards.event_lines(seen.events)
    if "log" in new and with_log:
        found["log"] = training_files.log_tail(logs.path_of(context.store.data, now.run.id))
    return found


def _exists(context: Context | Desk, run_id: int | None) -> int | None:
    if run_id is None:
        return None
    try:
        return runs.get(context.store, int(run_id)).id
    except ApplianceError:
        return None


def _nothing() -> Drawing:
    slots = {f"slot{number}": gr.Column(visible=False) for number in range(training_charts.SLOTS)}
    return {
        "chosen": gr.Dropdown([], value=None, visible=False),
        "shown": None,
        "head": EMPTY,
        "progress": "",
        "card": gr.Markdown("", visible=False),
        **{name: gr.Button(visible=name == "start") for name in BUTTONS},
        **slots,
        "details": gr.Column(visible=False),
        "drawn": {"run": "none"},
    }


def _headline(context: Context, now: Now) -> str:
    """How it goes, in words."""
    points = metrics.points(context.store, now.run.id, training_words.NAMES) if now.newest is not None else {}
    config = config_of(now.run)
    if isinstance(config, PpoConfig):
        going = training_words.ppo_headline(points, training_words.Limits.of(config), broken=now.broken)
    else:
        going = training_words.loss_headline(points)
    return training_cards.told(now, going)


def _buttons(now: Now, found: Drawing) -> None:
    """The card and the buttons. Drawn when there are others: each costs more than a line of a chart."""
    retry = training_again.retry_of(now.run)
    can = training.offers(now)
    card = training_cards.card(now, None if retry is None else retry.words)
    found["card"] = gr.Markdown(card, visible=bool(card))
    found |= {
        "start": gr.Button(visible=False),
        "stop": gr.Button(can.stop or "", visible=can.stop is not None, interactive=can.stop_works),
        "retry": gr.Button(visible=retry is not None),
        "go_on": gr.Button(
            can.go_on or "", visible=can.go_on is not None, variant="secondary" if retry is not None else "primary"
        ),
        "compare": gr.Button(visible=can.compare),
        "teach": gr.Button(visible=now.state == "done" and now.run.stage == "reward"),
        "again": gr.Button(visible=can.again),
    }


def config_of(run: Run) -> Any:
    """The run's config, or None for one that this version does not read."""
    try:
        values = yaml.safe_load(run.config)
        return parse(values, origin="the config") if isinstance(values, dict) else None
    except (ApplianceError, yaml.YAMLError):
        return None


def _charts(context: Context, now: Now, before: list[Any] | None, found: Drawing) -> None:
    """The charts; their headings and places only where there were none. before: the mark of those that are shown."""
    run, newest = now.run, now.newest
    shown = [] if newest is None else _once(context, "plots", run, newest, lambda: _plots(context, run))
    places_too = before is None or before[0] is None or not shown
    for number in range(training_charts.SLOTS):
        if places_too:
            found[f"slot{number}"] = gr.Column(visible=number < len(shown))
        if number < len(shown):
            plot, values = shown[number]
            found[f"plot{number}"] = values
            if places_too:
                found[f"said{number}"] = f"### {plot.title}\n\n{plot.good} Unit: {plot.unit}; by step."


_KEPT: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_KEPT_LOCK = RLock()


def _once(context: Context, what: str, run: Run, mark: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, made once for all who look at the same."""
    key = (what, str(context.store.data), run.id, mark)
    with _KEPT_LOCK:  # held meanwhile: those who ask at the same time wait for the one who makes it
        if key not in _KEPT:
            _KEPT[key] = make()
            while len(_KEPT) > MOST_KEPT:
                _KEPT.popitem(last=False)
        return _KEPT[key]


def _plots(context: Context, run: Run) -> list[tuple[training_charts.Plot, Any]]:
    """Each chart with its values as the browser takes them."""
    config = config_of(run)
    limit = config.alarms.kl_nats_per_sequence if isinstance(config, PpoConfig) else None
    chosen = training_charts.plots(run.stage, metrics.names(context.store, run.id))
    points = metrics.points(context.store, run.id, training_charts.wanted(chosen), most=POINTS)
    return [(plot, as_sent(training_charts.frame(plot, points, limit))) for plot in chosen]


def as_sent(frame: Any) -> dict[str, Any]:
    """A data frame as gr.LinePlot sends it: it passes a dict on as it is, so that it is not made for every visitor."""
    sent = gr.LinePlot(render=False).postprocess(frame)
    assert sent is not None
    return sent if isinstance(sent, dict) else sent.model_dump()


def _samples(run: Run, found: Drawing) -> None:
    """Answers before and now."""
    step, rows = training_files.samples(Path(run.folder) / "samples.jsonl") if run.stage == "ppo" else (None, [])
    said = f"Now: step {step:,}." if step else "Those of now come after the next measurement."
    found["samples_said"] = gr.Markdown(f"### Answers to test prompts, before and now\n\n{said}", visible=bool(rows))
    found["samples"] = gr.Dataframe(rows, visible=bool(rows))
