"""The machine, for admins: what preflight says of it, GPU, memory, disk and workers now, backups, and a bundle for support."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.errors import ApplianceError
from appliance.store import audit, backup, workers
from appliance.store.db import Store
from appliance.store.files import write_json
from appliance.store.users import Member
from appliance.ui import diagnostics, strip
from appliance.ui.access import allowed, require
from appliance.ui.catalogue import size_text
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment

ADMINS = ("admin",)
PREFLIGHT, BACKUPS = "preflight.json", "backups"
COLUMNS, WIDTHS = ["Check", "Result", "Found"], ["40%", "12%", "48%"]


def build(context: Context) -> None:
    """The widgets."""
    gr.Markdown("### This machine")
    now = gr.Markdown("Loading.", elem_id="system-now")
    with gr.Row():
        check = gr.Button("Check this machine (preflight)", elem_id="system-preflight")
        make = gr.Button("Make a backup", elem_id="system-backup")
    verdict = gr.Markdown("", elem_id="system-verdict")
    table = gr.Dataframe(
        headers=COLUMNS, interactive=False, wrap=True, visible=False, column_widths=WIDTHS, elem_id="system-checks"
    )
    kept = gr.Markdown("", elem_id="system-backups")
    bundle = context.url("download/system/diagnostics.zip")
    gr.Markdown(
        f"[Download diagnostics for support]({bundle}): versions, settings, preflight and the ends of the logs, without "
        "passwords and tokens.\n\nTo go back to a backup, stop the appliance, then: `appliance restore FILE`."
    )

    @allowed(*ADMINS, quiet=True)
    def draw(member: Member) -> list[Any]:
        return [machine_text(context.desk), *checked(context.store), backups_text(context)]

    @allowed(*ADMINS)
    def look(member: Member) -> list[Any]:
        report = diagnostics.run_preflight()
        write_json(context.store.data / PREFLIGHT, {"at": context.store.clock(), "report": report})
        audit.record(context.store, member, "preflight")
        return checked(context.store)

    @allowed(*ADMINS)
    def save(member: Member) -> str:
        name = f"backup-{datetime.fromtimestamp(context.store.clock()):%Y%m%d-%H%M%S}.tar"
        made = backup.make(context.settings, context.store.data / BACKUPS / name)
        audit.record(context.store, member, "backup", name)
        gr.Success(f"{name} holds {made.files:,} files, {size_text(made.size_bytes)}.")
        return backups_text(context)

    context.draw(draw, outputs=[now, verdict, table, kept], every_s=5)
    check.click(look, None, [verdict, table])
    make.click(save, None, kept)


def machine_text(desk: Desk) -> str:
    """GPU, processors, memory, disk and workers as they are now, one a line."""
    store = desk.store
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(store.data))
    alive = workers.heard_of(store)
    at_work = ", ".join(
        f"{one.device} on {one.host}, heard of {store.clock() - one.heartbeat:.0f} s ago" for one in alive
    )
    gpu = strip.memory(desk)
    lines = [
        f"**GPU**: {'none, the processor trains' if gpu == 'CPU' else gpu}",
        f"**Processors**: {psutil.cpu_percent():.0f} % of {psutil.cpu_count()} at work",
        f"**Memory**: {size_text(memory.used)} of {size_text(memory.total)} in use",
        f"**Disk**: {size_text(disk.free)} of {size_text(disk.total)} free",
        f"**Workers**: {at_work or 'none: nothing can be trained'}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def checked(store: Store) -> list[Any]:
    """The last preflight: its verdict in a sentence, and a row for everything that did not pass."""
    try:
        kept = json.loads((store.data / PREFLIGHT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ["Preflight was not run from here yet.", gr.Dataframe(visible=False)]
    report, at = kept["report"], f"{datetime.fromtimestamp(kept['at']):%Y-%m-%d %H:%M}"
    if "failed" in report:
        return [f"Preflight at {at}: {report['failed']}.", gr.Dataframe(visible=False)]
    rows = [
        [f"{one['title']} ({one['id']})", one["status"], one["found"]]
        for one in report["checks"]
        if one["status"] in ("warn", "fail")
    ]
    failures = sum(row[1] == "fail" for row in rows)
    word = "not ready" if failures else "ready, with warnings" if rows else "ready"
    said = f"Preflight at {at}: **{word}**, {failures} failures, {len(rows) - failures} warnings."
    return [said, gr.Dataframe(rows, visible=bool(rows))]


def backup_files(store: Store) -> list[Path]:
    """Backups in the data folder, newest first."""
    return sorted((store.data / BACKUPS).glob("backup-*.tar"), reverse=True)


def backups_text(context: Context) -> str:
    """A line for each backup, with its size and a link."""
    lines = [
        f"- [{file.name}]({context.url(f'download/system/backups/{file.name}')}), {size_text(file.stat().st_size)}"
        for file in backup_files(context.store)
    ]
    return "\n".join(["**Backups on this machine**", *lines]) if lines else "No backup was made here yet."


def downloads(router: APIRouter, desk: Desk) -> None:
    """Diagnostics and backups, for admins."""

    @router.get("/diagnostics.zip")
    def diagnostics_file(member: Member = Depends(require(*ADMINS))) -> Response:  # noqa: B008 - FastAPI's way
        audit.record(desk.store, member, "diagnostics exported")
        return attachment(diagnostics.bundle(desk.settings, desk.store), "diagnostics.zip")

    @router.get("/backups/{name}")
    def backup_file(name: str, member: Member = Depends(require(*ADMINS))) -> Response:  # noqa: B008
        found = next((file for file in backup_files(desk.store) if file.name == name), None)
        if found is None:
            raise ApplianceError("there is no such backup", "choose one from the list")
        audit.record(desk.store, member, "backup exported", name)
        return attachment(found, name)
