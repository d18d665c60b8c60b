"""Compare: what the model answered before and after training, side by side, with the verdict on top."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.errors import ApplianceError
from appliance.store import audit, questions, runs
from appliance.store.users import Member
from appliance.ui import comparing
from appliance.ui.access import allowed, require
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment, report_of

TITLE, ORDER, ROLES = "Compare", 30, ("trainer", "admin")

COLOURS = {"removed": "#b3261e", "added": "#2e7d32"}
EMPTY = (
    "There is no finished training yet. When one ends, the answers of the starting model and of the trained model to the "
    "test prompts stand here side by side."
)


def build(context: Context) -> None:
    """Verdict, answers, and a prompt of one's own."""
    gr.Markdown("## Before and after")
    with gr.Row():
        chosen = gr.Dropdown([], label="Finished run", interactive=True, elem_id="compare-run")
    said = gr.Markdown("Loading.", elem_id="compare-said")
    links = gr.Markdown("", elem_id="compare-links")
    index = gr.State(0)
    with gr.Column(visible=False) as box:
        with gr.Row():
            order = gr.Radio(list(comparing.ORDERS), value="Biggest gain", label="Show first", elem_id="compare-order")
            with gr.Column(min_width=220):
                marked = gr.Checkbox(False, label="Mark the words that differ", elem_id="compare-diff")
                scored = gr.Checkbox(False, label="Show scores", elem_id="compare-scores")
        prompt = gr.Textbox(label="Test prompt", interactive=False, lines=2, max_lines=10, elem_id="compare-prompt")
        with gr.Row():
            old = gr.Textbox(label="Before", interactive=False, lines=5, max_lines=20, elem_id="compare-before")
            new = gr.Textbox(label="After", interactive=False, lines=5, max_lines=20, elem_id="compare-after")
        with gr.Row():
            old_marked, new_marked = (
                gr.HighlightedText(
                    label=name,
                    color_map=COLOURS,
                    show_legend=False,
                    visible=False,
                    elem_id=f"compare-{name.lower()}-diff",
                )
                for name in ("Before", "After")
            )
        scores = gr.Markdown("", elem_id="compare-score-line")
        with gr.Row():
            back = gr.Button("Previous", elem_id="compare-previous")
            where = gr.Markdown("", elem_id="compare-where")
            forth = gr.Button("Next", elem_id="compare-next")
        tried = _own_prompt(context, chosen)
    pair = [prompt, old, new, old_marked, new_marked, scores, where, index]
    choice = [chosen, order, marked, scored, index]

    @allowed(*ROLES, quiet=True)
    def draw(
        member: Member, run_id: int | None, picked: int | None, by: str, diff: bool, score: bool, at: int
    ) -> list[Any]:
        done = [run for run in runs.list_runs(context.store, states=("done",)) if run.stage == "ppo"]
        ids = [run.id for run in done]
        wanted = next((one for one in (run_id, picked, *ids) if one in ids), None)
        names = gr.Dropdown([(f"{run.name} (run {run.id})", run.id) for run in done], value=wanted, visible=bool(done))
        return [names, *_report(context, wanted), *_pair(context, wanted, by, diff, score, at)]

    @allowed(*ROLES)
    def choose(member: Member, picked: int | None, by: str, diff: bool, score: bool, at: int) -> list[Any]:
        return [*_report(context, picked), *_pair(context, picked, by, diff, score, 0), picked]

    def moved(step: int | None) -> Any:
        @allowed(*ROLES)
        def move(member: Member, picked: int | None, by: str, diff: bool, score: bool, at: int) -> list[Any]:
            return _pair(context, picked, by, diff, score, 0 if step is None else at + step)

        return move

    context.draw(draw, inputs=[context.run, *choice], outputs=[chosen, said, links, box, *pair])
    chosen.input(choose, choice, [said, links, box, *pair, context.run], show_progress="hidden")
    order.change(moved(None), choice, pair, show_progress="hidden")
    for switch in (marked, scored):
        switch.change(moved(0), choice, pair, show_progress="hidden")
    forth.click(moved(1), choice, pair, show_progress="hidden")
    back.click(moved(-1), choice, pair, show_progress="hidden")
    context.draw(tried, inputs=chosen, outputs=tried.shows, every_s=1)


