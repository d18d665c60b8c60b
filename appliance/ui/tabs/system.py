"""System: the machine, who may use the appliance, and who did what. For admins."""

from __future__ import annotations

import gradio as gr
from fastapi import APIRouter

from appliance.ui import machine, people, system_audit, system_use
from appliance.ui.context import Context
from appliance.ui.desk import Desk

TITLE, ORDER, ROLES = "System", 90, ("admin",)


def downloads(router: APIRouter, desk: Desk) -> None:
    """Diagnostics, backups and the audit log."""
    machine.downloads(router, desk)
    system_audit.downloads(router, desk)


def build(context: Context) -> None:
    """The machine; users, invitations, API tokens and the audit log."""
    gr.Markdown("## System")
    machine.build(context)
    system_use.build(context)
    people.build(context)
    system_audit.build(context)
