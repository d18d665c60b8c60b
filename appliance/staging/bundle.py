"""Bundles: plain tar files of regular files only, their manifests first, written and read a block at a time.

bundle.json lists the manifests; every file of the n-th follows in its order as n/path (n/number where that is too long for
the header). The reader takes exactly these headers and no others: no links, no long-name or pax headers, no folders.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.errors import ModelError
from appliance.staging.manifest import BLOCK, LARGEST, Manifest, StagedFile, parsed

FORMAT = "rlhf-appliance-bundle-1"
INDEX = "bundle.json"
UNIT = 512
LONGEST_NAME = 100
MOST_REPOSITORIES = 1000

KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}

AGAIN = "copy the bundle here again, or stage it again on the connected machine; import it as it was written"


@dataclass(frozen=True)
class Member:
    """One file of a bundle: which manifest it belongs to, its path there, and what it must be."""

    number: int
    path: str
    wanted: StagedFile


def members(listed: list[Manifest]) -> dict[str, Member]:
    """Every file of a bundle by its name in the tar, in the order of the tar."""
    found = {}
    for number, manifest in enumerate(listed):
        for position, (path, wanted) in enumerate(manifest.files.items()):
            name = f"{number}/{path}"
            if len(name.encode()) > LONGEST_NAME:
                name = f"{number}/{position:06d}"
            found[name] = Member(number, path, wanted)
    return found


def write(
    out: Path, listed: list[Manifest], folders: list[Path], told: Callable[[int], object] = lambda count: None
) -> str:
    """Writes the bundle of these folders' files; its SHA-256 in hex. It has its name only when it is whole.

    Raises ModelError where a file changed since its manifest was made, OSError where it cannot be written.
    """
    index = json.dumps({"format": FORMAT, "manifests": [one.model_dump(mode="json") for one in listed]}, indent=1)
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            target = _Summed(file)
            target.write(_header(INDEX, len(index.encode())) + _padded(index.encode()))
            for name, member in members(listed).items():
                _append(target, name, folders[member.number] / member.path, member.wanted, told)
            target.write(b"\0" * (2 * UNIT))
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return target.sha256.hexdigest()


class _Summed:
    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.sha256.update(data)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % UNIT)


def _append(target: _Summed, name: str, source: Path, wanted: StagedFile, told: Callable[[int], object]) -> None:
    target.write(_header(name, wanted.size))
    sha256, size = hashlib.sha256(), 0
    with source.open("rb") as opened:
        while block := opened.read(BLOCK):
            sha256.update(block)
            size += len(block)
            target.write(block)
            told(len(block))
    if (sha256.hexdigest(), size) != (wanted.sha256, wanted.size):
        raise ModelError(f"{source} changed while it was put into the bundle", "stage it again")
    target.write(b"\0" * (-size % UNIT))


class Reader:
    """A bundle that is read once from its start. Everything wrong with it raises ModelError."""

    def __init__(self, bundle: Path, file: BinaryIO) -> None:
        self.bundle, self.file = bundle, file
        self.size, self.sha256, self.done = os.fstat(file.fileno()).st_size, hashlib.sha256(), 0
        self.manifests = self._index()

    @property
    def total_bytes(self) -> int:
        """Bytes of all files in it."""
        return sum(one.total_bytes for one in self.manifests)

    def files(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Each file with its content in blocks, which must be taken before the next; sums and sizes are checked.

        After the last one, that nothing is missing and nothing follows.
        """
        missing = members(self.manifests)
        while header := self._next():
            member = missing.pop(header.name, None)
            if member is None:
                raise self.refused(f"it holds {header.name!r}, which its list does not name (or names once)")
            if header.size != member.wanted.size:
                raise self.refused(f"{header.name} has {header.size} bytes, not the {member.wanted.size} of its list")
            yield member, self._content(header.name, member.wanted)
        if missing:
            raise self.refused(f"{next(iter(missing))} is missing in it (and {len(missing) - 1} more)")
        while rest := self.file.read(BLOCK):
            self.sha256.update(rest)
            if rest.strip(b"\0"):
                raise self.refused("something follows after its end")

    def refused(self, why: str) -> ModelError:
        """The error for this bundle."""
        return ModelError(f"the bundle {self.bundle} is refused: {why}", AGAIN)

    def _index(self) -> list[Manifest]:
        header = self._next()
        if header is None or header.name != INDEX or header.size > LARGEST:
            raise self.refused(f"it does not begin with {INDEX}, so `appliance models stage` did not write it")
        text = b"".join(self._blocks(header.name, header.size))
        try:
            index = json.loads(text)
            version, listed = index["format"], index["manifests"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self.refused(f"its {INDEX} cannot be read") from None
        if version != FORMAT:
            raise self.refused(f"its format is {str(version)[:40]!r}, this version reads {FORMAT!r}")
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_REPOSITORIES:
            raise self.refused(f"its {INDEX} lists no repositories, or too many")
        try:
            found = [parsed(json.dumps(one)) for one in listed]
        except (ValueError, RecursionError) as error:
            raise self.refused(f"its list is not one that may be imported: {error}") from None
        if len({(one.kind, one.repo.lower(), one.commit) for one in found}) < len(found):
            raise self.refused("it lists a repository twice")
        return found

    def _next(self) -> tarfile.TarInfo | None:
        """The next header, or None at the end of the archive."""
        block = self._read(UNIT)
        if block == b"\0" * UNIT:
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeError, ValueError):
            raise self.refused(f"byte {self.done - UNIT} is no header of a file") from None
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.size < 0:
            what = KINDS.get(info.type, "an entry of a kind that does not belong into a bundle")
            raise self.refused(f"{info.name!r} is {what}")
        if block != _header(info.name, info.size):
            raise self.refused(f"the header of {info.name!r} is not as `appliance models stage` writes it")
        return info

    def _content(self, name: str, wanted: StagedFile) -> Iterator[bytes]:
        sha256 = hashlib.sha256()
        for block in self._blocks(name, wanted.size):
            sha256.update(block)
            yield block
        if sha256.hexdigest() != wanted.sha256:
            raise self.refused(f"{name} does not have the SHA-256 of its list")

    def _blocks(self, name: str, size: int) -> Iterator[bytes]:
        left = size
        while left:
            block = self._read(min(BLOCK, left))
            left -= len(block)
            yield block
        if self._read(-size % UNIT).strip(b"\0"):
            raise self.refused(f"something is hidden after {name}")

    def _read(self, count: int) -> bytes:
        data = self.file.read(count)
        self.done += len(data)
        self.sha256.update(data)
        if len(data) < count:
            raise self.refused(f"it is cut short: it ends after {self.done} bytes")
        return data
