"""Files that leave through the page: always as an attachment, never shown inside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from appliance import parts
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
