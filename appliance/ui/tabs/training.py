"""Training: how a run goes, in a sentence and in charts, and what can be done: stop, continue, once more with changes."""

from __future__ import annotations

import uuid
from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.errors import ApplianceError
from appliance.store import audit, runs
from appliance.store.users import Member
from appliance.ui import training_again, training_drawing, training_files
from appliance.ui.access import allowed, require
from appliance.ui.context import SILENT, Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.submitting import stage_of_submitted
from appliance.ui.training_charts import COLOURS, COLUMNS, SLOTS
from appliance.worker import logs

TITLE, ORDER, ROLES = "Training", 20, ("trainer", "admin")

TO_THE_END = """() => setTimeout(() => {
  const log = document.querySelector("#training-log textarea");
  if (log) log.scrollTop = log.scrollHeight;
}, 200)"""

SHARED_S = 1.0
"""Many people watch one run: what one is told, others are told for a second too."""

STYLE = "<style>#training-log textarea { font-family: var(--font-mono); font-size: 0.8rem; white-space: pre; }</style>"


def build(context: Context) -> None:
    """The run's state on top, then charts, samples, events and the log. Drawn by `training_drawing.draw`."""
    gr.Markdown("## Training")
    parts: dict[str, Any] = {"chosen": gr.Dropdown([], label="Run", visible=False, elem_id="training-run")}
    parts["shown"] = gr.Number(None, precision=0, visible="hidden", label="Run", elem_id="training-shown")
    parts["head"] = gr.Markdown("Loading.", elem_id="training-head")
    parts["progress"] = gr.HTML("", elem_id="training-progress", padding=False)
    parts["card"] = gr.Markdown("", visible=False, elem_id="training-card")
    with gr.Row():
        for name, words, kind in (
            ("start", "Go to Start", "primary"),
            ("stop", "Stop and keep progress", "stop"),
            ("retry", "Retry with this fix", "primary"),
            ("go_on", "Continue", "primary"),
            ("compare", "Compare the answers", "primary"),
            ("teach", "See what it is worth", "primary"),
            ("again", "Run again with changes", "secondary"),
        ):
            ident = f"training-{name.replace('_', '-')}"
            parts[name] = gr.Button(words, variant=kind, visible=False, scale=0, min_width=290, elem_id=ident)
    again = _again(context)
    _charts(parts)
    with gr.Column(visible=False) as parts["details"]:
        parts["samples_said"] = gr.Markdown("### Answers to test prompts, before and now")
        parts["samples"] = gr.Dataframe(
            headers=training_files.COLUMNS,
            datatype="str",
            interactive=False,
            wrap=True,
            max_chars=400,
            max_height=420,
            column_widths=[190, 350, 350, 100, 100],
            show_label=False,
            elem_id="training-samples",
        )
        gr.Markdown("### What happened")
        parts["events"] = gr.Markdown("", elem_id="training-events")
        with gr.Accordion("Log", open=False, elem_id="training-log-box") as log_box:
            parts["log"] = gr.Textbox(
                label=f"Last {training_files.LOG_LINES} lines", lines=12, max_lines=24, interactive=False,
                elem_id="training-log",
            )  # fmt: skip
            parts["log_link"] = gr.Markdown("", elem_id="training-log-link")
        gr.HTML(STYLE, padding=False)
    parts["drawn"] = gr.State({})
    log_open = gr.State(False)  # a mark: the log is read only while it is looked at

    @allowed(*ROLES, quiet=True)
    def draw(member: Member, run_id: int | None, drawn: dict[str, Any], with_log: bool) -> Any:
        found = training_drawing.draw(context, run_id, drawn or {}, with_log=with_log)
        return {parts[name]: value for name, value in found.items()} or gr.skip()

    @allowed(*ROLES)
    def choose(member: Member, picked: int | None) -> Any:
        return picked

    asked = [context.run, parts["drawn"], log_open]
    context.draw(draw, inputs=asked, outputs=list(parts.values()))
    gr.Button("Draw the training", visible="hidden", elem_id="training-draw").click(
        draw, asked, list(parts.values()), **SILENT
    )
    context.after(parts["chosen"].input(choose, parts["chosen"], context.run, show_progress="hidden"))
    opened = context.after(log_box.expand(_mark(True), None, log_open, show_progress="hidden"))
    opened.then(None, None, None, js=TO_THE_END, api_visibility="private")
    log_box.collapse(_mark(False), None, log_open, show_progress="hidden")
    _wire(context, parts, again)


def pulse(desk: Desk, run_id: int | None, *, closer: bool) -> tuple[str, str]:
    """The progress line, and a mark of everything else; `closer`: the log is open. See `ui.pulse`."""
    return desk.shared(
        f"training {run_id} {closer}", SHARED_S, lambda: training_drawing.pulse(desk, run_id, with_log=closer)
    )


def _mark(value: bool) -> Any:
    @allowed(*ROLES)
    def mark(member: Member) -> bool:
        return value

    return mark


def _charts(parts: dict[str, Any]) -> None:
    """Places for the charts of any stage, two in a row."""
    for first in range(0, SLOTS, 2):
        with gr.Row(equal_height=True):
            for number in range(first, min(first + 2, SLOTS)):
                with gr.Column(visible=False, min_width=320) as parts[f"slot{number}"]:
                    parts[f"said{number}"] = gr.Markdown("", elem_id=f"training-chart-said-{number}")
                    step, value, series = COLUMNS
                    parts[f"plot{number}"] = gr.LinePlot(
                        x=step,
                        y=value,
                        color=series,
                        color_map=COLOURS,
                        height=240,
                        show_label=False,
                        tooltip="all",
                        y_title=" ",
                        color_title=" ",
                        elem_id=f"training-chart-{number}",
                    )


