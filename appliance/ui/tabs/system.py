"""System: who may use the appliance, and who did what. For admins."""

from __future__ import annotations

import gradio as gr

from appliance.ui import people
from appliance.ui.context import Context

TITLE, ORDER, ROLES = "System", 90, ("admin",)


def build(context: Context) -> None:
    """Users, invitations, API tokens and the audit log."""
    gr.Markdown("## System")
    people.build(context)