def _report(context: Context, run_id: int | None) -> list[Any]:
    """Verdict, links, and whether the answers are shown."""
    if run_id is None:
        return [EMPTY, "", gr.Column(visible=False)]
    try:
        shown = comparing.read(runs.get(context.store, int(run_id)))
    except ApplianceError as error:
        return [f"{error.what}: {error.fix}.", "", gr.Column(visible=False)]
    base = f"download/compare/{int(run_id)}"
    page, table = (context.url(f"{base}/{name}") for name in ("report.html", "answers.csv"))
    links = f"Downloads: [the whole report (HTML)]({page}) · [all answers (CSV)]({table})"
    return [comparing.headline(shown.report), links, gr.Column(visible=True)]


def _pair(context: Context, run_id: int | None, order: str, marked: bool, scored: bool, index: int) -> list[Any]:
    if run_id is None:
        return [gr.skip()] * 7 + [0]
    try:
        comparison = comparing.read(runs.get(context.store, int(run_id))).comparison
    except ApplianceError:
        return [gr.skip()] * 7 + [0]
    every = comparing.places(comparison, comparing.ORDERS.get(order, "gain"))
    index = int(index) % len(every)
    row, sample = every[index]
    before, after = comparison.before.texts[row][sample].strip(), comparison.after.texts[row][sample].strip()
    left, right = comparing.word_diff(before, after) if marked else ([], [])
    return [
        comparison.prompts[row],
        gr.Textbox(before, visible=not marked),
        gr.Textbox(after, visible=not marked),
        gr.HighlightedText(left, visible=marked),
        gr.HighlightedText(right, visible=marked),
        comparing.score_line(comparison, row, sample) if scored else "",
        comparing.position_line(index, len(every), (row, sample), comparison),
        index,
    ]


def _own_prompt(context: Context, chosen: gr.Dropdown) -> Any:
    """A prompt of one's own, answered by the worker with both models. Returns what draws its answer."""
    with gr.Accordion("Try your own prompt", open=True, elem_id="compare-own"):
        own = gr.Textbox(label="Your prompt", lines=2, max_length=questions.LONGEST, elem_id="compare-own-prompt")
        ask = gr.Button("Ask both models", variant="primary", elem_id="compare-ask")
        state = gr.Markdown("", elem_id="compare-own-state")
        with gr.Row():
            before = gr.Textbox(label="Before", interactive=False, lines=4, max_lines=20, elem_id="compare-own-before")
            after = gr.Textbox(label="After", interactive=False, lines=4, max_lines=20, elem_id="compare-own-after")

    @allowed(*ROLES)
    def put(member: Member, picked: int | None, text: str) -> list[str]:
        if picked is None:
            raise ApplianceError("no run is chosen", "choose a finished run above")
        question = questions.ask(context.store, int(picked), member.id, text)
        return list(comparing.question_state(question))

    @allowed(*ROLES, quiet=True)
    def look(member: Member, picked: int | None) -> list[Any]:
        if picked is None:
            return [gr.skip()] * 3
        asked = questions.recent(context.store, int(picked), member.id, limit=1)
        return list(comparing.question_state(asked[0])) if asked else ["", "", ""]

    ask.click(put, [chosen, own], [state, before, after], show_progress="hidden")
    own.submit(put, [chosen, own], [state, before, after], show_progress="hidden")
    look.shows = [state, before, after]  # type: ignore[attr-defined]
    return look


def downloads(router: APIRouter, desk: Desk) -> None:
    """The report as a page, the answers as a table."""

    @router.get("/{run_id}/report.html")
    def report(run_id: int, member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008 - FastAPI's way
        return report_of(desk, member, run_id)

    @router.get("/{run_id}/answers.csv")
    def answers(run_id: int, member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008
        run = runs.get(desk.store, run_id)
        shown = comparing.read(run)
        audit.record(desk.store, member, "answers exported", run.name)
        return attachment("\ufeff" + comparing.answers_csv(shown.comparison), f"{run.name}-answers.csv")
