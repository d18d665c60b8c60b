"""Start: prompts, goal, size, and a last look; then a training is in the queue."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.store import audit
from appliance.store.users import Member
from appliance.ui import starting_config, starting_draft
from appliance.ui.access import allowed, require
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.start_goal_step import GoalStep
from appliance.ui.start_last_step import LastStep
from appliance.ui.start_prompts_step import PromptsStep
from appliance.ui.start_size_step import SizeStep

TITLE, ORDER, ROLES = "Start", 10, ("trainer", "admin")

STEPS = ("Prompts", "Goal", "Size", "Start")


def build(context: Context) -> None:
    """Four steps. Everything is drawn from the user's draft, so that a reload shows the same."""
    gr.Markdown("## New training")
    with gr.Walkthrough(selected=0, elem_id="start-steps") as walk:
        with gr.Step(STEPS[0], id=0):
            prompts = PromptsStep(context)
        with gr.Step(STEPS[1], id=1):
            goal = GoalStep(context)
        with gr.Step(STEPS[2], id=2):
            size = SizeStep(context)
        with gr.Step(STEPS[3], id=3):
            last = LastStep(context)
    steps = (prompts, goal, size, last)
    everything = [walk, *(output for step in steps for output in step.outputs)]

    def shown(member: Member) -> list[Any]:
        draft = starting_draft.read(context.store.data, member.id)
        views = [update for step in steps for update in step.view(member, draft)]
        return [gr.Walkthrough(selected=draft.step), *views]

    @allowed(*ROLES, quiet=True)
    def draw(member: Member) -> list[Any]:
        return shown(member)

    context.draw(draw, outputs=everything)
    for step in steps:
        step.wire(everything, shown)


def downloads(router: APIRouter, desk: Desk) -> None:
    """The YAML of the member's own draft."""

    @router.get("/config.yaml")
    def config(member: Member = Depends(require(*ROLES))) -> Response:  # noqa: B008 - FastAPI's way
        draft = starting_draft.read(desk.store.data, member.id)
        built = starting_config.build(desk.store, desk.settings, member, draft)
        audit.record(desk.store, member, "config exported", built.config.name)
        return attachment(built.yaml, f"{built.config.name}.yaml")
