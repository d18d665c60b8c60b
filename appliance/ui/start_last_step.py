"""Step 4 of the Start tab: the list of checks, two answers written and scored, the YAML, and the button that starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gradio as gr

from appliance import parts
from appliance.errors import ApplianceError
from appliance.store import audit, runs
from appliance.store.users import Member
from appliance.ui import starting_checks, starting_config, starting_draft
from appliance.ui.access import allowed
from appliance.ui.context import Context
from appliance.ui.markdown import plain
from appliance.ui.starting_config import build
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_goal import needs_example

ROLES = ("trainer", "admin")
HEADERS = ["Prompt", "Answer of the starting model", "Score"]


class LastStep:
    """The widgets of the step; `outputs` in the order of what `view` returns."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.name = gr.Textbox(label="Name of the training", max_length=48, elem_id="start-name")
        self.checks = gr.Markdown("", elem_id="start-checks")
        self.answers = gr.Dataframe(
            headers=HEADERS,
            interactive=False,
            wrap=True,
            visible=False,
            label="Tried",
            column_widths=["28%", "54%", "18%"],
            elem_id="start-answers",
        )
        self.said = gr.Markdown("", elem_id="start-said")
        with gr.Row():
            self.go = gr.Button("Start training", variant="primary", interactive=False, elem_id="start-go")
            self.open = gr.Button("See how it goes", variant="primary", visible=False, elem_id="start-open")
            self.new = gr.Button("Another training", visible=False, elem_id="start-another")
        with gr.Accordion("The settings as a file (YAML)", open=False, elem_id="start-yaml-box"):
            gr.Markdown("Exactly what runs. `appliance train ppo --config FILE` takes it on the command line.")
            self.code = gr.Code("", language="yaml", interactive=False, max_lines=25, elem_id="start-yaml")
            gr.Button(
                "Download", link=context.url("download/start/config.yaml"), size="sm", elem_id="start-yaml-download"
            )
        self.key = gr.State(None)  # of the one run that a click on Start makes
        self.ticking = [self.checks, self.answers, self.said, self.go, self.open, self.new]
        self.outputs = [self.name, *self.ticking, self.code, self.key]

    def view(self, member: Member, draft: Draft) -> list[Any]:
        """The updates of `outputs`; begins the checks where this step is open."""
        store, settings = self.context.store, self.context.settings
        try:
            built = build(store, settings, member, draft)
        except ApplianceError as error:
            wrong = f"✗ {plain(error.what)}. {plain(error.fix)}."
            shown = [wrong, gr.Dataframe(visible=False), "", gr.Button(interactive=False, visible=True)]
            return [draft.name, *shown, gr.Button(visible=False), gr.Button(visible=False), "", draft.key]
        if draft.step == 3 and draft.started is None:
            folder = starting_draft.folder_of(store.data, member.id)
            if not needs_example(draft, store):
                starting_checks.begin_checks(store, folder / "checks", built)
            starting_checks.begin_preflight(folder / "preflight")
        return [built.config.name, *self._standing(member, draft, built), built.yaml, draft.key]

    def _standing(self, member: Member, draft: Draft, built: starting_config.Built) -> list[Any]:
        """The updates of `ticking`."""
        store = self.context.store
        if draft.started is not None:
            return self._started(draft.started)
        folder = starting_draft.folder_of(store.data, member.id)
        place = starting_checks.next_place(store)
        waits = needs_example(draft, store)
        found = starting_checks.checklist(
            store,
            folder / "checks",
            built,
            example=waits,
            place=place,
            preflight=starting_checks.preflight_check(folder / "preflight"),
        )
        rows = [[one["prompt"], one["response"], score_text(one)] for one in found.answers]
        label = "Start training" if place == 1 else f"Add to the queue (place {place})"
        said = "Click Start: the small models are trained first, then your training. Both show above." if waits else ""
        return [
            "  \n".join(check.line for check in found.checks),
            gr.Dataframe(rows, visible=bool(rows)),
            said,
            gr.Button(label, interactive=found.may_start, visible=True),
            gr.Button(visible=False),
            gr.Button(visible=False),
        ]

    def _started(self, number: int) -> list[Any]:
        store = self.context.store
        try:
            run = runs.get(store, number)
            place = runs.queue_place(store, number)
            where = f"is number {place} in the queue" if place else f"is {run.state}"
            said = f"**Started.** The training **{plain(run.name)}** {where}. It goes on without this page."
            there = True
        except ApplianceError:
            said, there = "The training that was started here has been deleted.", False
        hidden = [gr.Dataframe(visible=False)]
        return [
            "",
            *hidden,
            said,
            gr.Button(visible=False),
            gr.Button(visible=there),
            gr.Button(visible=True),
        ]

    def wire(self, everything: list[Any], draw: Callable[[Member], list[Any]]) -> None:
        """Connect the step's events."""
        context = self.context
        store, settings, data = context.store, context.settings, context.store.data
        places = [context.tabs, context.run]

        @allowed(*ROLES, quiet=True)
        def look(member: Member) -> list[Any]:
            draft = starting_draft.read(data, member.id)
            if draft.step != 3:
                return [gr.skip()] * len(self.ticking)
            try:
                built = build(store, settings, member, draft)
            except ApplianceError:
                return [gr.skip()] * len(self.ticking)
            return self._standing(member, draft, built)

        def named(member: Member, name: str) -> bool:
            """Enter the name; whether it is another one than before. A blur alone changes nothing."""
            draft = starting_draft.read(data, member.id)
            if draft.started is not None or name.strip() == build(store, settings, member, draft).config.name:
                return False
            starting_draft.change(data, member.id, name=name.strip()[:48])
            return True

        @allowed(*ROLES)
        def rename(member: Member, name: str) -> list[Any]:
            return draw(member) if named(member, name) else [gr.skip()] * len(everything)

        @allowed(*ROLES)
        def go(member: Member, key: str | None, name: str) -> list[Any]:
            named(member, name)
            run, new = starting_config.start(store, settings, member, str(key))
            if new:
                audit.record(store, member, "start", run.name, {"run": run.id, "stage": run.stage})
                gr.Success(f"{run.name} is in the queue.")
            return [*draw(member), *self._opened(run.id)]

        @allowed(*ROLES)
        def show(member: Member) -> Any:
            started = starting_draft.read(data, member.id).started
            return self._opened(started) if started is not None else (gr.skip(), gr.skip())

        @allowed(*ROLES)
        def another(member: Member) -> list[Any]:
            starting_draft.again(data, member.id)
            return draw(member)

        self.context.draw(look, outputs=self.ticking, every_s=2)
        self.name.submit(rename, self.name, everything, show_progress="hidden")
        self.name.blur(rename, self.name, everything, show_progress="hidden")
        self.go.click(go, [self.key, self.name], [*everything, *places], show_progress="hidden")
        self.open.click(show, None, places, show_progress="hidden")
        self.new.click(another, None, everything, show_progress="hidden")

    def _opened(self, run_id: int) -> tuple[Any, Any]:
        if "training" not in parts.names("ui/tabs"):
            return gr.skip(), run_id
        return self.context.open("training", run_id)


def score_text(answer: dict[str, Any]) -> str:
    """A score for the table; of a blend before its scales are measured, each part's own."""
    if answer.get("score") is not None:
        return f"{answer['score']:.3g}"
    return ", ".join(
        f"{re.sub(r'-[0-9]$', '', name)} {score:.3g}" for name, score in (answer.get("parts") or {}).items()
    )
