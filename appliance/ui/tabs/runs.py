"""Runs: every training so far, one of them looked at, or two to four beside each other."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from appliance.errors import ApplianceError
from appliance.store import audit, run_folders, run_names, runs
from appliance.store.files import size_text
from appliance.store.users import Member
from appliance.ui import run_list, run_list_compare, run_list_export
from appliance.ui.access import allowed, require
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.markdown import plain
from appliance.ui.run_list import Line
from appliance.ui.run_list_several import SeveralRuns

TITLE, ORDER, ROLES = "Runs", 60, ("trainer", "admin")

EMPTY = "There is no run yet. What you train is listed here, with its result, its numbers and its files."
LONGEST_NOTE = 2000


def build(context: Context) -> None:
    """The list, one run, and several beside each other."""
    gr.Markdown("## Runs")
    with gr.Row():
        words = gr.Textbox(label="Search", placeholder="Name, person, state, note ...", elem_id="runs-search")
        starred = gr.Checkbox(False, label="Only those with a star", elem_id="runs-starred")
    said = gr.Markdown("Loading.", elem_id="runs-said")
    table = gr.Dataframe(
        headers=list(run_list.COLUMNS),
        datatype="str",
        interactive=False,
        label="Choose a row to look at the run",
        column_widths=list(run_list.WIDTHS),
        max_height=420,
        visible=False,
        elem_id="runs-table",
    )
    seen = gr.State("")
    chosen = gr.Dropdown([], label="Run to look at", interactive=True, elem_id="runs-run")
    one = OneRun(context, chosen)
    several = SeveralRuns(context)

    @allowed(*ROLES, quiet=True)
    def draw(member: Member, text: str, stars: bool, mark: str, run_id: int | None, picked: int | None) -> list[Any]:
        every = run_list.lines(context.store, _votes(context))
        found = run_list.search(every, text or "", starred=stars)
        cells = [line.cells() for line in found]
        ids = [line.run.id for line in every]
        wanted = next((number for number in (run_id, picked, *ids) if number in ids), None)
        now = f"{hash(str(cells))} {ids} {wanted} {[line.run.name for line in every]}"
        if now == mark:
            return [gr.skip()] * 5
        names = [(f"{line.run.name} (run {line.run.id}, {line.run.state})", line.run.id) for line in every]
        return [
            _counted(len(found), len(every)),
            gr.Dataframe(cells, visible=bool(cells)),
            gr.Dropdown(names, value=wanted, visible=bool(every)),
            gr.Dropdown([(run_list_compare.label(line.run), line.run.id) for line in every]),
            now,
        ]

    @allowed(*ROLES)
    def pick(member: Member, row: gr.SelectData) -> Any:
        return int(row.row_value[0])

    asked = [words, starred, seen, context.run, chosen]
    shown = [said, table, chosen, several.runs, seen]
    context.draw(draw, inputs=asked, outputs=shown, every_s=5)
    words.change(draw, asked, shown, show_progress="hidden")
    starred.change(draw, asked, shown, show_progress="hidden")
    # Choosing anywhere writes the run into the address, and every part follows from there.
    table.select(pick, None, chosen, show_progress="hidden")
    chosen.change(one.show, chosen, [*one.outputs, context.run], show_progress="hidden")
    one.wire(draw, asked, shown)


def _counted(found: int, every: int) -> str:
    if not every:
        return EMPTY
    total = f"{every} run" + "s" * (every != 1)
    return f"{total}." if found == every else f"{found} of {total} fit the search."


def _votes(context: Context) -> dict[int, Any]:
    """Win rates, counted again only when a vote came or went."""
    mark = run_list.votes_mark(context.store)
    known = context.desk.signs.get("runs-votes")
    if isinstance(known, tuple) and known[0] == mark:
        return known[1]
    found = run_list.win_rates(context.store)
    context.desk.signs["runs-votes"] = (mark, found)
    return found


class OneRun:
    """One run: what it is, what may be changed, its files, and how its model is used."""

    def __init__(self, context: Context, chosen: gr.Dropdown) -> None:
        self.context, self.chosen = context, chosen
        with gr.Column(visible=False, elem_id="runs-one") as self.box:
            self.about = gr.Markdown("", elem_id="runs-about")
            with gr.Row():
                self.name = gr.Textbox(label="Name", max_length=runs.NAME_LENGTH, elem_id="runs-name")
                self.star = gr.Checkbox(False, label="Star", elem_id="runs-star")
            self.note = gr.Textbox(label="Note", lines=2, max_length=LONGEST_NOTE, elem_id="runs-note")
            with gr.Row():
                self.save = gr.Button("Save name, star and note", variant="primary", elem_id="runs-save")
                self.delete = gr.Button("Delete ...", elem_id="runs-delete")
            self.why = gr.Markdown("", elem_id="runs-why-not")
            with gr.Column(visible=False, elem_id="runs-confirm") as self.confirm:
                self.question = gr.Markdown("", elem_id="runs-question")
                with gr.Row():
                    self.sure = gr.Button("Delete for good", variant="stop", elem_id="runs-delete-sure")
                    self.keep = gr.Button("Keep it", elem_id="runs-delete-no")
            self.parts = gr.CheckboxGroup([], label="Files to download", elem_id="runs-parts")
            self.download = gr.Button("Download as zip", link="", elem_id="runs-download")
            with gr.Accordion("How to use this model", open=False, elem_id="runs-use"):
                gr.Markdown(
                    "Download the trained model, unpack the zip, install PyTorch and transformers "
                    "(`pip install torch transformers`), and run this Python. `sha256sum -c SHA256SUMS` in the "
                    "unpacked folder checks the files."
                )
                self.code = gr.Code(
                    "", language="python", interactive=False, label="Python", wrap_lines=True, elem_id="runs-code"
                )
        files = [self.parts, self.download]
        self.outputs = [
            *(self.box, self.about, self.name, self.star, self.note, self.delete, self.why, self.confirm),
            *files,
            self.code,
        ]

        @allowed(*ROLES)
        def show(member: Member, picked: int | None) -> list[Any]:
            return [*self.shown(member, picked), picked]

        self.show = show

    def wire(self, draw: Any, asked: list[Any], shown: list[Any]) -> None:
        """Connect the buttons; after a change the list is drawn again."""
        context, chosen = self.context, self.chosen

        @allowed(*ROLES)
        def keep(member: Member, picked: int | None, name: str, star: bool, note: str) -> list[Any]:
            run = runs.get(context.store, _number(picked))
            new = run_names.rename(context.store, run.id, name) if name.strip() != run.name else run.name
            runs.star(context.store, run.id, bool(star))
            runs.note(context.store, run.id, note[:LONGEST_NOTE])
            if new != run.name:
                audit.record(context.store, member, "run renamed", run.name, {"to": new, "run": run.id})
            gr.Success("Saved.")
            return self.shown(member, run.id)

        @allowed(*ROLES)
        def ask(member: Member, picked: int | None) -> list[Any]:
            run = runs.get(context.store, _number(picked))
            _check_delete(run, member)
            freed = size_text(run_folders.size(run_folders.of(context.store, run.id).path))
            text = (
                f"**Delete {plain(run.name)}?** Its model, numbers, report and checkpoints are removed, and "
                f"{freed} are free again. Votes on its answers stay. This cannot be undone."
            )
            return [gr.Column(visible=True), text]

        @allowed(*ROLES)
        def delete(member: Member, picked: int | None) -> list[Any]:
            run = runs.get(context.store, _number(picked))
            _check_delete(run, member)
            freed = run_folders.delete(context.store, run.id)
            audit.record(context.store, member, "run deleted", run.name, {"run": run.id, "bytes": freed})
            gr.Success(f"{run.name} was deleted: {size_text(freed)} are free again.")
            return [gr.Column(visible=False), None, gr.Column(visible=False)]

        @allowed(*ROLES)
        def leave(member: Member) -> Any:
            return gr.Column(visible=False)

        @allowed(*ROLES, quiet=True)
        def fewer(member: Member, picked: int | None, names: list[str]) -> Any:
            return self.button(runs.get(context.store, _number(picked)), names)

        changed = self.save.click(keep, [chosen, self.name, self.star, self.note], self.outputs)
        changed.then(draw, asked, shown, show_progress="hidden")
        self.delete.click(ask, chosen, [self.confirm, self.question], show_progress="hidden")
        gone = self.sure.click(delete, chosen, [self.confirm, context.run, self.box])
        gone.then(draw, asked, shown, show_progress="hidden")
        self.keep.click(leave, None, self.confirm, show_progress="hidden")
        self.parts.input(fewer, [chosen, self.parts], self.download, show_progress="hidden")

    def shown(self, member: Member, picked: int | None) -> list[Any]:
        """Updates for `outputs`."""
        line = None if picked is None else _line(self.context, int(picked))
        if line is None:
            return [gr.Column(visible=False), *[gr.skip()] * (len(self.outputs) - 1)]
        run, why = line.run, run_list.may_delete(line.run, member)
        found = run_list_export.parts(run)
        names = [part.name for part in found]
        choices = [(f"{part.title}, {size_text(part.size_bytes)}", part.name) for part in found]
        code = run_list_export.snippet(run)
        return [
            gr.Column(visible=True),
            run_list.about(line, run_folders.size(run_folders.of(self.context.store, run.id).path)),
            run.name,
            run.starred,
            run.note,
            gr.Button(interactive=why is None),
            why or "",
            gr.Column(visible=False),
            gr.CheckboxGroup(choices, value=names),
            self.button(run, names),
            code or "# There is no model yet: it is written when the training ends.",
        ]

    def button(self, run: Any, names: list[str]) -> Any:
        """The download button for these parts of the run."""
        known = {part.name: part.size_bytes for part in run_list_export.parts(run)}
        names = [name for name in names or [] if name in known]
        if not names:
            return gr.Button("Choose what to download", link="", interactive=False)
        url = self.context.url(f"download/runs/{run.id}.zip?parts={','.join(names)}")
        return gr.Button(
            f"Download as zip (about {size_text(sum(known[name] for name in names))})",
            link=url,
            interactive=True,
        )


def _number(picked: int | None) -> int:
    if picked is None:
        raise ApplianceError("no run is chosen", "choose one from the list")
    return int(picked)


def _line(context: Context, run_id: int) -> Line | None:
    return next((line for line in run_list.lines(context.store, _votes(context)) if line.run.id == run_id), None)


def _check_delete(run: Any, member: Member) -> None:
    why = run_list.may_delete(run, member)
    if why is not None:
        what, _, fix = why.partition(". ")
        raise ApplianceError(f"{run.name} is not deleted: {what[0].lower()}{what[1:].rstrip('.')}", fix or "ask them")


def downloads(router: APIRouter, desk: Desk) -> None:
    """A run as one zip with checksums."""

    @router.get("/{run_id}.zip")
    def whole(
        run_id: int,
        parts: str | None = None,
        member: Member = Depends(require(*ROLES)),  # noqa: B008 - FastAPI's way
    ) -> StreamingResponse:
        run, names = runs.get(desk.store, run_id), run_list_export.chosen_parts(parts)
        pieces = run_list_export.stream(run, names)
        audit.record(desk.store, member, "run exported", run.name, {"run": run.id, "parts": names})
        headers = dict(attachment("", f"{run.name}.zip").headers)
        headers.pop("content-length")
        return StreamingResponse(pieces, headers=headers)
