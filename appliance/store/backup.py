"""A backup: one tar of the data folder and the store, made while everything goes on, with a checksum for each file.

Order in it: backup.json (what it is), database/<table>.jsonl, data/<path>, manifest.json (sizes and sha256; written last,
so a file that was cut off has none). `store/restore.py` reads it. Secrets stay out: sign-ins and API tokens, invitations,
secret.key, password files.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from appliance import __version__
from appliance.errors import ApplianceError
from appliance.settings import Settings
from appliance.store import backup_tables, migration
from appliance.store.backup_format import DATA, FORMAT, HEADER, MANIFEST, TABLES, WITHOUT, left_out
from appliance.store.db import Store, reachable
from appliance.store.files import explained
from appliance.store.runs import RESERVED

SMALL = 8 << 20
"""Files up to this size, in bytes, are read whole: a log may grow or be cut while it is copied."""

UNFINISHED, PART = ".backup-", "part"
"""The folder in which a backup is written, beside its place, and its file in it."""

SETTLED_S = 60.0
"""A folder of that name that is younger may be one whose file is not locked yet."""

MOST_OPEN = 200
TRIES = 5


@dataclass
class Summary:
    """What is in a backup."""

    file: Path
    files: int = 0
    size_bytes: int = 0
    rows: int = 0
    left_out: list[str] = field(default_factory=list)
    """Paths that could not be taken, each with the reason."""


def make(settings: Settings, target: Path, *, without: Collection[str] = (), force: bool = False) -> Summary:
    """Write the backup to `target` (.tar, or .tar.gz / .tgz for a compressed one), whole or not at all.

    Changes nothing in the data folder; an older schema is kept as it is. Raises ApplianceError.
    """
    unknown = sorted(set(without) - set(WITHOUT))
    if unknown:
        raise ApplianceError(f"{unknown[0]} cannot be left out", f"choose from {', '.join(WITHOUT)}")
    kinds = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz"}
    if target.suffix not in kinds or (target.name.endswith(".gz") and not target.name.endswith(".tar.gz")):
        raise ApplianceError(f"{target} is not called like a backup", "end its name in .tar, or .tar.gz to compress it")
    if target.exists() and not force:
        raise ApplianceError(f"{target} is there already", "give another name, or --force to replace it")
    if not settings.data.is_dir():
        raise ApplianceError(f"there is no data folder {settings.data}", "set APPLIANCE_DATA")
    store = Store(settings.database, settings.data)
    if store.is_sqlite and not store.file.is_file():
        raise ApplianceError(f"{settings.data} holds no store yet", "start `appliance serve` or `worker` once")
    summary = Summary(target)
    try:
        with explained(target), reachable(store), ExitStack() as stack:
            target.parent.mkdir(parents=True, exist_ok=True)
            _clear(target.parent)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=target.parent)))
            part = scratch / PART
            out = stack.enter_context(os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"))
            with suppress(OSError):  # a file system without locks
                fcntl.flock(out, fcntl.LOCK_EX)  # until the file is in its place: see `_clear`
            with tarfile.open(fileobj=out, mode=kinds[target.suffix], format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                _fill(_Writer(tar, summary), store, settings, frozenset(without), scratch)
            out.flush()
            os.fsync(out.fileno())
            summary.size_bytes = part.stat().st_size
            part.replace(target) if force else _put(part, target)
    finally:
        store.close()
    return summary


def unfinished_bytes(folder: Path) -> int:
    """Bytes that are written so far of the backups that are being made in a folder."""
    total = 0
    for part in folder.glob(f"{UNFINISHED}*/{PART}"):
        with suppress(OSError):  # it was finished just now
            total += part.stat().st_size
    return total


def _clear(folder: Path) -> None:
    """Remove what backups left in the folder whose process was killed; those that are being made stay."""
    for scratch in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):  # it is locked, or gone by now
            if time.time() - scratch.stat().st_mtime < SETTLED_S:
                continue
            if (scratch / PART).exists():
                with (scratch / PART).open("rb") as part:
                    fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(scratch, ignore_errors=True)


def _put(part: Path, target: Path) -> None:
    """Rename, but never over a file that came there meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise ApplianceError(f"{target} is there already", "give another name, or --force to replace it") from None
    except OSError:  # a file system without hard links
        part.replace(target)


def _fill(writer: _Writer, store: Store, settings: Settings, without: frozenset[str], scratch: Path) -> None:
    with backup_tables.snapshot(store, scratch) as connection:
        schema = migration.version_of(connection)
        if schema is None:
            raise ApplianceError("the store is empty", "start `appliance serve` or `worker` once")
        found = backup_tables.tables(connection)
        writer.add_json(
            HEADER,
            {
                "format": FORMAT,
                "appliance": __version__,
                "schema": schema,
                "made": time.time(),
                "data": str(store.data),
                "without": sorted(without),
                "last_ids": backup_tables.last_ids(connection, found),
            },
        )
        for table in found:
            with tempfile.TemporaryFile(dir=scratch) as spool:
                writer.summary.rows += backup_tables.dump(connection, table, spool)
                size = spool.tell()
                spool.seek(0)
                writer.add(f"{TABLES}/{table.name}.jsonl", spool, size, time.time())
    named = (settings.admin_password_file, settings.database_password_file)
    secret = {file.resolve() for file in named if file is not None}
    database = store.file.name if store.is_sqlite and store.file.parent == store.data else None
    _Tree(writer, store.data, without, database, secret).walk(store.data, ())
    writer.add_json(MANIFEST, {"files": writer.sums})


