"""One drawing of the Training tab: what changed since the last one, by the names of its widgets."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr
import yaml

from appliance.config import PpoConfig, parse
from appliance.errors import ApplianceError
from appliance.store import metrics, runs
from appliance.store.schema import Run
from appliance.ui import training, training_again, training_charts, training_files, training_words
from appliance.ui.context import Context
from appliance.ui.training import Now
from appliance.worker import logs

EMPTY = "### No run yet\n\nStart one: choose prompts, what a good answer is, and how long to train."

COARSE = 200
"""Charts are drawn anew when there are new steps, and on a long run when those are more than one in so many."""

MOST_KEPT = 8

BUTTONS = ("start", "stop", "retry", "go_on", "compare", "teach", "again")

Drawing = dict[str, Any]
"""Updates by the widget's name; what is not named stays as it is."""


def draw(context: Context, run_id: int | None, drawn: dict[str, Any], *, with_log: bool) -> Drawing:
    """What the tab must change. drawn: the marks of what it shows, a new set of which is returned as `drawn`."""
    store = context.store
    known = training.choices(store)
    ids = [number for _, number in known]
    wanted = _exists(context, run_id) if run_id not in ids else run_id
    wanted = wanted if wanted is not None else next(iter(ids), None)
    if wanted is None:
        return {} if drawn.get("run") == "none" else _nothing()
    now = training.look(store, int(wanted))
    if wanted not in ids:
        known = [*known, (f"{now.run.name} (run {now.run.id}, {now.run.state})", now.run.id)]
    old = drawn if drawn.get("run") == now.run.id else {}
    marks: dict[str, Any] = {**old, "run": now.run.id}
    found: Drawing = {"progress": training.progress_html(now)}
    if not old:
        found["shown"] = now.run.id
    if drawn.get("choices") != (listed := [wanted, *map(list, known)]):
        found["chosen"] = gr.Dropdown(known, value=wanted, visible=True)
    marks["choices"] = listed
    _head(context, now, old, marks, found)
    _charts(context, now, old, marks, found)
    _details(context, now, old, marks, found, with_log=with_log)
    return {**found, "drawn": marks}


def _exists(context: Context, run_id: int | None) -> int | None:
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


def _head(context: Context, now: Now, old: dict[str, Any], marks: dict[str, Any], found: Drawing) -> None:
    """The sentence, the card and the buttons, where the state or the numbers are new."""
    run = now.run
    mark = [
        now.state,
        now.newest,
        now.place,
        now.waits_for,
        now.worker,
        now.checkpoint,
        run.message,
        run.result is None,
    ]
    marks["head"] = mark
    if old.get("head") == mark:
        return
    config = config_of(run)
    points = metrics.points(context.store, run.id, training_words.NAMES) if now.newest is not None else {}
    if isinstance(config, PpoConfig):
        limits = training_words.Limits.of(config)
        going = training_words.ppo_headline(points, limits, broken=now.broken)
    else:
        going = training_words.loss_headline(points)
    retry = training_again.retry_of(run)
    can = training.offers(now)
    found["head"] = training_words.told(now, going)
    card = training_words.card(now, None if retry is None else retry.words)
    found["card"] = gr.Markdown(card, visible=bool(card))
    found |= {
        "start": gr.Button(visible=False),
        "stop": gr.Button(can.stop or "", visible=can.stop is not None, interactive=can.stop_works),
        "retry": gr.Button(visible=retry is not None),
        "go_on": gr.Button(
            can.go_on or "", visible=can.go_on is not None, variant="secondary" if retry is not None else "primary"
        ),
        "compare": gr.Button(visible=can.compare),
        "teach": gr.Button(visible=now.state == "done" and run.stage == "reward"),
        "again": gr.Button(visible=can.again),
    }


def config_of(run: Run) -> Any:
    """The run's config, or None for one that this version does not read."""
    try:
        values = yaml.safe_load(run.config)
        return parse(values, origin="the config") if isinstance(values, dict) else None
    except (ApplianceError, yaml.YAMLError):
        return None


