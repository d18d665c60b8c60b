"""Step 1 of the Start tab: prompts from a file, from the clipboard or from the example, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from appliance.errors import ApplianceError
from appliance.store import audit, datasets
from appliance.store.users import Member
from appliance.ui import starting_draft, starting_prompts
from appliance.ui.access import allowed, sentence
from appliance.ui.context import Context
from appliance.ui.starting_config import check_prompts, dataset_of, mine
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_example import fill_example
from appliance.ui.starting_prompts import ENDINGS, FIXES

ROLES = ("trainer", "admin")
EXAMPLE_SAID = (
    "**The example**: 1,000 beginnings of film reviews. A small model continues them, and learns to be kinder. It fills all "
    "four steps; the training takes a minute or two on a laptop."
)


class PromptsStep:
    """The widgets of the step; `outputs` in the order of what `view` returns."""

    def __init__(self, context: Context) -> None:
        self.context = context
        gr.Markdown(
            "What should the model practise on? Give it prompts: the beginnings or questions that it will answer."
        )
        with gr.Row():
            with gr.Column(min_width=260):
                self.file = gr.File(
                    label="Upload a file",
                    file_types=list(ENDINGS),
                    height=150,
                    elem_id="start-prompts-file",
                )
                gr.Markdown(".txt with one prompt a line, .csv, .tsv, .jsonl, .json or .parquet")
            with gr.Column(min_width=260):
                self.pasted = gr.Textbox(
                    label="Or paste them, one a line", lines=5, max_lines=8, elem_id="start-prompts-paste"
                )
                self.take = gr.Button("Use these prompts", size="sm", elem_id="start-prompts-take")
            with gr.Column(min_width=260):
                gr.Markdown(EXAMPLE_SAID)
                self.example = gr.Button("Try the example", variant="primary", elem_id="start-example")
                self.known = gr.Dropdown([], label="Or an earlier upload", visible=False, elem_id="start-prompts-known")
        self.summary = gr.Markdown("Loading.", elem_id="start-prompts-summary")
        with gr.Column(visible=False) as self.box:
            with gr.Row():
                self.column = gr.Dropdown([], label="Which column holds the prompts?", elem_id="start-prompts-column")
                self.template = gr.Textbox(
                    label="Template (optional)",
                    placeholder="Summarize: {dialogue}",
                    info="A text around each prompt; {column} stands for the column's text.",
                    max_length=2000,
                    elem_id="start-prompts-template",
                )
            with gr.Row():
                with gr.Column(min_width=300):
                    gr.Markdown("### Problems", elem_id="start-prompts-problems-title")
                    self.problems = gr.Markdown("", elem_id="start-prompts-problems")
                    with gr.Row():
                        self.fixes = {
                            kind: gr.Button(said, size="sm", visible=False, min_width=180, elem_id=f"start-fix-{kind}")
                            for kind, said in FIXES.items()
                        }
                    self.split = gr.Markdown("", elem_id="start-prompts-split")
                with gr.Column(min_width=300):
                    self.plot = gr.BarPlot(
                        x="characters",
                        y="prompts",
                        x_title="length in characters",
                        y_title="prompts",
                        label="How long the prompts are",
                        height=240,
                        x_label_angle=-40,
                        y_lim=[0, None],  # type: ignore[list-item]
                        elem_id="start-prompts-lengths",
                    )
            self.table = gr.Dataframe(
                label="The first 20 rows",
                interactive=False,
                wrap=True,
                max_chars=200,
                max_height=320,
                show_row_numbers=True,
                elem_id="start-prompts-table",
            )
        self.next = gr.Button("Next: the goal", variant="primary", interactive=False, elem_id="start-next-1")
        self.outputs = [
            self.file,
            self.pasted,
            self.known,
            self.summary,
            self.box,
            self.column,
            self.template,
            self.problems,
            *self.fixes.values(),
            self.split,
            self.plot,
            self.table,
            self.next,
        ]

    def view(self, member: Member, draft: Draft) -> list[Any]:
        """The updates of `outputs`."""
        store = self.context.store
        earlier = datasets.list_datasets(store, kind="prompts", owner_id=mine(member))[:30]
        known = gr.Dropdown(
            [(f"{one.name} ({one.rows:,} rows)", one.id) for one in earlier],
            value=draft.dataset if any(one.id == draft.dataset for one in earlier) else None,
            visible=bool(earlier),
        )
        head = [gr.File(value=None), gr.skip(), known]
        try:
            dataset, looked = dataset_of(store, member, draft)
        except ApplianceError as error:
            said = "No prompts yet." if draft.dataset is None else f"{error.what}: {error.fix}."
            rest = [gr.skip()] * (len(self.outputs) - 6)
            return [*head, said, gr.Column(visible=False), *rest, gr.Button(interactive=False)]
        checked = looked.checked
        headers, rows = starting_prompts.preview(checked)
        names = [column.name for column in checked.columns]
        kinds = {problem.kind for problem in checked.problems}
        bars = starting_prompts.histogram(looked.lengths)
        try:
            split, ready = f"**{check_prompts(store, member, draft).sentence}**.", True
        except ApplianceError as error:
            split, ready = ("" if checked.error else f"{error.what}: {error.fix}."), False
        return [
            *head,
            starting_prompts.summary(checked, dataset.name),
            gr.Column(visible=True),
            gr.Dropdown(names, value=checked.column if checked.column in names else None, visible=len(names) > 1),
            draft.template,
            starting_prompts.problem_lines(checked),
            *[gr.Button(visible=kind in kinds) for kind in FIXES],
            split,
            gr.BarPlot(
                pd.DataFrame(bars, columns=["characters", "prompts"]),
                sort=[name for name, _ in bars],
                y_lim=[0, max([count for _, count in bars], default=1)],
            ),
            gr.Dataframe(rows, headers=headers) if headers else gr.skip(),
            gr.Button(interactive=ready),
        ]

    def wire(self, everything: list[Any], draw: Callable[[Member], list[Any]]) -> None:
        """Connect the step's events; each draws the whole tab from the draft."""
        store, data = self.context.store, self.context.store.data

        def take(member: Member, dataset: Any) -> list[Any]:
            audit.record(store, member, "upload", dataset.name, {"rows": dataset.rows})
            starting_draft.go_to(data, member.id, 0, dataset=dataset.id, column=None, template="", example=False)
            return draw(member)

        def refused(member: Member, what: str, error: ApplianceError) -> list[Any]:
            """The tab as it was, with the reason where the summary stands: a toast would be gone while it is read."""
            starting_draft.change(data, member.id, step=0)
            updates = draw(member)
            why = f"{what} {starting_prompts.plain(sentence(error.what))} {starting_prompts.plain(sentence(error.fix))}"
            kept = updates[everything.index(self.summary)]
            updates[everything.index(self.summary)] = f"{why}\n\n{kept}"
            return updates

        @allowed(*ROLES)
        def uploaded(member: Member, path: str | None) -> list[Any]:
            if path is None:
                return [gr.skip()] * len(everything)
            name = Path(path).name
            try:
                with self.context.upload(member, path) as file:
                    return take(member, starting_prompts.keep(store, file, name, member.id))
            except ApplianceError as error:
                return refused(member, f"**{starting_prompts.plain(name)} was not taken.**", error)

        @allowed(*ROLES)
        def pasted(member: Member, text: str) -> list[Any]:
            try:
                return take(member, starting_prompts.keep_text(store, text, "pasted.txt", member.id))
            except ApplianceError as error:
                return refused(member, "**Not taken.**", error)

        @allowed(*ROLES)
        def earlier(member: Member, dataset_id: str | None) -> list[Any]:
            if dataset_id is not None:
                dataset = datasets.get(store, dataset_id, owner_id=mine(member))
                starting_draft.go_to(
                    data, member.id, 0, dataset=dataset.id, column=dataset.column, template="", example=False
                )
            return draw(member)

        def reread(member: Member, column: str | None, template: str) -> bool:
            """Enter how the file is to be read; whether that is another way than before. A blur alone changes nothing."""
            draft = starting_draft.read(data, member.id)
            _, looked = dataset_of(store, member, draft)
            wanted = template.strip() and template
            if column in (None, draft.column, looked.checked.column) and wanted == draft.template:
                return False
            starting_draft.go_to(data, member.id, 0, column=column or draft.column, template=wanted)
            return True

        @allowed(*ROLES)
        def read(member: Member, column: str | None, template: str) -> list[Any]:
            return draw(member) if reread(member, column, template) else [gr.skip()] * len(everything)

        @allowed(*ROLES)
        def fix(member: Member, kind: str) -> list[Any]:
            draft = starting_draft.read(data, member.id)
            dataset, looked = dataset_of(store, member, draft)
            column = looked.checked.column
            made = starting_prompts.clean(store, dataset, column, draft.template, kind, member.id)
            starting_draft.go_to(data, member.id, 0, dataset=made.id, column=column)
            gr.Success(f"A copy without them was made: {made.rows:,} rows.")
            return draw(member)

        @allowed(*ROLES)
        def example(member: Member) -> list[Any]:
            fill_example(self.context.store, member)
            return draw(member)

        @allowed(*ROLES)
        def forward(member: Member, column: str | None, template: str) -> list[Any]:
            reread(member, column, template)
            check_prompts(store, member, starting_draft.read(data, member.id))
            starting_draft.go_to(data, member.id, 1)
            return draw(member)

        reading: dict[str, Any] = {"show_progress": "full", "show_progress_on": self.summary}
        self.file.upload(uploaded, self.file, everything, **reading)
        self.take.click(pasted, self.pasted, everything, **reading)
        self.known.input(earlier, self.known, everything, show_progress="hidden")
        self.column.input(read, [self.column, self.template], everything, show_progress="hidden")
        self.template.blur(read, [self.column, self.template], everything, show_progress="hidden")
        self.template.submit(read, [self.column, self.template], everything, show_progress="hidden")
        for kind, button in self.fixes.items():
            button.click(fix, gr.State(kind), everything, show_progress="hidden")
        self.example.click(example, None, everything, show_progress="hidden")
        self.next.click(forward, [self.column, self.template], everything, show_progress="hidden")