def _again(context: Context) -> dict[str, Any]:
    """The form for the same training with other settings."""
    found: dict[str, Any] = {}
    with gr.Column(visible=False, elem_id="training-again-box") as found["box"]:
        gr.Markdown("### Run again with changes\n\nA new run with these settings; the old one stays as it is.")
        found["name"] = gr.Textbox(label="Name", max_length=runs.NAME_LENGTH, elem_id="training-again-name")
        with gr.Row():
            for name, label, info, whole in (
                ("steps", "Steps", "How long it trains", True),
                ("rate", "Learning rate", "Smaller: slower and steadier", False),
                ("price", "Price of drift (KL price)", "Larger: stays nearer to the starting model", False),
                ("target", "Wanted drift (KL target)", "Nats per answer; the price follows it", False),
                ("seed", "Seed", "Another number: other chances", True),
            ):
                found[name] = gr.Number(
                    label=label, info=info, precision=0 if whole else None, min_width=180,
                    elem_id=f"training-again-{name}",
                )  # fmt: skip
        with gr.Accordion("More settings", open=False, elem_id="training-again-more"):
            gr.Markdown(
                "Everything, as `appliance train` takes it. What you change in the fields above counts over this."
            )
            found["text"] = gr.Code(language="yaml", show_label=False, max_lines=30, elem_id="training-again-text")
        with gr.Row():
            found["begin"] = gr.Button("Start training", variant="primary", elem_id="training-again-begin")
            found["close"] = gr.Button("Cancel", elem_id="training-again-cancel")
    found["of"] = gr.Number(None, precision=0, visible="hidden", label="Run", elem_id="training-again-of")
    found["key"] = gr.State("")
    return found


FIELDS = ("name", "steps", "rate", "price", "target", "seed", "text")


def _wire(context: Context, parts: dict[str, Any], again: dict[str, Any]) -> None:
    """The buttons."""
    store, shown = context.store, parts["shown"]

    @allowed(*ROLES)
    def stop(member: Member, run_id: int | None) -> None:
        asked = training_again.stop(store, member, _number(run_id))
        if asked.state == "stopped":
            gr.Info(f"{asked.name} is out of the queue.")
        else:
            gr.Info(f"{asked.name} finishes its step, saves, and stops.")

    @allowed(*ROLES)
    def go_on(member: Member, run_id: int | None) -> None:
        gr.Success(f"{training_again.go_on(store, member, _number(run_id)).name} goes on when the worker is free.")

    @allowed(*ROLES)
    def retry(member: Member, run_id: int | None) -> int:
        made = training_again.retry(store, member, _number(run_id))
        gr.Success(f"{made.name} is in the queue.")
        return made.id

    @allowed(*ROLES)
    def fill(member: Member, run_id: int | None) -> list[Any]:
        run = runs.get(store, _number(run_id))
        steps, rate, price, target, seed = training_again.values(run.config, run.stage)
        ppo = run.stage == "ppo"
        return [
            gr.Column(visible=True),
            training_again.base_name(run.name),
            steps,
            rate,
            gr.Number(price, visible=ppo),
            gr.Number(target, visible=ppo and training_again.adaptive(run.config)),
            seed,
            run.config,
            run.id,
            uuid.uuid4().hex,
        ]

    @allowed(*ROLES)
    def begin(
        member: Member,
        of: int | None,
        click: str,
        name: str,
        steps: float | None,
        rate: float | None,
        price: float | None,
        target: float | None,
        seed: float | None,
        text: str,
    ) -> list[Any]:
        original = runs.get(store, _number(of))
        numbers = [steps, rate, price, target, seed]
        made = training_again.edited(original, text or "", (name or "").strip(), numbers)
        stage = stage_of_submitted(store, context.settings, member, made)
        run = training_again.begin(store, member, original, made, stage=stage, key=f"again-{member.id}-{click}")
        gr.Success(f"{run.name} is in the queue.")
        return [gr.Column(visible=False), run.id]

    @allowed(*ROLES)
    def close(member: Member) -> Any:
        return gr.Column(visible=False)

    context.after(parts["stop"].click(stop, shown, None, show_progress="hidden"))
    context.after(parts["go_on"].click(go_on, shown, None, show_progress="hidden"))
    context.after(parts["retry"].click(retry, shown, context.run, show_progress="hidden"))
    form = [again[name] for name in FIELDS]
    parts["again"].click(fill, shown, [again["box"], *form, again["of"], again["key"]], show_progress="hidden")
    sent = again["begin"].click(
        begin, [again["of"], again["key"], *form], [again["box"], context.run], show_progress="hidden"
    )
    context.after(sent)
    again["close"].click(close, None, again["box"], show_progress="hidden")
    for tab in ("start", "compare", "teach"):
        parts[tab].click(_opener(context, tab), shown, [context.tabs, context.run], show_progress="hidden")


def _opener(context: Context, tab: str) -> Any:
    @allowed(*ROLES)
    def show(member: Member, run_id: int | None) -> Any:
        return context.open(tab, None if tab == "start" or run_id is None else int(run_id))

    return show


def _number(run_id: int | None) -> int:
    if run_id is None:
        raise ApplianceError("no run is shown", "choose one from the list on top")
    return int(run_id)


def downloads(router: APIRouter, desk: Desk) -> None:
    """The whole log."""

    @router.get("/{run_id}/log")
    def log(run_id: int, member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008 - FastAPI's way
        run = runs.get(desk.store, run_id)
        file = logs.path_of(desk.store.data, run.id)
        if not file.is_file():
            raise ApplianceError(f"{run.name} has no log", "it is written by the worker when it starts the run")
        audit.record(desk.store, member, "log exported", run.name)
        return attachment(file, f"{run.name}.log")
