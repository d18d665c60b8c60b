"""A bundle into the models folder: all of it checked before any of it can be seen."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.errors import ModelError
from appliance.progress import Progress, progress
from appliance.staging import manifest as manifests
from appliance.staging.bundle import Member, Reader
from appliance.staging.folders import add_revisions, folder_of, not_writable, publish, require_room, workplace
from appliance.staging.manifest import Manifest, now

MB = 1_000_000


@dataclass(frozen=True)
class Imported:
    """One repository of a bundle, its folder here, and whether it is new, was here, or took a damaged one's place."""

    manifest: Manifest
    folder: Path
    how: Literal["imported", "already here", "repaired"]


def import_bundle(bundle: Path, models: Path, *, sha256: str | None = None) -> list[Imported]:
    """Imports all repositories of a bundle; with `sha256`, only a bundle of that sum. Raises ModelError, leaving nothing.

    A repository that is here and whole stays as it is, and one that is damaged is replaced.
    """
    try:
        file = bundle.open("rb")
    except OSError as error:
        raise ModelError(f"the bundle {bundle} cannot be read: {error.strerror}", "check the path") from None
    with file, workplace(models) as work:
        try:
            return _import(Reader(bundle, file), models, work, sha256)
        except OSError as error:
            raise not_writable(models, error) from None


def _import(reader: Reader, models: Path, work: Path, sha256: str | None) -> list[Imported]:
    standing = {number: _standing(models, one) for number, one in enumerate(reader.manifests)}
    require_room(work, sum(one.total_bytes for n, one in enumerate(reader.manifests) if standing[n] != "already here"))
    with progress("import (MB)", round(reader.total_bytes / MB)) as shown:
        count = Count(shown)
        for member, blocks in reader.files():
            if standing[member.number] == "already here":
                for block in blocks:
                    count(len(block))
            else:
                _write(work / str(member.number), member, blocks, count)
    if sha256 is not None and reader.sha256.hexdigest() != sha256.lower():
        raise reader.refused(f"its SHA-256 is {reader.sha256.hexdigest()}, not the {sha256} that was given")
    found = []
    for number, one in enumerate(reader.manifests):
        checked = one.model_copy(update={"verified_at": now()})
        folder = folder_of(models, one)
        if standing[number] == "already here":
            here = manifests.read(folder)
            add_revisions(folder, here or one, one.revisions)
        else:
            (work / str(number)).mkdir(exist_ok=True)
            folder = publish(work / str(number), checked, models, work)
        found.append(Imported(checked, folder, standing[number]))
    return found


def _standing(models: Path, wanted: Manifest) -> Literal["imported", "already here", "repaired"]:
    folder = folder_of(models, wanted)
    if not folder.exists():
        return "imported"
    here = manifests.read(folder)
    whole = here is not None and here.files == wanted.files and not manifests.damage(folder, here)
    return "already here" if whole else "repaired"


def _write(folder: Path, member: Member, blocks: Iterable[bytes], count: "Count") -> None:
    target = folder / member.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for block in blocks:
            file.write(block)
            count(len(block))
        file.flush()
        os.fsync(file.fileno())
    target.chmod(0o644)


class Count:
    """Bytes told, megabytes shown."""

    def __init__(self, shown: Progress) -> None:
        self.shown, self.bytes = shown, 0

    def __call__(self, count: int) -> None:
        """`count` more bytes are done."""
        before, self.bytes = round(self.bytes / MB), self.bytes + count
        if (moved := round(self.bytes / MB) - before) > 0:
            self.shown.advance(moved)
