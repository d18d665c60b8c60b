"""The part of the Runs tab that shows two to four runs beside each other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from appliance.evaluate.verdict import count
from appliance.store import runs
from appliance.store.users import Member
from appliance.ui import run_list_compare
from appliance.ui.access import allowed
from appliance.ui.context import Context

ROLES = ("trainer", "admin")


class SeveralRuns:
    """Two to four runs: curves, settings that differ, and answers to the same prompts."""

    def __init__(self, context: Context) -> None:
        self.context = context
        gr.Markdown("### Compare runs")
        self.runs = gr.Dropdown(
            [], multiselect=True, max_choices=run_list_compare.MOST, label="Two to four runs", elem_id="runs-several"
        )
        self.said = gr.Markdown("Choose at least two.", elem_id="runs-several-said")
        self.at = gr.State(0)
        with gr.Column(visible=False) as self.box:
            self.charts = {
                chart: gr.LinePlot(
                    x="step",
                    y="value",
                    color="run",
                    title=title,
                    x_title="step",
                    y_title=unit,
                    height=260,
                    visible=False,
                    elem_id=f"runs-chart-{chart}",
                )
                for chart, (title, _, unit) in run_list_compare.CHARTS.items()
            }
            self.settings = gr.Dataframe(
                [], label="Settings that differ", interactive=False, wrap=True, datatype="str", elem_id="runs-settings"
            )
            self.line = gr.Markdown("", elem_id="runs-same-said")
            self.prompt = gr.Textbox(label="Test prompt", interactive=False, lines=2, elem_id="runs-same-prompt")
            with gr.Row():
                self.answers = [
                    gr.Textbox(
                        label=f"Answer {i + 1}",
                        interactive=False,
                        lines=4,
                        max_lines=16,
                        min_width=240,
                        elem_id=f"runs-same-{i + 1}",
                    )
                    for i in range(run_list_compare.MOST)
                ]
            with gr.Row():
                back = gr.Button("Previous prompt", elem_id="runs-same-previous")
                forth = gr.Button("Next prompt", elem_id="runs-same-next")
        same = [self.line, self.prompt, *self.answers, self.at]
        outputs = [self.said, self.box, *self.charts.values(), self.settings, *same]

        @allowed(*ROLES)
        def show(member: Member, picked: list[int]) -> list[Any]:
            found = self._chosen(picked)
            if len(found) < run_list_compare.LEAST:
                words = "Choose at least two."
                return [words, gr.Column(visible=False), *[gr.skip()] * (len(outputs) - 2)]
            curves = run_list_compare.curves(context.store, found)
            plots = [gr.LinePlot(curves.get(name), visible=name in curves) for name in self.charts]
            rows = run_list_compare.differences(found)
            headers = ["Setting", *(run_list_compare.label(run) for run in found)]
            text = (
                f"{count(len(rows), 'setting')} differ{'s' * (len(rows) == 1)}."
                if rows
                else "All settings are the same."
            )
            table = gr.Dataframe({"headers": headers, "data": rows}, visible=bool(rows))
            return [text, gr.Column(visible=True), *plots, table, *self._same(found, 0)]

        def moved(by: int) -> Any:
            @allowed(*ROLES)
            def move(member: Member, picked: list[int], at: int) -> list[Any]:
                return self._same(self._chosen(picked), int(at) + by)

            return move

        self.runs.change(show, self.runs, outputs, show_progress="hidden")
        back.click(moved(-1), [self.runs, self.at], same, show_progress="hidden")
        forth.click(moved(1), [self.runs, self.at], same, show_progress="hidden")

    def _chosen(self, picked: list[int] | None) -> list[Any]:
        return [runs.get(self.context.store, int(number)) for number in (picked or [])[: run_list_compare.MOST]]

    def _same(self, found: list[Any], index: int) -> list[Any]:
        shared = run_list_compare.together(found)
        at = index % len(shared.prompts) if shared.prompts else 0
        boxes = []
        for place in range(run_list_compare.MOST):
            there = bool(shared.prompts) and place < len(found)
            label = run_list_compare.label(found[place]) if place < len(found) else ""
            text = shared.answers[at][place][0] if there else ""
            boxes.append(gr.Textbox(text, label=label, visible=there))
        prompt = gr.Textbox(shared.prompts[at] if shared.prompts else "", visible=bool(shared.prompts))
        return [run_list_compare.together_line(shared, at), prompt, *boxes, at]
