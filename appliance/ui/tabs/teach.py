"""Teach the scorer: from votes, or preferences of one's own, to a reward model that says how good it is."""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.data import check as checking
from appliance.data.convert import WRITERS
from appliance.errors import ApplianceError
from appliance.store import audit, datasets, runs, vote_batches, vote_records
from appliance.store.schema import Run
from appliance.store.users import Member
from appliance.ui import starting_draft, teaching
from appliance.ui.access import allowed, require
from appliance.ui.catalogue import catalogue
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment, report_of
from appliance.ui.starting_draft import Draft, ModelScorer

TITLE, ORDER, ROLES = "Teach the scorer", 50, ("trainer", "admin")

ALL = "all votes"
KINDS = [".jsonl", ".json", ".csv", ".tsv", ".parquet"]
EXPORTS = ("pairs", "pairs-chat", "hh", "nemo", "ranked")


def build(context: Context) -> None:
    """What can be learned from, the training, and its result."""
    gr.Markdown(
        "## Teach the scorer\n\nThe scorer (reward model) learns from people's choices which of two answers is better. "
        "Training then improves the model against it."
    )
    with gr.Row():
        with gr.Column():
            source = gr.Radio([(ALL, 0)], value=0, label="Learn from", elem_id="teach-source")
            said = gr.Markdown("Loading.", elem_id="teach-usable")
            file = gr.File(label="Or import preferences", file_types=KINDS, height=120, elem_id="teach-file")
            exports = " · ".join(f"[{name}]({context.url(f'download/teach/votes-{name}.jsonl')})" for name in EXPORTS)
            gr.Markdown(f"Export all usable votes: {exports}")
        with gr.Column():
            model = gr.Dropdown([], label="Start from this model", elem_id="teach-model")
            name = gr.Textbox("scorer", label="Name", max_length=60, elem_id="teach-name")
            start = gr.Button("Teach", variant="primary", interactive=False, elem_id="teach-start")
            key = gr.State("")
    gr.Markdown("### Results")
    with gr.Row():
        chosen = gr.Dropdown([], label="Scorer", interactive=True, elem_id="teach-run")
        use = gr.Button("Use in a new run", interactive=False, elem_id="teach-use")
    result = gr.Markdown("", elem_id="teach-result")
    worst = gr.Dataframe(
        headers=teaching.WORST_COLUMNS,
        label="Where it disagrees most with people",
        interactive=False,
        wrap=True,
        max_chars=300,
        visible=False,
        elem_id="teach-worst",
    )

    @allowed(*ROLES, quiet=True)
    def draw(member: Member, picked: Any, wanted: str | None, run_id: int | None, looked: int | None) -> list[Any]:
        cards = [card for card in catalogue(context.settings, context.store) if card.problem is None]
        models = [(card.title, card.model) for card in cards]
        first = wanted if wanted in [path for _, path in models] else (models[0][1] if models else None)
        return [
            gr.Radio(_sources(context, member), value=picked or 0),
            *_said(context, member, picked),
            gr.Dropdown(models, value=first, info=None if models else "No model is on this disk yet."),
            uuid.uuid4().hex,
            *_results(context, run_id, looked),
        ]

    @allowed(*ROLES)
    def look(member: Member, picked: Any) -> list[Any]:
        return _said(context, member, picked)

    @allowed(*ROLES)
    def take(member: Member, path: str | None) -> Any:
        if not path:
            return gr.skip()
        with context.upload(member, path) as uploaded:
            made = import_preferences(context, member, uploaded, Path(path).name)
        audit.record(context.store, member, "preferences imported", made.name)
        gr.Success(f"{made.rows:,} comparisons were read from {made.name}.")
        return gr.Radio(_sources(context, member), value=made.id)

    @allowed(*ROLES)
    def teach(member: Member, picked: Any, path: str | None, title: str, click: str) -> Any:
        run = begin(context, member, picked, path, title, click)
        gr.Success(f"{run.name} is in the queue.")
        return context.open("training", run.id)

    @allowed(*ROLES)
    def see(member: Member, looked: int | None) -> list[Any]:
        return _results(context, None, looked)[1:]

    @allowed(*ROLES)
    def begin_with(member: Member, looked: int | None) -> Any:
        if looked is None:
            raise ApplianceError("no scorer is chosen", "teach one first")
        put_into_draft(context, member, runs.get(context.store, int(looked)))
        return context.open("start")

    shown = [chosen, result, worst, use]
    context.draw(
        draw,
        inputs=[source, model, context.run, chosen],
        outputs=[source, said, start, model, key, *shown],
        every_s=10,
    )
    source.input(look, source, [said, start], show_progress="hidden")
    file.upload(take, file, source).then(look, source, [said, start], show_progress="hidden")
    start.click(teach, [source, model, name, key], [context.tabs, context.run])
    chosen.input(see, chosen, [result, worst, use], show_progress="hidden")
    use.click(begin_with, chosen, [context.tabs, context.run])


def _sources(context: Context, member: Member) -> list[tuple[str, Any]]:
    """All votes, each voting, and imported files."""
    mine = None if member.role == "admin" else member.id
    found: list[tuple[str, Any]] = [(ALL, 0)]
    found += [(f"voting: {batch.name}", batch.id) for batch in vote_batches.batches(context.store)]
    found += [
        (f"file: {one.name} ({one.rows:,})", one.id)
        for one in datasets.list_datasets(context.store, kind="preferences", owner_id=mine)
        if not one.name.startswith("votes-")
    ]
    return found