def _charts(context: Context, now: Now, old: dict[str, Any], marks: dict[str, Any], found: Drawing) -> None:
    """The charts, where there are new steps."""
    newest, before = now.newest, old.get("charts")
    if newest is None:
        if before != "none":
            found |= {f"slot{number}": gr.Column(visible=False) for number in range(training_charts.SLOTS)}
        marks["charts"] = "none"
        return
    if isinstance(before, list):
        fresh = newest - before[0]
        if fresh == 0 or (0 < fresh < newest // COARSE and before[1] == now.state):
            return
    marks["charts"] = [newest, now.state]
    shown = _plots(context, now.run, newest)
    for number in range(training_charts.SLOTS):
        if number < len(shown):
            plot, values = shown[number]
            found[f"plot{number}"] = values
        if not isinstance(before, list):
            found[f"slot{number}"] = gr.Column(visible=number < len(shown))
            if number < len(shown):
                found[f"said{number}"] = f"### {plot.title}\n\n{plot.good} Unit: {plot.unit}; by step."


_KEPT: OrderedDict[tuple[str, int, int], list[tuple[training_charts.Plot, Any]]] = OrderedDict()
_KEPT_LOCK = Lock()


def _plots(context: Context, run: Run, newest: int) -> list[tuple[training_charts.Plot, Any]]:
    """Each chart with its values as the browser takes them; made once for all who look at the same step."""
    key = (str(context.store.data), run.id, newest)
    with _KEPT_LOCK:
        if key in _KEPT:
            return _KEPT[key]
    config = config_of(run)
    limit = config.alarms.kl_nats_per_sequence if isinstance(config, PpoConfig) else None
    chosen = training_charts.plots(run.stage, metrics.names(context.store, run.id))
    points = metrics.points(context.store, run.id, training_charts.wanted(chosen))
    made = [(plot, as_sent(training_charts.frame(plot, points, limit))) for plot in chosen]
    with _KEPT_LOCK:
        _KEPT[key] = made
        while len(_KEPT) > MOST_KEPT:
            _KEPT.popitem(last=False)
    return made


def as_sent(frame: Any) -> dict[str, Any]:
    """A data frame as gr.LinePlot sends it: it passes a dict on as it is, so that it is not made for every visitor."""
    sent = gr.LinePlot(render=False).postprocess(frame)
    assert sent is not None
    return sent if isinstance(sent, dict) else sent.model_dump()


def _details(
    context: Context, now: Now, old: dict[str, Any], marks: dict[str, Any], found: Drawing, *, with_log: bool
) -> None:
    """Samples, events and the log, each where it is new."""
    run = now.run
    if not old:
        found["details"] = gr.Column(visible=True)
        link = context.url(f"download/training/{run.id}/log")
        found["log_link"] = f"[Download the whole log]({link})"
        found["log"] = ""
    file = Path(run.folder) / "samples.jsonl"
    if run.stage != "ppo":
        mark: Any = "none"
    else:
        mark = list(training_files.mark_of(file) or ())
    marks["samples"] = mark
    if old.get("samples") != mark:
        step, rows = (None, []) if mark == "none" else training_files.samples(file)
        said = f"Now: step {step:,}." if step else "Those of now come after the next measurement."
        found["samples_said"] = gr.Markdown(
            f"### Answers to test prompts, before and now\n\n{said}", visible=bool(rows)
        )
        found["samples"] = gr.Dataframe(rows, visible=bool(rows))
    events = metrics.events(context.store, run.id, limit=60)
    marks["events"] = [len(events), events[0].at if events else 0]
    if old.get("events") != marks["events"]:
        found["events"] = training_words.event_lines(events)
    log = logs.path_of(context.store.data, run.id)
    marks["log"] = list(training_files.mark_of(log) or ()) if with_log else None
    if with_log and (old.get("log") is None or old.get("log") != marks["log"]):
        found["log"] = training_files.log_tail(log)
