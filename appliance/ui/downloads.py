"""Files that leave through the page: always as an attachment, never shown inside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from appliance import parts
from appliance.errors import ApplianceError
from appliance.store import audit, runs
from appliance.store.users import Member
from appliance.ui.desk import Desk

OPAQUE = "application/octet-stream"


def attachment(content: Path | bytes | str, name: str) -> Response:
    """A download called `name`: a file of ours, or what was just made. No type is given that a browser would open."""
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:120] or "download"
    headers = {
        "content-disposition": f'attachment; filename="{safe.encode("ascii", "replace").decode().replace("?", "_")}"; '
        f"filename*=UTF-8''{quote(safe)}",
        "content-security-policy": "default-src 'none'; sandbox",
    }
    if isinstance(content, Path):
        return FileResponse(content, media_type=OPAQUE, headers=headers)
    return Response(content, media_type=OPAQUE, headers=headers)


def report_of(desk: Desk, member: Member, run_id: int) -> Response:
    """A run's report as a page, entered in the audit log. Raises ApplianceError when there is none."""
    run = runs.get(desk.store, run_id)
    file = Path(run.folder) / "report" / "report.html"
    if not file.is_file():
        raise ApplianceError(f"{run.name} has no report yet", "it is made when the training ends")
    audit.record(desk.store, member, "report exported", run.name)
    return attachment(file, f"{run.name}-report.html")


def router(desk: Desk) -> APIRouter:
    """The routes below /download that the tabs define, each below its tab's name."""
    made = APIRouter(prefix="/download")
    for name in parts.names("ui/tabs"):
        add = getattr(parts.load("ui/tabs", name), "downloads", None)
        if add is not None:
            part = APIRouter(prefix=f"/{name}")
            add(part, desk)
            made.include_router(part)
    return made
