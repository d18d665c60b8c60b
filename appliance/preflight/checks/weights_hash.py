"""Staged weights byte by byte, against their manifests, and the checksums that the hub's cache names them by."""

import hashlib
import time
from pathlib import Path
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.checks.weights import models_folder, stage, staged_folder
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip
from appliance.staging.folders import staged

READING_S = 120.0


def probe_hashes(host: Host) -> dict[str, Any]:
    """What `compare` finds in both places, in a child so that a disk that hangs can be left."""
    cache, models = (str(host.path(folder)) for folder in (staged_folder(host), models_folder(host)))
    seen = host.child("checks.weights_hash:compare", cache, READING_S, models, timeout_s=READING_S + 5)
    return {**seen, "container": host.in_container()}


def sums(cache: str, models: str | None) -> list[tuple[Path, str, str]]:
    """(file, the SHA-256 that it must have, its name for people) of all staged weights that have one."""
    found = []
    for one in staged(Path(models)) if models else []:
        for path, wanted in one.manifest.files.items() if one.manifest else ():
            if path.endswith(".safetensors") and (one.folder / path).is_file():
                found.append(
                    (one.folder / path, wanted.sha256, f"{one.manifest.repo}: {path}" if one.manifest else path)
                )
    blobs = {link.resolve(): link for link in sorted(Path(cache).glob("models--*/snapshots/*/**/*.safetensors"))}
    for blob, link in blobs.items():
        if len(blob.name) == 64 and blob.is_file():  # small files are named by their git hash
            found.append((blob, blob.name, str(link.relative_to(cache))))
    return found


def compare(cache: str, reading_s: float = READING_S, models: str | None = None) -> dict[str, Any]:
    """{"files", "bytes", "wrong", "unread"}: each weight file's SHA-256 against the one it must have, for `reading_s`."""
    end = time.monotonic() + reading_s
    found: dict[str, Any] = {"files": 0, "bytes": 0, "wrong": [], "unread": 0}
    for file, wanted, name in sums(cache, models):
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while (part := opened.read(1 << 22)) and time.monotonic() < end:
                digest.update(part)
                found["bytes"] += len(part)
        if part:
            found["unread"] += 1
            continue
        found["files"] += 1
        if digest.hexdigest() != wanted:
            found["wrong"].append(name)
    return found


def judge_hashes(fact: dict[str, Any], need: Need) -> Verdict:
    """No file differs from its checksum."""
    seen = fact["value"]
    if seen is None:
        return skip(fact["problem"])
    expected = "every file matches its checksum"
    if seen["wrong"]:
        name = seen["wrong"][0]
        cached = name.startswith("models--")
        repository = name.split("/")[0].removeprefix("models--").replace("--", "/") if cached else name.split(":")[0]
        models = "docker compose run --rm models" if fact["container"] else "appliance models"
        first = f"# delete the folder {name.split('/')[0]} there" if cached else f"{models} remove {repository}"
        return fail(
            f"{name} differs" + (f" (and {len(seen['wrong']) - 1} more)" if len(seen["wrong"]) > 1 else ""),
            expected,
            why="The file has the right size but not the right content: the copy or the disk is bad. A model loaded from it "
            "answers nonsense, or trains from nonsense.",
            fix=f"{first}\n# then fetch it anew\n{stage(repository, container=fact['container'])}",
        )
    if not seen["files"]:
        return skip(
            f"{seen['unread']} files, none read to its end" if seen["unread"] else "no staged file has a checksum"
        )
    rest = f", {seen['unread']} not read for lack of time" if seen["unread"] else ""
    return passed(f"{seen['files']} files, {seen['bytes'] / GIB:.1f} GiB{rest}", expected)


CHECKS = (
    Check(
        id="weights.sha256",
        title="Staged models byte by byte",
        section="Network and weights",
        scope="both",
        needs=("weights.staged",),
        probe=probe_hashes,
        judge=judge_hashes,
        level="deep",
        timeout_s=READING_S + 8,
        explain="""Reads every staged weight file and compares its SHA-256 with the one in its manifest (`appliance models`), or
        the one that the hub's cache uses as its name.
        A bit that flipped on a stick or a disk leaves the size as it is, so only this finds it. Models that were copied in
        another way have no checksum and are left out.""",
    ),
)
