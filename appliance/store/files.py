"""Files that are either whole or absent: written beside their place, synced to disk, then renamed."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError

OUT_OF_SPACE = ("No space left", "Disk quota exceeded", "os error 28", "os error 122", "PytorchStreamWriter failed")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a failed write under `path` into an ApplianceError that says how much room there is."""
    try:
        yield
    except Exception as error:
        reason = str(error)
        if any(sign in reason for sign in OUT_OF_SPACE):
            free = shutil.disk_usage(_existing(path)).free / 2**30
            raise ApplianceError(
                f"the disk is full: {path} could not be written, {free:.2f} GiB free",
                "free some room, then go on with --resume",
            ) from error
        if (
            isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
            or "Read-only file system" in reason
        ):
            raise ApplianceError(
                f"{path} is not writable: {reason}", "choose a folder that you may write to"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` atomically. Raises ApplianceError when the disk is full or the folder not writable."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file, or something else in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def size_text(size_bytes: float) -> str:
    """1.3 GB, 12 MB, 40 kB, in units of a thousand as on disks."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= 0.9995 * one:  # what three digits would round to 1000 of the smaller unit
            return f"{size_bytes / one:.3g} {unit}"
    return f"{size_bytes:.0f} bytes"


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `path` with what `fill(folder)` puts in it; whole or not at all. An older one is replaced."""
    temporary = path.with_name(f".{path.name}.tmp")
    old = path.with_name(f".{path.name}.old")
    with explained(path):
        _put_back(path, old)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            fill(temporary)
            for file in sorted(temporary.rglob("*")):
                _sync(file)
            _sync(temporary)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            _put_back(path, old)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        _sync_folder(path.parent)


def put_back_all(parent: Path) -> None:
    """Undo every half-made replacement of a folder below `parent`, and end every made one: a kill may leave either."""
    for old in parent.glob(".*.old"):
        _put_back(parent / old.name[1 : -len(".old")], old)
        shutil.rmtree(old, ignore_errors=True)


def _put_back(path: Path, old: Path) -> None:
    """Undo the first of the two renames that replace a folder, if the second was not made."""
    if old.exists() and not path.exists():
        old.rename(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_sync_folder = _sync


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
