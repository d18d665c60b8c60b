"""What is staged: one manifest for each repository and commit, in the folder beside its files and in a bundle."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.errors import ModelError
from appliance.staging.names import COMMIT, REVISION, Kind, allowed, is_repository, unsafe

NAME = ".manifest.json"
"""Hidden, so that no reader of a data set's folder takes it for rows."""

LARGEST = 16 << 20
"""Bytes of a manifest; a data set of 50,000 files has less."""

BLOCK = 1 << 22


class StagedFile(BaseModel):
    """One file: its SHA-256 in hex and its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """A repository at one commit. Format 1; another format is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Kind
    repo: str
    commit: str
    revisions: tuple[str, ...] = Field(description="the names under which this commit was asked for: main, v1.0")
    licence: str | None = Field(max_length=200)
    staged_at: datetime = Field(description="when it was downloaded")
    verified_at: datetime | None = Field(None, description="when all sums were last found right")
    total_bytes: int
    files: dict[str, StagedFile]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if not is_repository(self.repo):
            raise ValueError(f"{self.repo!r} is no name of a repository")
        if not COMMIT.fullmatch(self.commit):
            raise ValueError(f"{self.commit!r} is no commit")
        if bad := [name for name in self.revisions if not REVISION.fullmatch(name)]:
            raise ValueError(f"{bad[0]!r} is no revision")
        if self.licence is not None and not self.licence.isprintable():
            raise ValueError("the licence is not one line of text")
        for path in self.files:
            if why := unsafe(path):
                raise ValueError(f"the file {path!r}: {why}")
            if not allowed(self.kind, path):
                raise ValueError(f"the file {path!r} is of a kind that is not staged")
        folders = {path.rsplit("/", depth)[0] for path in self.files for depth in range(1, path.count("/") + 1)}
        if both := folders & set(self.files):
            raise ValueError(f"{min(both)!r} is a file and a folder")
        if self.total_bytes != sum(file.size for file in self.files.values()):
            raise ValueError("total_bytes is not the sum of the sizes")
        return self

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit[:12]}"


def parsed(text: str | bytes) -> Manifest:
    """The manifest in a JSON text. Raises ValueError, in one line, for anything else."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where + ': ' if where else ''}{first['msg']}"[:300]) from None


def read(folder: Path) -> Manifest | None:
    """The manifest in a staged folder, or None where there is none that can be read."""
    try:
        with (folder / NAME).open("rb") as file:
            return parsed(file.read(LARGEST))
    except (OSError, ValueError):
        return None


def write(manifest: Manifest, folder: Path) -> None:
    """Puts the manifest into the folder, in place of the one that is there. Raises OSError."""
    part = folder / f"{NAME}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.chmod(0o644)
    part.replace(folder / NAME)


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def digest(file: Path, told: Callable[[int], object] = lambda count: None) -> StagedFile:
    """The file's sum and size; `told` hears of every block's bytes. Raises OSError."""
    sha256, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            sha256.update(block)
            size += len(block)
            told(len(block))
    return StagedFile(sha256=sha256.hexdigest(), size=size)


def damage(folder: Path, manifest: Manifest, told: Callable[[int], object] = lambda count: None) -> list[str]:
    """What differs between a folder and its manifest, file by file, all sums computed; empty when all is well."""
    found = []
    for path, wanted in manifest.files.items():
        file = folder / path
        try:
            if file.is_symlink() or not file.is_file():
                found.append(f"{path}: missing")
            elif (size := file.stat().st_size) != wanted.size:
                found.append(f"{path}: {size} bytes, not {wanted.size}")
            elif digest(file, told) != wanted:
                found.append(f"{path}: its SHA-256 is another")
        except OSError as error:
            found.append(f"{path}: cannot be read ({error.strerror})")
    here = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()}
    found += [f"{path}: not in the manifest" for path in sorted(here - set(manifest.files) - {NAME})]
    return found


def stated_licence(folder: Path) -> str | None:
    """The `license:` line of the card's front matter, or the name of a licence file, or None."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:8000]
    except OSError:
        text = ""
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    line = re.search(r"^license:\s*(\S.{0,100}?)\s*$", front.group(1), re.MULTILINE) if front else None
    if line:
        return "".join(filter(str.isprintable, line.group(1).strip("\"'"))) or None
    named = sorted(file.name for file in folder.iterdir() if re.match(r"licen[sc]e", file.name, re.IGNORECASE))
    return f"see {named[0]}" if named else None


def refuse_unknown(what: str) -> ModelError:
    """The error for a repository that is not staged."""
    return ModelError(f"{what} is not staged on this machine", "see `appliance models list`, or import its bundle")
