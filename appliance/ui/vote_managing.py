"""For those who run a voting: make one from a finished run, see who wins and how raters judge, take the votes away."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.errors import ApplianceError
from appliance.evaluate.vote_items import ITEMS
from appliance.evaluate.voting import agreement, first_side, longer, raters, win_rate
from appliance.store import audit, runs, vote_batches, vote_records
from appliance.store.users import Member
from appliance.ui import comparing
from appliance.ui.access import allowed, require
from appliance.ui.context import SILENT, Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.voting import (
    RATER_COLUMNS,
    agreement_sentence,
    pull_sentence,
    rater_rows,
    votes_csv,
    win_sentence,
)

MANAGERS = ("trainer", "admin")
MODES = [("Two answers at a time", "pair"), ("Rank four answers", "best_of_4")]
MOST_ITEMS = 500


def build(context: Context, batch: gr.Dropdown) -> None:
    """The manager's part, below the voting itself. `batch` is the voting that is looked at."""
    with gr.Accordion("Results so far", open=False, elem_id="vote-results") as results_box:
        said = gr.Markdown("Loading.", elem_id="vote-said")
        table = gr.Dataframe(headers=RATER_COLUMNS, interactive=False, wrap=True, elem_id="vote-raters")
        with gr.Row():
            rater = gr.Dropdown([], label="Rater", elem_id="vote-rater")
            leave = gr.Button("Leave out / take in again", elem_id="vote-exclude")
            close = gr.Button("Close this voting", elem_id="vote-close")
        gr.Markdown(f"[Download all votes (CSV)]({context.url('download/vote/votes.csv')})")
    with gr.Accordion("New voting", open=False, elem_id="vote-new"):
        run = gr.Dropdown([], label="Answers of which finished run?", elem_id="vote-new-run")
        name = gr.Textbox(label="Name", max_length=100, elem_id="vote-new-name")
        mode = gr.Radio(MODES, value="pair", label="How", elem_id="vote-new-mode")
        most = gr.Slider(
            10, MOST_ITEMS, value=60, step=10, label="At most so many comparisons", elem_id="vote-new-most"
        )
        guideline = gr.Textbox(
            label="What should raters look for? (shown above each pair)", lines=2, elem_id="vote-new-guide"
        )
        make = gr.Button("Make the voting", variant="primary", elem_id="vote-new-make")

    @allowed(*MANAGERS, quiet=True)
    def draw(member: Member, wanted: int | None, chosen: int | None) -> list[Any]:
        return [*_results(context, wanted), _run_choices(context, chosen)]

    @allowed(*MANAGERS)
    def create(member: Member, run_id: int | None, title: str, how: str, limit: float, guide: str) -> Any:
        made = new_batch(context, run_id, title, how, int(limit), guide)
        audit.record(context.store, member, "voting made", title or f"run {run_id}")
        gr.Success("The voting is open. Raters find it on the Vote page.")
        return gr.Dropdown(value=made, choices=_batch_choices(context), visible=True)

    @allowed(*MANAGERS)
    def turn(member: Member, wanted: int | None, user_id: int | None) -> None:
        if wanted is None or user_id is None:
            raise ApplianceError("no rater is chosen", "choose one in the list")
        found = next(
            (r for r in raters(vote_records.records(context.store, int(wanted))) if r.user_id == user_id), None
        )
        if found is None:
            raise ApplianceError("this rater has no votes here", "choose one in the list")
        vote_records.exclude(context.store, int(wanted), found.user_id, excluded=not found.excluded)
        audit.record(context.store, member, "rater left out" if not found.excluded else "rater taken in", found.name)

    @allowed(*MANAGERS)
    def end(member: Member, wanted: int | None) -> None:
        if wanted is not None:
            vote_batches.close_batch(context.store, int(wanted))
            audit.record(context.store, member, "voting closed", f"voting {wanted}")
            gr.Info("Closed. Its votes stay.")

    everything = [said, table, rater, run]
    context.draw(draw, inputs=[batch, run], outputs=everything, every_s=10)
    results_box.expand(draw, [batch, run], everything, **SILENT)
    context.after(make.click(create, [run, name, mode, most, guideline], batch))
    context.after(leave.click(turn, [batch, rater], None))
    context.after(close.click(end, batch, None))


def _results(context: Context, wanted: int | None) -> list[Any]:
    batch_id = int(wanted) if wanted is not None else None
    votes = vote_records.records(context.store, batch_id)
    found = raters(votes)
    lines = [
        win_sentence(win_rate(votes)),
        agreement_sentence(agreement(votes)),
        pull_sentence(first_side(votes), longer(votes)),
    ]
    names = [(rater.name, rater.user_id) for rater in found]
    return ["\n\n".join(line for line in lines if line), rater_rows(found), gr.Dropdown(names)]


def _batch_choices(context: Context) -> list[tuple[str, int]]:
    return [(one.name, one.id) for one in vote_batches.batches(context.store, open_only=True)]


def _run_choices(context: Context, chosen: int | None) -> gr.Dropdown:
    """The finished runs, newest first; the newest is chosen where none is yet."""
    done = [run for run in runs.list_runs(context.store, states=("done",)) if run.stage == "ppo"]
    choices = [(f"{run.name} (run {run.id})", run.id) for run in done]
    return gr.Dropdown(choices, value=done[0].id) if done and chosen is None else gr.Dropdown(choices)


def new_batch(context: Context, run_id: int | None, name: str, mode: str, limit: int, guideline: str) -> int:
    """A voting over a finished run's answers. Raises ApplianceError for a run without a report, or without differences."""
    if run_id is None:
        raise ApplianceError("no run is chosen", "choose a finished run; its answers before and after are compared")
    if mode not in ITEMS:
        raise ApplianceError(f"{mode!r} is no way to vote", "choose two answers, or four")
    run = runs.get(context.store, int(run_id))
    items = ITEMS[mode](comparing.answers(run), min(max(limit, 1), MOST_ITEMS))
    title = name.strip() or f"{run.name}: before and after"
    return vote_batches.create_batch(
        context.store, name=title[:100], mode=mode, items=items, run_id=run.id, guideline=guideline.strip()
    )


def downloads(router: APIRouter, desk: Desk) -> None:
    """All votes as a table."""

    @router.get("/votes.csv")
    def votes_file(member: Member = Depends(require(*MANAGERS))) -> Response:  # noqa: B008 - FastAPI's way
        audit.record(desk.store, member, "votes exported")
        return attachment("\ufeff" + votes_csv(vote_records.records(desk.store)), "votes.csv")
