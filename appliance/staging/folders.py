"""The models folder: where a repository's commit lies in it, and what is found there by its hub id.

owner/name/<commit>/ holds a model, datasets/owner/name/<commit>/ a data set, each with its manifest. A folder comes into
being by one rename, when everything in it is checked; what is under way lies in .staging/.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance import settings
from appliance.errors import ModelError
from appliance.staging import manifest as manifests
from appliance.staging.manifest import Manifest
from appliance.staging.names import COMMIT, DATASETS, Asked, Kind, is_repository
from appliance.store.files import size_text

WORK = ".staging"
SPARE_BYTES = 64 << 20
"""Left free beside what is staged."""

SHORTEST_COMMIT = 7


@dataclass(frozen=True)
class Staged:
    """A folder of the models folder that has a manifest; None where that cannot be read."""

    folder: Path
    manifest: Manifest | None


def repository_folder(models: Path, repo: str, kind: Kind) -> Path:
    """Where all commits of a repository lie."""
    return (models / DATASETS if kind == "dataset" else models) / repo


def folder_of(models: Path, manifest: Manifest) -> Path:
    """Where this commit lies, or is to lie."""
    return repository_folder(models, manifest.repo, manifest.kind) / manifest.commit


def find(model: str, revision: str | None = None, *, kind: Kind = "model", models: Path | None = None) -> Path | None:
    """The folder of a staged repository, or None. Reads manifests only, asks no network.

    A revision is a name under which the commit was staged, the commit, or its first 7 digits or more. Without one it is
    what was staged as main, else the newest. A folder owner/name that was copied here by hand, with its config.json at
    the top, counts when no revision is asked for.
    """
    if not is_repository(model):
        return None
    place = repository_folder(settings.read().models if models is None else models, model, kind)
    found = [one for one in _commits(place) if revision is None or _is_named(one.manifest, revision)]
    if found:
        return max(found, key=lambda one: _standing(one.manifest, revision or "main")).folder
    by_hand = place / "config.json" if kind == "model" else None
    return place if revision is None and by_hand is not None and by_hand.is_file() else None


def _commits(place: Path) -> list[Staged]:
    try:
        inner = [entry for entry in place.iterdir() if COMMIT.fullmatch(entry.name)]
    except OSError:
        return []
    return [one for one in (Staged(folder, manifests.read(folder)) for folder in inner) if one.manifest is not None]


def _is_named(manifest: Manifest | None, revision: str) -> bool:
    assert manifest is not None
    short = len(revision) >= SHORTEST_COMMIT and manifest.commit.startswith(revision)
    return revision in manifest.revisions or short


def _standing(manifest: Manifest | None, name: str) -> tuple[bool, float, str]:
    assert manifest is not None
    return name in manifest.revisions, manifest.staged_at.timestamp(), manifest.commit


def staged(models: Path) -> list[Staged]:
    """Everything in the models folder that has a manifest in its right place, by kind and name."""
    found = []
    for depth in (2, 3, 4):  # name/commit, owner/name/commit, datasets/owner/name/commit
        for file in models.glob("/".join(["*"] * depth) + f"/{manifests.NAME}"):
            one = Staged(file.parent, manifests.read(file.parent))
            if COMMIT.fullmatch(file.parent.name) and WORK not in file.relative_to(models).parts:
                right = one.manifest is not None and folder_of(models, one.manifest) == file.parent
                found.append(one if right else Staged(file.parent, None))
    return sorted(found, key=lambda one: (one.folder.relative_to(models).parts[0] == DATASETS, one.folder))


def models_here(models: Path) -> dict[str, list[Path]]:
    """Folders of every model that `find` finds, by hub id: staged commits, and folders that were copied here by hand."""
    found: dict[str, list[Path]] = {}
    for one in staged(models):
        if one.manifest is not None and one.manifest.kind == "model":
            found.setdefault(one.manifest.repo, []).append(one.folder)
    for depth in (1, 2):
        for file in models.glob("/".join(["*"] * depth) + "/config.json"):
            repo = file.parent.relative_to(models).as_posix()
            if is_repository(repo) and not COMMIT.fullmatch(file.parent.name):
                found.setdefault(repo, []).append(file.parent)
    return found


def chosen(models: Path, asked: Asked) -> list[Staged]:
    """All staged commits of a repository, model or data set; those of one revision where it is asked. Raises ModelError."""
    every = [one for one in staged(models) if _repository(models, one) == asked.repo]
    found = [
        one
        for one in every
        if asked.revision is None
        or (_is_named(one.manifest, asked.revision) if one.manifest else one.folder.name.startswith(asked.revision))
    ]
    if not found:
        raise manifests.refuse_unknown(str(asked))
    return found


def _repository(models: Path, one: Staged) -> str:
    return one.folder.parent.relative_to(models).as_posix().removeprefix(f"{DATASETS}/")


def name_of(models: Path, one: Staged) -> str:
    """owner/name@commit, the commit short."""
    return f"{_repository(models, one)}@{one.folder.name[:12]}"


@contextmanager
def workplace(models: Path) -> Iterator[Path]:
    """An empty folder on the same file system as the models, held by this process alone and gone at the end.

    What an earlier process left when it was killed goes first. Raises ModelError where the folder cannot be written, or
    another process is at it.
    """
    try:
        work = models / WORK
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise not_writable(models, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(f"another process is staging into {models}", "wait for it, then start again") from None
        mine = work / "incoming"
        shutil.rmtree(mine, ignore_errors=True)
        mine.mkdir()
        try:
            yield mine
        finally:
            shutil.rmtree(mine, ignore_errors=True)


def not_writable(models: Path, error: OSError) -> ModelError:
    """The error for a models folder that this process may not write."""
    if error.errno == errno.ENOSPC:
        return ModelError(f"the disk of {models} is full", "make room, or set APPLIANCE_MODELS to another disk")
    return ModelError(
        f"the models folder {models} cannot be written: {error.strerror}",
        "run this where it may be written (in compose the jobs see it read-only), or set APPLIANCE_MODELS",
    )


def require_room(place: Path, needed_bytes: int) -> None:
    """Raises ModelError where the file system has not that much free."""
    free = shutil.disk_usage(place).free
    if free < needed_bytes + SPARE_BYTES:
        raise ModelError(
            f"{size_text(needed_bytes + SPARE_BYTES)} are needed in {place}, {size_text(free)} are free",
            "make room there, or set APPLIANCE_MODELS to a folder on another disk",
        )


def publish(made: Path, manifest: Manifest, models: Path, work: Path) -> Path:
    """Makes a complete folder visible under its name by one rename; one that lies there goes. Raises OSError."""
    manifests.write(manifest, made)
    for folder in (made, *(inner for inner in made.rglob("*") if inner.is_dir())):
        folder.chmod(0o755)
        _sync(folder)
    target = folder_of(models, manifest)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(work / f"damaged-{manifest.commit}")
    made.rename(target)
    _sync(target.parent)
    return target


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def add_revisions(folder: Path, manifest: Manifest, revisions: tuple[str, ...]) -> None:
    """Names more revisions in the manifest of a folder that is there."""
    names = tuple(dict.fromkeys((*manifest.revisions, *revisions)))
    if names != manifest.revisions:
        manifests.write(manifest.model_copy(update={"revisions": names}), folder)


def remove(models: Path, one: Staged) -> None:
    """Takes a staged folder away: out of sight by one rename, then its files. Raises ModelError."""
    with workplace(models) as work:
        try:
            one.folder.rename(work / "removed")
            for empty in (one.folder.parent, one.folder.parent.parent):
                if empty != models and not any(empty.iterdir()):
                    empty.rmdir()
        except OSError as error:
            raise not_writable(models, error) from None
