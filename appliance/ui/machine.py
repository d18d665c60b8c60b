"""The machine, for admins: what preflight says of it, GPU, memory, disk and workers now, backups, and a bundle for support."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from appliance.errors import ApplianceError
from appliance.evaluate.verdict import duration
from appliance.store import audit, backup, workers
from appliance.store.db import Store
from appliance.store.files import read_json, size_text, write_json
from appliance.store.schema import Worker
from appliance.store.users import Member
from appliance.ui import diagnostics, strip, system_work
from appliance.ui.access import allowed, require
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.downloads import attachment
from appliance.ui.markdown import plain
from appliance.ui.starting_programs import program, text_of

ADMINS = ("admin",)
PREFLIGHT, BACKUPS = "preflight.json", "backups"
BACKUP_S = 24 * 3600.0
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
        if begin_preflight(context.store, member):
            audit.record(context.store, member, "preflight")
        return checked(context.store)

    @allowed(*ADMINS)
    def save(member: Member) -> str:
        name = begin_backup(context.store, member)
        if name is not None:
            audit.record(context.store, member, "backup", name)
        return backups_text(context)

    context.draw(draw, outputs=[now, verdict, table, kept], every_s=5)
    check.click(look, None, [verdict, table])
    make.click(save, None, kept)


def machine_text(desk: Desk) -> str:
    """GPU, processors, memory, disk and workers as they are now, one a line."""
    store = desk.store
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(store.data))
    gpu = strip.memory(desk)
    lines = [
        f"**GPU**: {'none, the processor trains' if gpu == 'CPU' else gpu}",
        f"**Processors**: {psutil.cpu_percent():.0f} % of {psutil.cpu_count()} at work",
        f"**Memory**: {size_text(memory.used)} of {size_text(memory.total)} in use",
        f"**Disk**: {size_text(disk.free)} of {size_text(disk.total)} free",
        *worker_lines(store),
    ]
    return "\n".join(f"- {line}" for line in lines)


def worker_lines(store: Store) -> list[str]:
    """The workers at work, and a line for each that has gone silent without a goodbye, latest first."""
    known = sorted(workers.known(store), key=lambda one: -one.heartbeat)
    at_work = "; ".join(
        f"{plain(one.device)} on {plain(one.host)}, heard of {max(0.0, store.clock() - one.heartbeat):.0f} s ago"
        for one in known
        if not workers.is_silent(store, one)
    )
    silent = [
        f"⚠ **The worker of {plain(one.device)} on {plain(one.host)}** is {_silence(store, one)}. "
        "Start it again with `appliance worker`, or see its log."
        for one in known
        if workers.is_silent(store, one)
    ]
    return [f"**Workers**: {at_work or 'none is at work: nothing can be trained'}", *silent]


def _silence(store: Store, worker: Worker) -> str:
    lasted = store.clock() - worker.heartbeat
    return f"silent for {duration(lasted)}" if lasted > 0 else "silent since the clock was set back"


def begin_preflight(store: Store, member: Member) -> bool:
    """Look at the machine in the background; False where that is under way already. The report goes to PREFLIGHT."""

    def keep(code: int | None) -> None:
        folder = system_work.folder_of(store, "preflight")
        report = read_json(folder / "out.jsonl")
        if report is None:
            last = (text_of(folder / "said.txt") or "").strip().splitlines()[-1:]
            why = f"it ended with {code}" + "".join(f": {line}" for line in last)
            if code is None:
                why = f"it took longer than {diagnostics.PREFLIGHT_S:.0f} s"
            report = {"failed": why}
        write_json(store.data / PREFLIGHT, {"at": store.clock(), "report": report})

    limit_s = diagnostics.PREFLIGHT_S
    busy = system_work.start(store, "preflight", member, diagnostics.PREFLIGHT, limit_s=limit_s, then=keep)
    if busy is not None:
        gr.Info(f"The machine is being looked at already, begun at {busy.begun}.")
    return busy is None


def checked(store: Store) -> list[Any]:
    """The preflight that is under way or was cut off; the last one's verdict, and a row for all that did not pass."""
    work = system_work.last(store, "preflight")
    lines = []
    if work is not None and work.state == "at work":
        lines.append(f"**The machine is being looked at**, begun at {work.begun}. This page can be closed.")
    if work is not None and work.state == "cut off":
        lines.append(f"The preflight begun at {work.begun} was cut off: the server was restarted. Start it again.")
    kept = read_json(store.data / PREFLIGHT)
    if kept is None:
        return ["\n\n".join(lines) or "Preflight was not run from here yet.", gr.Dataframe(visible=False)]
    report, at = kept["report"], f"{datetime.fromtimestamp(kept['at']):%Y-%m-%d %H:%M}"
    if "failed" in report:
        lines.append(
            f"Preflight at {at} gave no result: {plain(report['failed'])}. Start it again; if it stays, "
            "`appliance preflight` on the machine itself shows where it stops."
        )
        return ["\n\n".join(lines), gr.Dataframe(visible=False)]
    rows = [
        [f"{one['title']} ({one['id']})", one["status"], one["found"]]
        for one in report["checks"]
        if one["status"] in ("warn", "fail")
    ]
    failures = sum(row[1] == "fail" for row in rows)
    word = "not ready" if failures else "ready, with warnings" if rows else "ready"
    lines.append(f"Preflight at {at}: **{word}**, {failures} failures, {len(rows) - failures} warnings.")
    return ["\n\n".join(lines), gr.Dataframe(rows, visible=bool(rows))]


