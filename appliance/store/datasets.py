"""Uploaded files: each in a folder of its own with a name that nobody can guess, and a row that says whose it is."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

from sqlalchemy import or_, select

from appliance.errors import ApplianceError
from appliance.store.db import Store
from appliance.store.files import explained
from appliance.store.schema import Dataset

FOLDER = "uploads"

KINDS = ("prompts", "preferences", "demonstrations")


def add(
    store: Store,
    *,
    name: str,
    kind: str,
    source: Path,
    rows: int,
    owner_id: int | None,
    column: str | None = None,
    move: bool = True,
) -> Dataset:
    """Take the file `source` into the data folder (moved there unless `move` is false) and enter it.

    The row is written last: a file without a row is swept away by `sweep`, a row without a file does not come about.
    """
    if kind not in KINDS:
        raise ApplianceError(f"{kind!r} is no kind of data", f"use one of {', '.join(KINDS)}")
    key = secrets.token_hex(16)
    file = store.data / FOLDER / key / safe_name(name)
    with explained(file):
        file.parent.mkdir(parents=True, mode=0o700)
        try:
            shutil.copyfile(source, file)
            file.chmod(0o600)
        except BaseException:
            shutil.rmtree(file.parent, ignore_errors=True)
            raise
    made = Dataset(
        id=key,
        name=name[:255],
        kind=kind,
        file=str(file.relative_to(store.data)),
        size_bytes=file.stat().st_size,
        rows=rows,
        column=column,
        owner_id=owner_id,
        created=store.clock(),
    )
    with store.session() as session:
        session.add(made)
    if move:
        source.unlink(missing_ok=True)
    return made


def get(store: Store, dataset_id: str, *, owner_id: int | None = None) -> Dataset:
    """The data set. With `owner_id`, only that user's, or nobody's: another's is not there for them. Raises ApplianceError."""
    with store.reading() as session:
        found = session.get(Dataset, dataset_id)
    if found is None or (owner_id is not None and found.owner_id not in (None, owner_id)):
        raise ApplianceError("there is no such upload", "choose one from the list, or upload the file again")
    return found


def list_datasets(store: Store, *, kind: str | None = None, owner_id: int | None = None) -> list[Dataset]:
    """Newest first; with `owner_id`, that user's and nobody's."""
    query = select(Dataset).order_by(Dataset.created.desc(), Dataset.id)
    if kind is not None:
        query = query.where(Dataset.kind == kind)
    if owner_id is not None:
        query = query.where(or_(Dataset.owner_id == owner_id, Dataset.owner_id.is_(None)))
    with store.reading() as session:
        return list(session.scalars(query))


def path_of(store: Store, dataset: Dataset) -> Path:
    """Where its file is. Raises ApplianceError when somebody removed it."""
    path = store.data / dataset.file
    if not path.is_file():
        raise ApplianceError(f"the file of {dataset.name} is gone: {path}", "upload it again")
    return path


def delete(store: Store, dataset_id: str) -> int:
    """Remove a data set and its file; the bytes that are free now. Runs made from it keep their numbers."""
    with store.session() as session:
        found = session.get(Dataset, dataset_id)
        if found is None:
            return 0
        session.delete(found)
    shutil.rmtree((store.data / found.file).parent, ignore_errors=True)
    return found.size_bytes


def sweep(store: Store, *, older_than_s: float = 3600.0) -> None:
    """Remove folders of uploads that no row names: what a crash in the middle of `add` left."""
    with store.reading() as session:
        known = set(session.scalars(select(Dataset.id)))
    for folder in (store.data / FOLDER).glob("*"):
        if folder.name not in known and store.clock() - folder.stat().st_mtime > older_than_s:
            shutil.rmtree(folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """A file name that is harmless in any folder and keeps its ending."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last).lstrip(".-")
    stem, dot, ending = plain.rpartition(".")
    return f"{stem[:80]}.{ending[:12]}" if dot and stem else (plain[:80] or "upload")
