"""More of the machine, for admins: each GPU, the data folder by part, preflight's fixes to copy, and versions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from appliance.preflight import nvml
from appliance.store.files import read_json, size_text
from appliance.store.runs import RESERVED
from appliance.store.users import Member
from appliance.ui import diagnostics, strip
from appliance.ui.access import allowed
from appliance.ui.context import Context
from appliance.ui.desk import Desk
from appliance.ui.machine import PREFLIGHT
from appliance.ui.people import ADMIN

VERSION_COLUMNS = ["Package", "Version"]
PARTS = {
    "runs": "Runs: trained models, reports, numbers",
    "checkpoints": "Checkpoints, from which runs are continued",
    "models": "Starting models and scorers",
    "uploads": "Uploads",
    "backups": "Backups",
    "logs": "Logs",
    "store": "The store: users, votes, settings of runs",
    "other": "Other",
}
KEPT_S = 60.0
"""How long the sizes are good: a folder of many files takes long to count."""


def gpus_text(devices: list[dict[str, Any]]) -> str:
    """A line for each GPU from its NVML facts; "N/A" for what the driver does not tell. Empty without a GPU."""
    return "\n".join(
        f"- **GPU {one['index']}, {one['name']}**: memory {one['memory']}, {one['temperature']}, "
        f"load {one['utilization']}, power {one['power']}"
        for one in map(nvml.status, devices)
    )


def gpus(desk: Desk) -> str:
    """The GPUs now; asked of the driver once in three seconds for all pages."""
    return str(desk.shared("gpus", strip.PERIOD_S, _read_gpus))


def _read_gpus() -> str:
    with nvml.session() as opened:
        return "" if opened["error"] else gpus_text(nvml.devices(nvml.LIVE))


def part_of(place: tuple[str, ...]) -> str:
    """The part that a file of the data folder belongs to, from its path in it; a name of PARTS."""
    top = place[0]
    if top in RESERVED:
        return top if top in PARTS else "other"
    if len(place) == 1:
        return "store" if top.startswith("appliance.db") else "logs" if top.endswith(".log") else "other"
    if top.startswith((".", "incoming", "workers")):
        return "other"
    return "checkpoints" if "checkpoints" in place[1:-1] else "runs"


def sizes(data: Path) -> dict[str, int]:
    """Bytes of the data folder by part. Links are not followed; a file with two names counts once."""
    found, seen = dict.fromkeys(PARTS, 0), set()
    for folder, _, names in os.walk(data):
        for name in names:
            file = Path(folder, name)
            try:
                status = file.lstat()
            except OSError:  # it was removed meanwhile
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found[part_of(file.relative_to(data).parts)] += status.st_size
    return found


def disk_text(found: Mapping[str, int]) -> str:
    """The sizes in words, largest first; parts that are empty are left out."""
    largest = sorted(found.items(), key=lambda item: -item[1])
    lines = [f"- {PARTS[name]}: {size_text(size)}" for name, size in largest if size]
    return "\n".join([f"**The data folder** holds {size_text(sum(found.values()))}:", "", *lines])


def version_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of versions; what is not installed is left out."""
    return [[name, str(version).split(" (")[0]] for name, version in found.items() if version != "not installed"]


def fixes_text(kept: Any) -> str:
    """What preflight says to do about each failure, then each warning, as lines for a shell; empty where all is well."""
    checks = kept.get("report", {}).get("checks", []) if isinstance(kept, dict) else []
    troubled = [one for word in ("fail", "warn") for one in checks if one["status"] == word]
    return "\n\n".join(
        "\n".join([f"# {one['title']} ({one['id']}), {one['status']}: {' '.join(one['found'].split())}", *one["fix"]])
        for one in troubled
    )


def build(context: Context) -> None:
    """The lines and tables, below the machine's."""
    desk, store = context.desk, context.store
    commands = gr.Textbox(
        label="What to do about it, to copy",
        lines=6,
        max_lines=16,
        buttons=["copy"],
        interactive=False,
        visible=False,
        elem_id="system-fixes",
    )
    graphics = gr.Markdown("", elem_id="system-gpus")
    disk = gr.Markdown("Counting.", elem_id="system-disk")
    with gr.Accordion("Versions", open=False, elem_id="system-versions-box"):
        installed = gr.Dataframe(
            headers=VERSION_COLUMNS, interactive=False, wrap=True, show_label=False, elem_id="system-versions"
        )

    @allowed(ADMIN, quiet=True)
    def live(member: Member) -> tuple[str, Any]:
        fixes = fixes_text(read_json(store.data / PREFLIGHT))
        return gpus(desk), gr.Textbox(fixes, visible=bool(fixes))

    @allowed(ADMIN, quiet=True)
    def counted(member: Member) -> str:
        return disk_text(desk.shared("sizes", KEPT_S, lambda: sizes(store.data)))

    @allowed(ADMIN, quiet=True)
    def versions(member: Member) -> Any:
        return version_rows(diagnostics.versions())

    context.draw(live, outputs=[graphics, commands], every_s=5)
    context.draw(counted, outputs=disk)
    context.draw(versions, outputs=installed)
