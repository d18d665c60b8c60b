"""The audit log as a file: every entry, or those of one user or one action."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import gradio as gr
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.store import audit
from appliance.store.schema import Audit
from appliance.store.users import Member
from appliance.ui.access import require
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.people import ADMIN, moment
from appliance.ui.voting import harmless

COLUMNS = ("time_utc", "user", "action", "subject", "details")
MOST_ENTRIES = 100_000


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
    """The link, below the table."""
    address = context.url("download/system/audit.csv")
    gr.Markdown(f"[Download the audit log (CSV)]({address}): all entries, not only these.", elem_id="system-audit-file")


def downloads(router: APIRouter, desk: Desk) -> None:
    """The audit log, for admins; `?user=` and `?action=` choose."""

    @router.get("/audit.csv")
    def audit_file(
        user: str | None = None,
        action: str | None = None,
        member: Member = Depends(require(ADMIN)),  # noqa: B008 - FastAPI's way
    ) -> Response:
        name = (user or "").strip().lower() or None
        found = audit.entries(desk.store, limit=MOST_ENTRIES, user_name=name, action=action or None)
        audit.record(desk.store, member, "audit log exported", name or "", {"entries": len(found)})
        return attachment(csv_text(found), "audit.csv")
