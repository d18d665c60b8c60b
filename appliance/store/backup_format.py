"""What a backup is made of: the names in it, and what of the data folder is never in one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from appliance.errors import ApplianceError
from appliance.store.runs import RESERVED

FORMAT = 1
HEADER, MANIFEST, TABLES, DATA = "backup.json", "manifest.json", "database", "data"
WITHOUT = ("checkpoints", "models")
"""What may be left out: checkpoints (runs then cannot be continued); starting models that lie in models/."""

NEVER = ("secret.key", "incoming", "workers", "backups", "serve.log")
"""At the top of the data folder: secrets, what is on its way in, locks, other backups."""

CHUNK = 1 << 20


def left_out(parts: tuple[str, ...], without: Collection[str] = (), database: str | None = None) -> bool:
    """Whether a path of the data folder is never, or not this time, in a backup."""
    top = parts[0]
    if any(part.startswith(".") for part in parts) or top in NEVER or ".before-restore-" in top:
        return True
    if database is not None and (top == database or top.startswith((f"{database}-", f"{database}."))):
        return True
    if "models" in without and top == "models":
        return True
    return "checkpoints" in without and top not in RESERVED and "checkpoints" in parts[1:]


def check_name(name: str) -> tuple[str, ...]:
    """A member's path in parts. Raises ApplianceError for one that no backup has: absolute, with .., a secret's."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and "/".join(parts) == name and ".." not in parts and "\\" not in name and "\0" not in name
    inside = parts[:1] == (DATA,) and len(parts) > 1 and not left_out(parts[1:], (), "appliance.db")
    table = len(parts) == 2 and parts[0] == TABLES and name.endswith(".jsonl")
    if not plain or not (name in (HEADER, MANIFEST) or inside or table):
        raise ApplianceError(
            f"the backup holds {name[:120]!r}, which no backup of the appliance has", "take a backup that you trust"
        )
    return parts
