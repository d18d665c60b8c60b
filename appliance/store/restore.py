"""A backup put back: all of it is read, checked and made ready beside the data folder before anything is replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import DBAPIError

from appliance.errors import ApplianceError
from appliance.settings import Settings
from appliance.store import backup_tables, migration
from appliance.store.backup_format import CHUNK, DATA, FORMAT, HEADER, MANIFEST, TABLES, check_name
from appliance.store.db import Store, reachable
from appliance.store.files import explained
from appliance.store.in_use import check_unused
from appliance.store.schema import Base
from appliance.store.swap import must_stay, swapped, swapped_file

CARRIED = ("secret.key", "backups", "models")
"""What a backup does not hold, or may not hold: taken over from the folder that is replaced, where it is there."""

TEXTS = ("config.yaml", "adapter_config.json")
"""Files of runs in which paths of the data folder stand."""


@dataclass
class Restored:
    """What was put back."""

    made: float
    appliance: str
    files: int
    rows: dict[str, int] = field(default_factory=dict)
    aside: Path | None = None
    """Where the data that was there before lies now."""


def check(file: Path) -> Restored:
    """What the backup holds, read whole and checked; nothing is written."""
    return _unpack(file, None)[0]


def restore(file: Path, settings: Settings, *, clock: Callable[[], float] = time.time) -> Restored:
    """Replace the data folder and the store by what the backup holds; the old data is kept beside it.

    Raises ApplianceError, with everything left as it was: for a file that is damaged, cut off, changed, or of a newer
    version, and while a worker, a page or a training uses the data folder.
    """
    data = settings.data.absolute()
    inside = must_stay(data)
    staged = data / f".restoring-{os.getpid()}" if inside else data.with_name(f".{data.name}.restoring-{os.getpid()}")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock()))
    aside = data / f".before-restore-{stamp}" if inside else data.with_name(f"{data.name}.before-restore-{stamp}")
    if aside.exists():
        raise ApplianceError(f"{aside} is there already", "wait a second, then try again")
    check_unused(settings)
    with explained(staged), _cleared(staged):
        found, header = _unpack(file, staged)
        moved = _mover(str(header["data"]), str(data))
        _move_texts(staged / DATA, moved)
        store = Store(settings.database, data)
        try:
            with reachable(store), _database(store, staged, header, found, moved, clock()) as commit:
                check_unused(settings, but=store)
                _give_to_owner(data, staged)
                with swapped(data, staged / DATA, aside, inside=inside), ExitStack() as old_file:
                    if store.is_sqlite and store.file.parent != data:
                        old_file.enter_context(swapped_file(staged / "store.db", store.file, stamp))
                    commit()
        finally:
            store.close()
    for name in CARRIED:
        if (aside / name).exists() and not (data / name).exists():
            (aside / name).rename(data / name)
    found.aside = aside if aside.exists() else None
    return found


def _unpack(file: Path, place: Path | None) -> tuple[Restored, dict[str, Any]]:
    """What the backup is, and its header; its files below `place` (None: nowhere), each checked against the manifest."""
    if not file.is_file():
        raise ApplianceError(f"there is no file {file}", "give the backup's path")
    sums: dict[str, dict[str, Any]] = {}
    header: dict[str, Any] | None = None
    told: dict[str, dict[str, Any]] | None = None
    if place is not None:
        place.mkdir(mode=0o700)
        (place / DATA).mkdir()
    try:
        with tarfile.open(file, "r:*") as tar:
            for member in tar:
                parts = check_name(member.name)
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.name in sums:
                    raise ApplianceError(
                        f"the backup holds {member.name!r} as a link, a device or twice, which no backup has",
                        "take a backup that you trust",
                    )
                source = tar.extractfile(member)
                assert source is not None
                if header is None:
                    source = io.BytesIO(source.read())
                    header = _header(file, member.name, source.getvalue())
                if member.name == MANIFEST:
                    told = _manifest(file, source.read())
                    continue
                target = None if place is None else place.joinpath(*parts)
                sums[member.name] = _write(source, target, member)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the file
        raise _broken(file, " ".join(str(error).split()) or type(error).__name__) from None
    if header is None or told is None:
        raise _broken(file, "its end is missing")
    for name in sorted(told.keys() | sums.keys()):
        if name not in told or name not in sums:
            raise _broken(file, f"{name} is missing or was added")
        if sums[name] != told[name]:
            raise _broken(file, f"{name} is not what was backed up: its checksum or size differs")
    files = sum(name.startswith(f"{DATA}/") for name in told)
    return Restored(made=float(header["made"]), appliance=str(header["appliance"]), files=files), header


def _write(source: Any, target: Path | None, member: tarfile.TarInfo) -> dict[str, Any]:
    """Size and sha256 of a member, written to `target` where one is given."""
    digest, size = hashlib.sha256(), 0
    if target is None:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return {"size": size, "sha256": digest.hexdigest()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    target.chmod((member.mode & 0o755) | 0o600)
    os.utime(target, (member.mtime, member.mtime))  # runs are listed by the age of their config
    return {"size": size, "sha256": digest.hexdigest()}


def _header(file: Path, first: str, content: bytes) -> dict[str, Any]:
    """The first member, before anything else is read."""
    if first != HEADER:
        raise ApplianceError(f"{file} is no backup of the appliance", "give a file that `appliance backup` wrote")
    try:
        header = json.loads(content)
        form, schema, _ = (
            int(header["format"]),
            str(header["schema"]),
            (header["data"], header["made"], header["last_ids"]),
        )
    except (ValueError, KeyError, TypeError):
        raise _broken(file, f"{HEADER} cannot be read") from None
    if form > FORMAT:
        raise ApplianceError(
            f"{file} has format {form}, from appliance {header.get('appliance')}; this one reads formats up to {FORMAT}",
            "restore it with the appliance version that made it, or a newer one",
        )
    backup_tables.check_schema(schema)
    return header


def _manifest(file: Path, content: bytes) -> dict[str, dict[str, Any]]:
    try:
        return dict(json.loads(content)["files"])
    except (ValueError, KeyError, TypeError):
        raise _broken(file, f"{MANIFEST} cannot be read") from None


def _broken(file: Path, why: str) -> ApplianceError:
    return ApplianceError(
        f"{file} is damaged, cut off or was changed: {why}", "copy it again from where it is kept, or take an older one"
    )


@contextmanager
def _database(
    store: Store, staged: Path, header: dict[str, Any], found: Restored, moved: Callable[[str], str], now: float
) -> Iterator[Callable[[], None]]:
    """The store made of the backup, ready; nothing is replaced before what this gives is called."""
    files = staged / TABLES
    files.mkdir(exist_ok=True)
    with ExitStack() as stack:
        if store.is_sqlite:
            place = staged / DATA / store.file.name if store.file.parent == store.data else staged / "store.db"
            fresh = Store(f"sqlite:///{place}", staged)
            stack.callback(fresh.close)
            connection = stack.enter_context(fresh.engine.connect())
            stack.enter_context(migration.without_cascades(connection))
        else:
            connection = stack.enter_context(store.engine.connect())
            key = {"number": migration.ADVISORY_LOCK}
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), key)
            _keep_old(connection, staged / DATA / ".database-before-restore")
            backup_tables.drop(connection)
        try:
            found.rows = backup_tables.build(connection, str(header["schema"]), files, dict(header["last_ids"]))
            backup_tables.rebase(connection, str(header["data"]), str(store.data), moved)
            connection.execute(insert(Base.metadata.tables["audit"]), _entry(header, now))
            migration.check_references(connection)
        except DBAPIError as error:
            raise ApplianceError(
                f"the backup's database cannot be used: {' '.join(str(error.orig).split())}", "take another backup file"
            ) from error
        if store.is_sqlite:
            connection.commit()
            stack.pop_all().close()  # the file is whole, and nobody has it open
            place.chmod(migration.PRIVATE)
            yield lambda: None
        else:
            yield connection.commit


def _keep_old(connection: Connection, folder: Path) -> None:
    """The rows that PostgreSQL holds now, as lines of JSON: kept with the old data, for somebody who wants them back."""
    if not backup_tables.has_tables(connection):
        return
    folder.mkdir(parents=True)
    for table in backup_tables.tables(connection):
        with (folder / f"{table.name}.jsonl").open("wb") as file:
            backup_tables.dump(connection, table, file)


def _entry(header: dict[str, Any], now: float) -> dict[str, Any]:
    made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(float(header["made"])))
    return {
        "at": now,
        "user_id": None,
        "user_name": "appliance",
        "action": "backup restored",
        "subject": made,
        "detail": None,
    }


def _give_to_owner(data: Path, staged: Path) -> None:
    """Let the new files belong to whom the data folder belongs: root may restore what another user serves."""
    if os.geteuid() != 0 or not data.exists():
        return
    owner = data.stat()
    for file in (staged, *staged.rglob("*")):
        os.chown(file, owner.st_uid, owner.st_gid)
    (staged / DATA).chmod(owner.st_mode & 0o777)


def _mover(old: str, new: str) -> Callable[[str], str]:
    """Rewrites paths below the data folder that was backed up to the one that is restored."""
    if old == new:
        return lambda text: text
    path = re.compile(rf"(?<![\w./-]){re.escape(old.rstrip('/'))}(?=/)")
    return lambda text: path.sub(lambda _: new, text)


def _move_texts(folder: Path, moved: Callable[[str], str]) -> None:
    for name in TEXTS:
        for file in folder.rglob(name):
            _rewrite(file, moved)
    for file in (folder / "queue").glob("*.yaml"):
        _rewrite(file, moved)


def _rewrite(file: Path, moved: Callable[[str], str]) -> None:
    try:
        before = file.read_text(encoding="utf-8")
    except UnicodeError:
        return
    after = moved(before)
    if after != before:
        changed = file.stat().st_mtime
        file.write_text(after, encoding="utf-8")
        os.utime(file, (changed, changed))


@contextmanager
def _cleared(folder: Path) -> Iterator[None]:
    """The folder, and what is left of it at the end goes."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
