"""The two Gradio pages: `/` with heading, status strip and tabs, and `/vote/` for raters alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import gradio as gr

from appliance import parts
from appliance.ui import strip
from appliance.ui.access import EVERYONE, allowed
from appliance.ui.context import SILENT, Context, in_order, wire
from appliance.ui.desk import Desk

NAME = "RLHF appliance"
ON_MAIN = ("trainer", "admin")

ADDRESS = """(run) => {
  const url = new URL(window.location);
  if (run === null || run === undefined || run === "") url.searchParams.delete("run"); else url.searchParams.set("run", run);
  history.replaceState(null, "", url);
}"""
"""Writes the run that is looked at into the address."""


OPENED = """async () => {
  await new Promise((done) => setTimeout(done, 50));
  const chosen = document.querySelector('#tabs [role="tablist"] [aria-selected="true"]');
  const name = chosen?.id?.match(/^tab-(.+)-button$/)?.[1] ?? "TAB";
  const url = new URL(window.location);
  url.searchParams.set("tab", name);
  history.replaceState(null, "", url);
  return name;
}"""
"""Writes the tab that is open into the address, and gives its name. While the page is set up, Gradio also says of tabs that
are opened for a moment only that they were selected: what the tab bar shows counts."""


def tabs() -> dict[str, ModuleType]:
    """The tabs by name, from left to right: what is in the folder."""
    modules = {name: parts.load("ui/tabs", name) for name in parts.names("ui/tabs")}
    ordered = in_order(list(modules.values()))
    return {name: modules[name] for name in sorted(modules, key=lambda name: ordered.index(modules[name]))}


def _top(title: str) -> gr.HTML:
    """Heading, and the line with the user, which is drawn on load; returns that line."""
    with gr.Row(elem_id="top", equal_height=True):
        gr.Markdown(f"# {title}", elem_id="heading")
        return gr.HTML("", elem_id="who", padding=False)


def _who_line(member: Any, back: str) -> str:
    """Who is signed in, where else they may go, and the way out. Names hold nothing that means something in HTML."""
    other = ""
    if member.role in ON_MAIN:
        other = f'<a href="{back}">All tabs</a>' if back else '<a href="vote/">Vote page</a>'
    return (
        f'<nav aria-label="Account"><span id="who-name">{member.name} ({member.role})</span> {other} '
        f'<a href="{back}account" id="who-account">Account</a> <a href="{back}own/help" id="who-help">Help</a> '
        f'<form method="post" action="{back}logout"><button id="who-out">Sign out</button></form></nav>'
    )


def build_page(desk: Desk) -> gr.Blocks:
    """The page with all tabs. Which of them somebody sees follows from their role, on load; handlers check it anyway."""
    modules = tabs()
    with gr.Blocks(title=NAME, analytics_enabled=False, fill_width=False) as page:
        who = _top(NAME)
        run = gr.Number(None, precision=0, visible="hidden", elem_id="page-run", label="Run")
        view = strip.build(desk)
        boxes: dict[str, gr.Tab] = {}
        contexts: dict[str, Context] = {}
        with gr.Tabs(elem_id="tabs") as bar:
            for name, module in modules.items():
                with gr.Tab(module.TITLE, id=name, elem_id=f"tab-{name}", visible=False) as boxes[name]:
                    contexts[name] = Context(desk, name, run, bar)
                    module.build(contexts[name])
        _switching({name: wire(contexts[name], boxes[name].select, active=False) for name in modules}, boxes)
        view.wire(run, bar, has_training="training" in modules)
        run.change(None, run, None, js=ADDRESS, api_visibility="private")
        page.load(_load(modules), None, [who, run, *boxes.values(), bar], **SILENT)
    _queue(page)
    return page


def _queue(page: gr.Blocks) -> None:
    """The page's queue, which looks for work 20 times a second: at Gradio's 1,000 two idle pages take 5% of a processor."""
    page.queue(default_concurrency_limit=8, max_size=200, api_open=False)
    page._queue.sleep_when_free = 0.05


def _switching(timers: dict[str, list[gr.Timer]], boxes: dict[str, gr.Tab]) -> None:
    """When a tab is opened: the address says so, and its timers run and no others.

    The name goes through a widget, so that of quick changes the last one counts, whichever answer comes first.
    """
    current = gr.Textbox(visible="hidden", elem_id="page-tab", label="Open tab")
    every = [timer for mine in timers.values() for timer in mine]

    @allowed(*ON_MAIN, quiet=True)
    def switch(member: Any, opened: str) -> Any:
        mine = {id(timer) for timer in timers.get(opened, [])}
        return [gr.Timer(active=id(timer) in mine) for timer in every]

    for name, box in boxes.items():
        box.select(None, None, current, js=OPENED.replace("TAB", name), api_visibility="private")
    if every:
        current.change(switch, current, every, trigger_mode="always_last", **SILENT)


def _load(modules: dict[str, ModuleType]) -> Any:
    """Who is there, and which tabs they see; the tab and the run that the address names."""

    @allowed(*ON_MAIN)
    def load(member: Any, request: gr.Request) -> list[Any]:
        asked = dict(request.query_params)
        seen = [name for name, module in modules.items() if member.role in module.ROLES]
        first = asked.get("tab") if asked.get("tab") in seen else (seen[0] if seen else None)
        number = asked.get("run", "")
        return [
            _who_line(member, ""),
            int(number) if number.isdecimal() and len(number) < 10 else None,
            *[gr.Tab(visible=name in seen) for name in modules],
            gr.Tabs(selected=first) if first else gr.skip(),
        ]

    return load


def build_vote_page(desk: Desk) -> gr.Blocks:
    """The page for raters: the tab `vote`, alone."""
    with gr.Blocks(title=f"{NAME}: vote", analytics_enabled=False, fill_width=False) as page:
        who = _top("Vote")
        run = gr.Number(None, precision=0, visible="hidden", elem_id="page-run", label="Run")
        context = Context(desk, "vote", run)
        if "vote" in parts.names("ui/tabs"):
            parts.load("ui/tabs", "vote").build(context)
        else:
            gr.Markdown("There is nothing to vote on yet.", elem_id="vote-empty")
        wire(context, page.load, active=True)

        @allowed(*EVERYONE)
        def load(member: Any) -> str:
            return _who_line(member, "../")

        page.load(load, None, who, **SILENT)
    _queue(page)
    return page