class _Writer:
    """Puts files into the tar and keeps their checksums."""

    def __init__(self, tar: tarfile.TarFile, summary: Summary) -> None:
        self.tar, self.summary = tar, summary
        self.sums: dict[str, dict[str, Any]] = {}

    def add(self, name: str, source: IO[bytes], size: int, changed: float, mode: int = 0o600) -> None:
        """Exactly `size` bytes of `source`. Raises ApplianceError when there are fewer."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, changed, mode & 0o777  # type: ignore[assignment]
        summed = _Summing(source)
        try:
            self.tar.addfile(info, summed)  # type: ignore[arg-type]
        except OSError as error:
            if "unexpected end of data" not in str(error):
                raise
            raise ApplianceError(f"{name} became shorter while it was copied", "make the backup again") from None
        self.sums[name] = {"size": size, "sha256": summed.digest.hexdigest()}
        self.summary.files += 1

    def add_json(self, name: str, value: Any) -> None:
        content = json.dumps(value, ensure_ascii=False).encode()
        self.add(name, io.BytesIO(content), len(content), time.time())


class _Summing:
    """Reads, and sums up what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


@dataclass
class _Tree:
    """The data folder, read while others write to it.

    Of each folder all files are opened before the first is copied: what is replaced or removed meanwhile is copied as it
    was. Folders come before files, so the logs know every step that the checkpoints know.
    """

    writer: _Writer
    data: Path
    without: frozenset[str]
    database: str | None
    secret: set[Path]

    def walk(self, place: Path, parts: tuple[str, ...]) -> None:
        """Everything in `place`, which the backup knows as data/<parts>."""
        with ExitStack() as stack:
            opened = self._open(place, parts, stack)
            if opened is None:
                return
            folders, files = opened
            for name, folder in folders:
                self.walk(folder, (*parts, name))
            for name, file in files:
                with file if isinstance(file, io.BufferedReader) else file.open("rb") as source:
                    self._copy((*parts, name), source)

    def _open(
        self, place: Path, parts: tuple[str, ...], stack: ExitStack
    ) -> tuple[list[tuple[str, Path]], list[tuple[str, io.BufferedReader | Path]]] | None:
        """The folders by name, and the files, opened; None for a folder that is gone or no longer whole."""
        for _ in range(TRIES):
            with ExitStack() as attempt:
                try:
                    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
                    attempt.callback(os.close, handle)
                    folders, files = self._listed(place, parts, attempt)
                    same = os.stat(place).st_ino == os.fstat(handle).st_ino
                except FileNotFoundError:
                    continue
                if same:
                    if _is_checkpoint(parts) and not _complete(files):
                        return None  # it is being removed; a newer one is there
                    stack.push(attempt.pop_all())
                    return folders, files
        return None

    def _listed(
        self, place: Path, parts: tuple[str, ...], stack: ExitStack
    ) -> tuple[list[tuple[str, Path]], list[tuple[str, io.BufferedReader | Path]]]:
        folders, files = [], []
        present = sorted(os.listdir(place))
        for name in present:
            known = name
            if name.startswith(".") and name.endswith(".old") and name[1:-4] not in present:
                known = name[1:-4]  # the first of two renames was made: this is the folder
            elif left_out((*parts, name), self.without, self.database):
                continue
            file = place / name
            kind = file.lstat().st_mode
            if stat.S_ISLNK(kind):
                file = file.resolve()
                if not file.is_file() or self.data.resolve() not in file.parents:
                    self.writer.summary.left_out.append(f"{'/'.join((*parts, name))}: a link that leads elsewhere")
                    continue
                kind = file.lstat().st_mode
            if file.resolve() in self.secret:
                continue
            if stat.S_ISDIR(kind):
                folders.append((known, file))
            elif stat.S_ISREG(kind):
                many = len(files) >= MOST_OPEN
                files.append((known, file if many else stack.enter_context(file.open("rb"))))
        return folders, files

    def _copy(self, parts: tuple[str, ...], source: IO[bytes]) -> None:
        found = os.fstat(source.fileno())
        name, size = "/".join((DATA, *parts)), found.st_size
        if size <= SMALL or name.endswith((".jsonl", ".log")):
            content = source.read(size)
            if name.endswith(".jsonl") and parts[0] not in RESERVED:
                content = content[: content.rfind(b"\n") + 1]  # the last line may be half written
            self.writer.add(name, io.BytesIO(content), len(content), found.st_mtime, found.st_mode)
        else:
            self.writer.add(name, source, size, found.st_mtime, found.st_mode)


def _is_checkpoint(parts: tuple[str, ...]) -> bool:
    return len(parts) >= 2 and parts[-2] == "checkpoints" and parts[0] not in RESERVED


def _complete(files: list[tuple[str, Any]]) -> bool:
    """Whether every file that a checkpoint's manifest names was opened; a stage without a manifest says nothing of it."""
    opened = dict(files)
    if "manifest.json" not in opened:
        return "weights.safetensors" not in opened
    manifest = opened["manifest.json"]
    named = json.loads(manifest.read())
    manifest.seek(0)
    return set(named) <= set(opened)
