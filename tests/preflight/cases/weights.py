"""Cases of staged models."""

import json

HUB = "/hub/models--owner--small/"
AT = HUB + "snapshots/abc/"
HOME = {"HF_HUB_CACHE": "/hub"}
OFFLINE = {"offline": True}


def shard(*sizes, lost=0):
    """A safetensors file of fp32 tensors with these element counts, `lost` bytes short."""
    ends = [4 * sum(sizes[: n + 1]) for n in range(len(sizes))]
    header = json.dumps(
        {
            f"w{n}": {"dtype": "F32", "shape": [size], "data_offsets": [ends[n] - 4 * size, ends[n]]}
            for n, size in enumerate(sizes)
        }
    ).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(ends[-1])
    return whole[: len(whole) - lost]


def model(**weights):
    files = {"config.json": "{}", "tokenizer.json": "{}", **weights}
    return {HUB + "refs/main": "abc", **{AT + name: content for name, content in files.items()}}


ONE = model(**{"model.safetensors": shard(3, 5)})
ADAPTER = {HUB + "refs/main": "abc", AT + "adapter_config.json": "{}", AT + "adapter_model.safetensors": shard(2)}
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
CUT = model(**{"model.safetensors": shard(3, 5, lost=4)})
LFS = model(**{"model.safetensors": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8\n"})
SHARDS = {"model.safetensors.index.json": INDEX, "model-1.safetensors": shard(2)}


def staged(case, status, files, says="", **need):
    found = {"id": "weights.staged", "case": case, "status": status, "files": files, "environ": HOME}
    return found | {"says": says, "need": need}


COMMIT = "0123456789" * 4
MODELS = f"/models/owner/small/{COMMIT}/"
PARTS = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": shard(3, 5)}
IMPORTED = {MODELS + name: content for name, content in PARTS.items()} | {
    MODELS + ".manifest.json": json.dumps(
        {"format": 1, "kind": "model", "repo": "owner/small", "commit": COMMIT, "revisions": ["main"], "licence": None,
         "staged_at": "2026-11-21T10:00:00Z", "total_bytes": 0, "files": {}}
    )
}  # fmt: skip
WANTED = {"models": ("owner/small",)}

CASES = [
    staged("one file", "pass", ONE, "1 staged and whole"),
    staged("two shards", "pass", model(**SHARDS, **{"model-2.safetensors": shard(4)})),
    staged("a shard missing", "warn", model(**SHARDS), "model-2.safetensors: missing"),
    staged("an index that is cut", "warn", model(**{**SHARDS, "model.safetensors.index.json": INDEX[:20]}), "cannot be read"),
    staged("cut short", "warn", CUT, "bytes of"),
    staged("cut short, wanted offline", "fail", CUT, "bytes of", **WANTED, **OFFLINE),
    staged("cut short, wanted online", "pass", CUT, "to be downloaded", **WANTED),
    staged("git-lfs", "warn", LFS, "git-lfs pointer"),
    staged("no header", "warn", model(**{"model.safetensors": b"\xff" * 64}), "no safetensors header"),
    staged("only pickled", "pass", model(**{"pytorch_model.bin": b"x"}), "come from the hub"),
    staged("only pickled, wanted", "fail", model(**{"pytorch_model.bin": b"x"}), "pickled", **WANTED, **OFFLINE),
    staged("an adapter", "pass", ADAPTER, "1 staged"),
    staged("another revision is whole", "pass", {**ONE, HUB + "refs/main": "xyz", HUB + "snapshots/xyz/pytorch_model.bin": "x"},
           "1 staged and whole"),
    staged("no tokenizer", "warn", {HUB + "refs/main": "abc", AT + "config.json": "{}", AT + "m.safetensors": shard(1)},
           "no tokenizer"),
    staged("nothing but a reference", "fail", {HUB + "refs/main": "abc"}, "config.json is missing", **WANTED, **OFFLINE),
    staged("wanted and here", "pass", ONE, **WANTED, **OFFLINE),
    staged("another is broken", "pass", ONE | {"/hub/models--o--x/refs/main": "1"}, **WANTED, **OFFLINE),
    staged("wanted and absent offline", "fail", ONE, "o/big: not in /hub", models=("owner/small", "o/big"), **OFFLINE),
    {"id": "weights.staged", "case": "offline by the hub's own variable", "status": "fail", "need": WANTED, "files": CUT,
     "environ": HOME | {"HF_HUB_OFFLINE": "1"}, "says": "HF_HUB_OFFLINE forbids"},
    staged("two absent offline", "fail", {}, "appliance models stage o/big o/huge --out staged.tar", **OFFLINE,
           models=("o/big", "o/huge")),
    staged("wanted and absent online", "pass", {}, "to be downloaded: o/big", models=("o/big",)),
    staged("none", "pass", {}, "come from the hub"),
    staged("none offline", "warn", {}, "has none", **OFFLINE),
    staged("none offline in a container", "warn", {"/.dockerenv": ""}, "models import /bundles/staged.tar", **OFFLINE),
    staged("folders", "skip", {}, models=("/srv/models/a", "../b", "runs/7/export"), **OFFLINE),
    staged("folders of known size", "skip", {}, models=("/data/out/sft",), vram_gib=3.0, **OFFLINE),
    staged("a hub id of known size", "fail", {}, "o/big: not in", models=("o/big",), vram_gib=3.0, **OFFLINE),
    {"id": "weights.staged", "case": "in the models folder", "status": "pass", "need": WANTED | OFFLINE, "says": "1 staged",
     "files": IMPORTED, "environ": HOME | {"APPLIANCE_MODELS": "/models"}},
    {"id": "weights.staged", "case": "cut short in the models folder", "status": "fail", "need": WANTED | OFFLINE,
     "files": IMPORTED | {MODELS + "model.safetensors": shard(3, 5, lost=4)}, "says": "bytes of",
     "environ": HOME | {"APPLIANCE_MODELS": "/models"}},
    {"id": "weights.staged", "case": "whole in the hub's cache alone", "status": "pass", "need": WANTED | OFFLINE,
     "files": ONE | IMPORTED | {MODELS + "model.safetensors": shard(3, 5, lost=4)}, "says": "1 staged",
     "environ": HOME | {"APPLIANCE_MODELS": "/models"}},
    {"id": "weights.staged", "case": "copied by hand into the models folder", "status": "pass", "need": WANTED | OFFLINE,
     "files": {f"/models/owner/small/{name}": content for name, content in PARTS.items()}, "says": "1 staged",
     "environ": HOME | {"APPLIANCE_DATA": "/nowhere", "APPLIANCE_MODELS": "/models"}},
]  # fmt: skip
