"""Cases of staged weights against their checksums."""

import json

HUB = "/hub/models--owner--small/"
EMPTY = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes, as in FIPS 180-4's tests
)
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", the same
ENVIRON = {"HF_HUB_CACHE": "/hub"}


def staged(case, status, blob, content, says):
    return {
        "id": "weights.sha256",
        "case": case,
        "status": status,
        "files": {HUB + "blobs/" + blob: content},
        "links": {HUB + "snapshots/1/model.safetensors": "../../blobs/" + blob},
        "environ": ENVIRON,
        "says": says,
    }


def imported(case, status, content, says, more=()):
    commit = "0123456789" * 4
    manifest = {"format": 1, "kind": "model", "repo": "owner/small", "commit": commit, "revisions": [], "licence": None}
    manifest |= {"staged_at": "2026-11-21T10:00:00Z", "total_bytes": 3}
    manifest |= {"files": {"model.safetensors": {"sha256": ABC, "size": 3}}}
    at = f"/models/owner/small/{commit}/"
    files = {**dict(more), at + ".manifest.json": json.dumps(manifest), at + "model.safetensors": content}
    environ = ENVIRON | {"APPLIANCE_MODELS": "/models"}
    return {"id": "weights.sha256", "case": case, "status": status, "files": files, "environ": environ, "says": says}


def seen(**values):
    return {"problem": None, "value": {"files": 0, "bytes": 0, "wrong": [], "unread": 0} | values}


CASES = [
    staged("right", "pass", ABC, b"abc", "1 files"),
    staged("empty and right", "pass", EMPTY, b"", "1 files"),
    staged("one byte differs", "fail", ABC, b"abd", "models--owner--small/snapshots/1/model.safetensors differs"),
    staged("a small file", "skip", "0a1b2c3d", b"abc", "no staged file"),
    imported("right in the models folder", "pass", b"abc", "1 files"),
    imported("one byte differs in the models folder", "fail", b"abd", "appliance models remove owner/small"),
    imported(
        "one byte differs in a container's models",
        "fail",
        b"abd",
        "run --rm models remove owner/small",
        {"/.dockerenv": ""},
    ),
    {"id": "weights.sha256", "case": "no folder", "status": "skip", "environ": ENVIRON},
    {"id": "weights.sha256", "case": "too slow", "status": "skip", "fact": seen(unread=2), "says": "2 files"},
    {
        "id": "weights.sha256",
        "case": "partly read",
        "status": "pass",
        "fact": seen(files=1, unread=1),
        "says": "1 not read",
    },
    {
        "id": "weights.sha256",
        "case": "disk hangs",
        "status": "skip",
        "fact": {"value": None, "problem": "no answer in 155 s"},
    },
]
