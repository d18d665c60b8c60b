"""What a tab is given: the store, the settings, the run that is looked at, and ways to be drawn. See `appliance.ui`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from appliance.settings import Settings
from appliance.store.db import Store
from appliance.store.users import Member
from appliance.ui.desk import Desk


@dataclass(frozen=True)
class Drawing:
    """A function that shows something from the store, and how often."""

    function: Callable[..., Any]
    inputs: Any
    outputs: Any
    every_s: float | None


@dataclass
class Context:
    """One tab's view of the page. `tabs` is None and `alone` True on a page that has no tabs."""

    desk: Desk
    name: str
    run: gr.Number
    tabs: gr.Tabs | None = None
    drawings: list[Drawing] = field(default_factory=list)

    @property
    def store(self) -> Store:
        """The store."""
        return self.desk.store

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.desk.settings

    @property
    def alone(self) -> bool:
        """Whether this tab is a page by itself (/vote/)."""
        return self.tabs is None

    def draw(
        self, function: Callable[..., Any], outputs: Any, inputs: Any = None, every_s: float | None = None
    ) -> None:
        """Call `function` when the tab is opened, and every `every_s` seconds while it is open. Must be `allowed(...)`."""
        self.drawings.append(Drawing(function, inputs, outputs, every_s))

    def after(self, event: Any) -> Any:
        """Draw the tab again when an event's work is done; returns the last event of the chain."""
        for drawing in self.drawings:
            event = event.then(drawing.function, drawing.inputs, drawing.outputs, **SILENT)
        return event

    def open(self, tab: str, run_id: int | None = None) -> tuple[Any, Any]:
        """Updates for `[context.tabs, context.run]` that open a tab, on a run where one is named."""
        return gr.Tabs(selected=tab), gr.skip() if run_id is None else run_id

    @contextmanager
    def upload(self, member: Member, path: str) -> Iterator[Path]:
        """The member's own upload as a file, removed at the end. Raises ApplianceError for anything else."""
        file = self.desk.uploads.take(path, member)
        try:
            yield file
        finally:
            self.desk.uploads.drop(path, member)

    def url(self, path: str) -> str:
        """An address of this site for a link, from a path such as `download/runs/3.zip`: right behind a proxy too."""
        return ("../" if self.alone else "") + path.lstrip("/")


SILENT: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""How drawings are wired: around the queue, with no spinner."""


def wire(context: Context, opened: Callable[..., Any], *, active: bool) -> list[gr.Timer]:
    """Connect a tab's drawings to its opening, and to a timer for each period; returns the timers."""
    timers: dict[float, gr.Timer] = {}
    for drawing in context.drawings:
        opened(drawing.function, drawing.inputs, drawing.outputs, **SILENT)
        if drawing.every_s is not None:
            if drawing.every_s not in timers:
                timers[drawing.every_s] = gr.Timer(drawing.every_s, active=active)
            timers[drawing.every_s].tick(drawing.function, drawing.inputs, drawing.outputs, **SILENT)
    return list(timers.values())


def in_order(modules: Sequence[Any]) -> list[Any]:
    """Tabs from left to right."""
    return sorted(modules, key=lambda module: (module.ORDER, module.TITLE))
