"""System: the machine, who may use the appliance, and who did what. For admins."""

from __future__ import annotations

import gradio as gr

from appliance.ui import machine, people
from appliance.ui.context import Context

TITLE, ORDER, ROLES = "System", 90, ("admin",)

downloads = machine.downloads


def build(context: Context) -> None:
    """The machine; users, invitations, API tokens and the audit log."""
    gr.Markdown("## System")
    machine.build(context)
    people.build(context)
