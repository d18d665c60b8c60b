"""The audit log, as a table and as a file: every entry, or those of one user or one action."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.store import audit
from appliance.store.schema import Audit
from appliance.store.users import Member
from appliance.ui.access import allowed, require
from appliance.ui.context import SILENT, Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.people import ADMIN, moment
from appliance.ui.voting import harmless

COLUMNS = ("time_utc", "user", "action", "subject", "details")
MOST_ENTRIES = 100_000
ROWS = 200
HEADERS = ["When (UTC)", "Who", "What", "Of what", "Details"]
ALL = "all"


def audit_rows(entries: Sequence[Audit]) -> list[list[str]]:
    """The audit table, latest first."""
    return [
        [moment(one.at), one.user_name, one.action, one.subject, json.dumps(one.detail) if one.detail else ""]
        for one in entries
    ]


def csv_text(entries: Sequence[Audit]) -> str:
    """The entries as CSV with a header, one a line; no cell is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in entries:
        detail = json.dumps(one.detail, ensure_ascii=False) if one.detail else ""
        writer.writerow([harmless(cell) for cell in (moment(one.at), one.user_name, one.action, one.subject, detail)])
    return out.getvalue()


def build(context: Context) -> None:
    """The table with its two filters, and the link to the same entries as a file."""
    store = context.store
    gr.Markdown(f"### Audit log\nThe latest {ROWS} entries.")
    with gr.Row():
        who = gr.Textbox(label="Only this user (Enter shows it)", max_length=64, elem_id="system-audit-user")
        what = gr.Dropdown([(ALL, "")], value="", label="Only this action", elem_id="system-audit-action")
    table = gr.Dataframe(
        headers=HEADERS, interactive=False, label="Audit log", max_height=400, wrap=True, elem_id="system-audit"
    )
    link = gr.Markdown("", elem_id="system-audit-file")

    @allowed(ADMIN, quiet=True)
    def draw(member: Member, name: str | None, action: str | None) -> list[Any]:
        chosen = filters(name, action)
        found = audit.entries(store, limit=ROWS, user_name=chosen.get("user"), action=chosen.get("action"))
        choices = [(ALL, ""), *((one, one) for one in audit.actions(store))]
        return [gr.Dropdown(choices), audit_rows(found), link_text(context, chosen)]

    shown = [what, table, link]
    context.draw(draw, inputs=[who, what], outputs=shown)
    who.submit(draw, [who, what], shown, **SILENT)
    who.blur(draw, [who, what], shown, **SILENT)
    what.input(draw, [who, what], shown, **SILENT)


def filters(user: str | None, action: str | None) -> dict[str, str]:
    """What was asked for as the address of the file names it; without what was left empty."""
    asked = {"user": (user or "").strip().lower(), "action": action or ""}
    return {name: value for name, value in asked.items() if value}


def link_text(context: Context, chosen: Mapping[str, str]) -> str:
    """The link to the file of these entries."""
    address = context.url("download/system/audit.csv") + (f"?{urlencode(chosen)}" if chosen else "")
    which = "all entries of this choice" if chosen else "all entries"
    return f"[Download the audit log (CSV)]({address}): {which}, not only these."


def downloads(router: APIRouter, desk: Desk) -> None:
    """The audit log, for admins; `?user=` and `?action=` choose."""

    @router.get("/audit.csv")
    def audit_file(
        user: str | None = None,
        action: str | None = None,
        member: Member = Depends(require(ADMIN)),  # noqa: B008 - FastAPI's way
    ) -> Response:
        chosen = filters(user, action)
        name = chosen.get("user")
        found = audit.entries(desk.store, limit=MOST_ENTRIES, user_name=name, action=chosen.get("action"))
        audit.record(desk.store, member, "audit log exported", name or "", {"entries": len(found)})
        return attachment(csv_text(found), "audit.csv")
