"""From the hub into a bundle, or straight into the models folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from appliance import settings
from appliance.errors import ModelError
from appliance.progress import progress
from appliance.staging import bundle as bundles
from appliance.staging import manifest as manifests
from appliance.staging.folders import (
    WORK,
    add_revisions,
    folder_of,
    not_writable,
    publish,
    require_room,
    workplace,
)
from appliance.staging.hub import Found, Hub, notes
from appliance.staging.importing import MB, Count
from appliance.staging.manifest import Manifest
from appliance.staging.names import Asked, Kind


@dataclass(frozen=True)
class Fetched:
    """One repository that was staged, where, and what is to be known of it."""

    manifest: Manifest
    folder: Path
    notes: list[str]


def stage_bundle(asked: list[Asked], kind: Kind, out: Path, hub: Hub) -> tuple[list[Fetched], str]:
    """Downloads all of them and writes one bundle; the bundle's SHA-256. Raises ModelError.

    Files lie in OUT.downloads/ until the bundle is there, so the disk holds them twice for a while.
    """
    if out.exists():
        raise ModelError(f"{out} is there already", "remove it, or give another name")
    downloads = out.with_name(f"{out.name}.downloads")
    found = _look_up(asked, kind, hub)
    with _writing(out.parent):
        downloads.mkdir(parents=True, exist_ok=True)
        fetched = _download(found, downloads, hub, copies=2)
        with progress("bundle (MB)", round(sum(one.manifest.total_bytes for one in fetched) / MB)) as shown:
            sha256 = bundles.write(
                out, [one.manifest for one in fetched], [one.folder for one in fetched], Count(shown)
            )
        shutil.rmtree(downloads, ignore_errors=True)
    return fetched, sha256


def stage_here(asked: list[Asked], kind: Kind, models: Path, hub: Hub) -> list[Fetched]:
    """Downloads all of them into the models folder, each visible when it is whole. Raises ModelError."""
    with workplace(models) as work, _writing(models):
        found = _look_up(asked, kind, hub)
        downloads = models / WORK / "downloads"
        downloads.mkdir(exist_ok=True)
        new, fetched = [], []
        for one in found:
            folder = folder_of(models, _stub(one))
            here = manifests.read(folder)
            if here is not None and not manifests.damage(folder, here):
                add_revisions(folder, here, one.revisions)
                fetched.append(Fetched(here, folder, [*notes(here, folder), "it was here already, and is whole"]))
            else:
                new.append(one)
        for made in _download(new, downloads, hub, copies=1):
            folder = publish(made.folder, made.manifest, models, work)
            fetched.append(Fetched(made.manifest, folder, made.notes))
        if not any(downloads.iterdir()):  # others hold what an interrupted download goes on from
            downloads.rmdir()
    return fetched


def _look_up(asked: list[Asked], kind: Kind, hub: Hub) -> list[Found]:
    if settings.read().offline:
        raise ModelError("APPLIANCE_OFFLINE is 1, so the hub is not asked", "stage on a machine that is connected")
    found: dict[tuple[str, str], Found] = {}
    for each in dict.fromkeys(asked):
        one = hub.look_up(each, kind)
        same = found.get((each.repo, one.commit))
        found[each.repo, one.commit] = replace(same, revisions=(*same.revisions, *one.revisions)) if same else one
    return list(found.values())


def _download(found: list[Found], downloads: Path, hub: Hub, *, copies: int) -> list[Fetched]:
    total = sum(one.total_bytes for one in found)
    have = sum(file.stat().st_size for file in downloads.rglob("*") if file.is_file())
    require_room(downloads, max(0, copies * total - have))
    fetched = []
    with progress("download (MB)", round(total / MB)) as shown:
        count = Count(shown)
        for one in found:
            folder = downloads / f"{one.kind}--{one.asked.repo.replace('/', '--')}--{one.commit}"
            folder.mkdir(exist_ok=True)
            manifest = hub.download(one, folder, count)
            fetched.append(Fetched(manifest, folder, notes(manifest, folder)))
    return fetched


def _stub(found: Found) -> Manifest:
    return Manifest.model_construct(kind=found.kind, repo=found.asked.repo, commit=found.commit)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(place, error) from None