def begin_backup(store: Store, member: Member) -> str | None:
    """Make a backup in the background: its name, or None where one is under way already."""
    name = f"backup-{datetime.fromtimestamp(store.clock()):%Y%m%d-%H%M%S}.tar"
    target = store.data.absolute() / BACKUPS / name
    asked = program("backup", str(target))
    busy = system_work.start(store, "backup", member, asked, limit_s=BACKUP_S, makes=name)
    if busy is not None:
        gr.Info(f"A backup is being made already, begun at {busy.begun}.")
        return None
    return name


def backup_files(store: Store) -> list[Path]:
    """Backups in the data folder, newest first."""
    return sorted((store.data / BACKUPS).glob("backup-*.tar"), reverse=True)


def backups_text(context: Context) -> str:
    """What became of the backup that was begun last, then a line for each backup, with its size and a link."""
    lines = [
        f"- [{file.name}]({context.url(f'download/system/backups/{file.name}')}), {size_text(file.stat().st_size)}"
        for file in backup_files(context.store)
    ]
    listed = "\n".join(["**Backups on this machine**", *lines]) if lines else "No whole backup is on this machine yet."
    told = last_backup(context.store)
    return f"{told}\n\n{listed}" if told else listed


def last_backup(store: Store) -> str:
    """The backup that was begun last, in words: at work and how far, done, failed and why, or cut off. Empty: none."""
    work = system_work.last(store, "backup")
    if work is None:
        return ""
    if work.state == "at work":
        so_far = size_text(backup.unfinished_bytes(store.data / BACKUPS))
        return f"**A backup is being made**, begun at {work.begun}: {so_far} so far. This page can be closed."
    whole = (store.data / BACKUPS / work.makes).is_file()  # it gets its name when it is whole
    if work.state == "cut off" and not whole:
        return f"The backup begun at {work.begun} was cut off: the server was restarted. Start it again."
    if work.job.ended and work.job.code != 0:
        return f"**The backup begun at {work.begun} failed.** {work.why}"
    held = next((line.partition(": ")[2] for line in work.out.splitlines() if line.startswith(f"{store.data}")), "")
    missing = [plain(line) for line in work.job.said.splitlines() if line.startswith("left out: ")]
    done = f"The backup begun at {work.begun} is whole" + (f": {plain(held)}." if held else ".")
    return "\n".join([done, *(f"- {line}" for line in missing)])


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
