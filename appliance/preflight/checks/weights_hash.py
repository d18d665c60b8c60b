"""Staged weights byte by byte, against the checksums that the hub's cache names them by."""

import hashlib
import time
from pathlib import Path
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.checks.weights import stage, staged_folder
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip

READING_S = 120.0


def probe_hashes(host: Host) -> dict[str, Any]:
    """What `compare` finds in the hub's cache, in a child so that a disk that hangs can be left."""
    return dict(host.child("checks.weights_hash:compare", str(host.path(staged_folder(host))), timeout_s=READING_S + 5))


def compare(folder: str, reading_s: float = READING_S) -> dict[str, Any]:
    """{"files", "bytes", "wrong", "unread"}: each weight file's SHA-256 against its blob's name, for `reading_s` at most."""
    end = time.monotonic() + reading_s
    found: dict[str, Any] = {"files": 0, "bytes": 0, "wrong": [], "unread": 0}
    blobs = {link.resolve(): link for link in sorted(Path(folder).glob("models--*/snapshots/*/**/*.safetensors"))}
    for blob, link in blobs.items():
        if len(blob.name) != 64 or not blob.is_file():  # small files are named by their git hash
            continue
        digest = hashlib.sha256()
        with blob.open("rb") as opened:
            while (part := opened.read(1 << 22)) and time.monotonic() < end:
                digest.update(part)
                found["bytes"] += len(part)
        if part:
            found["unread"] += 1
            continue
        found["files"] += 1
        if digest.hexdigest() != blob.name:
            found["wrong"].append(str(link.relative_to(folder)))
    return found


def judge_hashes(fact: dict[str, Any], need: Need) -> Verdict:
    """No file differs from its checksum."""
    seen = fact["value"]
    if seen is None:
        return skip(fact["problem"])
    expected = "every file matches its checksum"
    if seen["wrong"]:
        name = seen["wrong"][0]
        repository = name.split("/")[0].removeprefix("models--").replace("--", "/")
        return fail(
            f"{name} differs" + (f" (and {len(seen['wrong']) - 1} more)" if len(seen["wrong"]) > 1 else ""),
            expected,
            why="The file has the right size but not the right content: the copy or the disk is bad. A model loaded from it "
            "answers nonsense, or trains from nonsense.",
            fix=f"# delete the folder {name.split('/')[0]} there, then fetch it anew\n{stage(repository)}",
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
        explain="""Reads every staged weight file and compares its SHA-256 with the one that the hub's cache uses as its name.
        A bit that flipped on a stick or a disk leaves the size as it is, so only this finds it. Models that were copied in
        another way have no checksum and are left out.""",
    ),
)