def _said(context: Context, member: Member, picked: Any) -> list[Any]:
    """What a source comes to, and whether it is enough."""
    if isinstance(picked, str):
        data = datasets.get(context.store, picked, owner_id=None if member.role == "admin" else member.id)
        return [f"**{data.rows:,} comparisons** in {data.name}.", gr.Button(interactive=data.rows >= teaching.NEEDED)]
    found = teaching.usable(vote_records.records(context.store, picked or None))
    return [teaching.usable_sentence(found), gr.Button(interactive=found.missing == 0)]


def _results(context: Context, run_id: int | None, looked: int | None) -> list[Any]:
    """The list of scorers and what one of them is worth."""
    taught = [run for run in runs.list_runs(context.store) if run.stage == "reward"]
    ids = [run.id for run in taught]
    wanted = next((one for one in (looked, run_id, *ids) if one in ids), None)
    names = gr.Dropdown([(f"{run.name} (run {run.id}, {run.state})", run.id) for run in taught], value=wanted)
    if wanted is None:
        return [names, "No scorer was taught here yet.", gr.Dataframe(visible=False), gr.Button(interactive=False)]
    run = taught[ids.index(wanted)]
    if run.state != "done":
        said = f"**{run.name}** is {run.state}" + (f": {run.message}. {run.fix or ''}" if run.message else ".")
        return [names, said, gr.Dataframe(visible=False), gr.Button(interactive=False)]
    try:
        report = teaching.read_result(run)
    except ApplianceError as error:
        return [names, f"{error.what}: {error.fix}.", gr.Dataframe(visible=False), gr.Button(interactive=False)]
    link = context.url(f"download/teach/{run.id}/report.html")
    said = f"{teaching.result_text(report)}\n\n[The whole report (HTML)]({link})"
    rows = teaching.worst_rows(report)
    return [names, said, gr.Dataframe(rows, visible=bool(rows)), gr.Button(interactive=True)]


def put_into_draft(context: Context, member: Member, run: Run) -> None:
    """A new run on the Start tab with this scorer, and the prompts and starting model of the one before."""
    old = starting_draft.read(context.store.data, member.id)
    kept = {"dataset": old.dataset, "column": old.column, "template": old.template, "policy": old.policy}
    fresh = Draft(**kept, models={run.folder: ModelScorer()}, step=1 if old.dataset else 0)
    starting_draft.change(context.store.data, member.id, **fresh.model_dump())


def import_preferences(context: Context, member: Member, file: Path, name: str) -> Any:
    """The uploaded file as a data set of ours. Raises ApplianceError that says what is wrong with it."""
    if file.suffix.lower() not in KINDS:
        raise ApplianceError(f"{name} is of a kind that is not read", f"give one of {', '.join(KINDS)}")
    found = checking.check(str(file), kind="preferences")
    if not found.usable:
        what, fix = found.error or (f"{name} holds no comparisons", "give rows with prompt, chosen and rejected")
        raise ApplianceError(what, fix)
    return datasets.add(
        context.store, name=name, kind="preferences", source=file, rows=found.rows, owner_id=member.id, move=False
    )


def begin(context: Context, member: Member, picked: Any, model: str | None, name: str, key: str) -> Run:
    """Queue the training. Raises ApplianceError where there is too little to learn from."""
    known = {card.model for card in catalogue(context.settings, context.store) if card.problem is None}
    if model not in known:
        raise ApplianceError("no model is chosen to start from", "choose one from the list")
    if isinstance(picked, str):
        data = datasets.get(context.store, picked, owner_id=None if member.role == "admin" else member.id)
        form = "auto"
    else:
        found = teaching.usable(vote_records.records(context.store, picked or None))
        if found.missing:
            raise ApplianceError(
                f"{found.pairs} usable comparisons, {teaching.NEEDED} are needed", "vote on, or import preferences"
            )
        data, form = keep_votes(context, member, teaching.rows_jsonl(found.rankings), found.pairs), "ranked"
    text = teaching.config_yaml(
        name=name.strip() or "scorer", model=model, source=datasets.path_of(context.store, data), format=form
    )
    run = runs.enqueue(
        context.store,
        config_yaml=text,
        name=name.strip() or "scorer",
        stage="reward",
        owner_id=member.id,
        key=f"teach-{member.id}-{key}",
        dataset_id=data.id,
    )
    audit.record(context.store, member, "start", run.name)
    return run


def keep_votes(context: Context, member: Member, lines: str, count: int) -> Any:
    """The votes as they are now, as a data set: later votes do not change what a run was trained on."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "votes.jsonl"
        file.write_text(lines, encoding="utf-8")
        return datasets.add(
            context.store,
            name=f"votes-{count}.jsonl",
            kind="preferences",
            source=file,
            rows=count,
            owner_id=member.id,
            move=False,
        )


def downloads(router: APIRouter, desk: Desk) -> None:
    """Votes in the formats that the data layer knows, and a scorer's report."""

    @router.get("/votes-{form}.jsonl")
    def votes(form: str, member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008 - FastAPI's way
        if form not in EXPORTS:
            raise ApplianceError(f"there is no format {form!r}", f"choose one of {', '.join(EXPORTS)}")
        rows, _ = WRITERS[form](vote_records.rankings(vote_records.records(desk.store)))
        audit.record(desk.store, member, "votes exported", form)
        return attachment("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), f"votes-{form}.jsonl")

    @router.get("/{run_id}/report.html")
    def report(run_id: int, member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008
        return report_of(desk, member, run_id)
