"""Step 3 of the Start tab: how large the training is, what it takes, and the settings that matter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import gradio as gr

from appliance.errors import ApplianceError
from appliance.store.users import Member
from appliance.ui import starting_draft, starting_size
from appliance.ui.access import allowed
from appliance.ui.context import Context
from appliance.ui.markdown import plain
from appliance.ui.starting_config import build, weights_of
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_goal import cards_of, needs_example
from appliance.ui.starting_size import EXAMPLE_DISK, EXAMPLE_MEMORY, SETTINGS

ROLES = ("trainer", "admin")
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
TRAIN = [("All weights (full)", "full"), ("A small add-on, which takes less memory (LoRA)", "lora")]


class SizeStep:
    """The widgets of the step; `outputs` in the order of what `view` returns."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.size = gr.Radio(starting_size.size_choices(), value="normal", label="How thorough?", elem_id="start-size")
        self.train = gr.Radio(TRAIN, value="full", label="What learns?", elem_id="start-train")
        self.takes = gr.Markdown("", elem_id="start-takes")
        with gr.Accordion("More settings", open=False, elem_id="start-more"):
            self.changed = gr.Markdown("", elem_id="start-changed")
            self.numbers: dict[str, gr.Number] = {}
            names = list(SETTINGS)
            for pair in (names[at : at + 2] for at in range(0, len(names), 2)):
                with gr.Row():
                    for name in pair:
                        setting = SETTINGS[name]
                        self.numbers[name] = gr.Number(
                            label=setting.label,
                            precision=0 if setting.whole else None,
                            elem_id=f"start-setting-{name}",
                        )
            self.reset = gr.Button("Back to the defaults", size="sm", elem_id="start-reset")
        self.next = gr.Button("Next: check and start", variant="primary", elem_id="start-next-3")
        # What the numbers on the page were drawn for, beside them in the browser: a click on Next right after one on a size
        # brings the numbers of the size before.
        self.beside = gr.Textbox("", visible="hidden", label="Drawn for", elem_id="start-drawn-for")
        self.outputs = [self.size, self.train, self.takes, self.changed, *self.numbers.values(), self.beside]

    def view(self, member: Member, draft: Draft) -> list[Any]:
        """The updates of `outputs`."""
        weights = self._weights(draft)
        values = starting_size.settings_of(draft, weights)
        usual = starting_size.defaults(draft, weights)
        return [
            draft.size,
            starting_size.train_of(draft, weights),
            self._takes(member, draft),
            starting_size.changed_lines(draft, weights),
            *[gr.Number(value=values[name], info=f"Default: {usual[name]:g}") for name in self.numbers],
            f"{draft.size} {starting_size.train_of(draft, weights)}",
        ]

    def _weights(self, draft: Draft) -> int | None:
        return weights_of(draft, cards_of(self.context.settings, self.context.store))

    def _takes(self, member: Member, draft: Draft) -> str:
        """Time, memory and disk, as far as they are known."""
        store, settings = self.context.store, self.context.settings
        try:
            built = build(store, settings, member, draft)
        except ApplianceError as error:
            return f"Not known yet: {plain(error.what)}. {plain(error.fix)}."
        if needs_example(draft, store):
            return (
                "- Time: about **a minute** for the example's own small models, which are trained first, and about "
                f"**a minute** for the training, on two processor cores\n- Memory: {EXAMPLE_MEMORY}\n- Disk: {EXAMPLE_DISK}"
            )
        weights = self._weights(draft)
        known = starting_size.pace(store, weights, starting_size.train_of(draft, weights))
        lines = [
            starting_size.time_line(built.config, known),
            starting_size.memory_line(built.plan),
            starting_size.disk_line(built.config, built.plan, shutil.disk_usage(store.data).free),
        ]
        return "\n".join(f"- {line}" for line in lines)

    def wire(self, everything: list[Any], draw: Callable[[Member], list[Any]]) -> None:
        """Connect the step's events."""
        data = self.context.store.data
        own = self.outputs

        def again(member: Member) -> list[Any]:
            return self.view(member, starting_draft.read(data, member.id))

        @allowed(*ROLES)
        def size(member: Member, name: str) -> list[Any]:
            draft = starting_draft.read(data, member.id)
            kept = {key: value for key, value in draft.settings.items() if key != "steps"}
            starting_draft.change(data, member.id, size=name, settings=kept)
            return again(member)

        @allowed(*ROLES)
        def train(member: Member, name: str) -> list[Any]:
            starting_draft.change(data, member.id, train=name)
            return again(member)

        def keep(member: Member, beside: str, *numbers: float | None) -> tuple[Draft, int | None]:
            """The draft with the numbers, in the order of SETTINGS, which were drawn for the size and training `beside`."""
            draft = starting_draft.read(data, member.id)
            weights = self._weights(draft)
            shown = starting_draft.like(draft, beside)
            values = starting_size.changed(
                dict(zip(self.numbers, numbers, strict=True)), starting_size.defaults(shown, weights)
            )
            if shown.size != draft.size:
                values.pop("steps", None)
            return starting_draft.change(data, member.id, settings=values), weights

        @allowed(*ROLES)
        def number(member: Member, beside: str, *numbers: float | None) -> list[Any]:
            draft, weights = keep(member, beside, *numbers)
            return [self._takes(member, draft), starting_size.changed_lines(draft, weights)]

        @allowed(*ROLES)
        def reset(member: Member) -> list[Any]:
            starting_draft.change(data, member.id, settings={})
            return again(member)

        @allowed(*ROLES)
        def forward(member: Member, size: str, train: str, beside: str, *numbers: float | None) -> list[Any]:
            draft = starting_draft.change(data, member.id, size=size)
            if train != starting_size.train_of(draft, self._weights(draft)):
                starting_draft.change(data, member.id, train=train)
            draft, _ = keep(member, beside, *numbers)
            build(self.context.store, self.context.settings, member, draft)
            starting_draft.go_to(data, member.id, 3)
            return draw(member)

        self.size.input(size, self.size, own, **LIVE)
        self.train.input(train, self.train, own, **LIVE)
        given = [self.beside, *self.numbers.values()]
        for widget in self.numbers.values():
            widget.input(number, given, [self.takes, self.changed], **LIVE)
            widget.blur(number, given, [self.takes, self.changed], **LIVE)
        self.reset.click(reset, None, own, show_progress="hidden")
        self.next.click(forward, [self.size, self.train, *given], everything, show_progress="hidden")
