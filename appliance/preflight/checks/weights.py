"""Copies of models that are staged on this machine, and whether they are whole."""

import json
import os
import re
from pathlib import Path
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn
from appliance.staging.folders import models_here

TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def stage(*models: str, container: bool = False, offline: bool = False) -> str:
    """Lines that fetch models on another machine and bring them here: into a container's volume, or this host's folder.

    offline: the hub is not asked here already.
    """
    take = 'docker compose run --rm -v "$PWD:/bundles:ro" models import /bundles/staged.tar'
    lines = [
        "# on a machine with internet:",
        f"appliance models stage {' '.join(models or ('OWNER/MODEL',))} --out staged.tar",
        "# carry staged.tar here, then" + (", where the compose files are," if container else ""),
        take if container else "appliance models import staged.tar",
    ]
    if not offline:
        lines.append("export APPLIANCE_OFFLINE=1   # or the same line in the compose project's .env")
    return "\n".join(lines)


def staged_folder(host: Host) -> str:
    """Absolute path of the hub's cache, as the hub's own library finds it."""
    home = host.environ.get("HOME") or "/root"
    cache = host.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    hub = host.environ.get("HF_HUB_CACHE") or f"{host.environ.get('HF_HOME') or cache + '/huggingface'}/hub"
    return os.path.abspath(hub.replace("~", home, 1) if hub.startswith("~") else hub)


def models_folder(host: Host) -> str:
    """Absolute path of the folder that `appliance models import` fills."""
    data = host.environ.get("APPLIANCE_DATA") or "appliance-data"
    return os.path.abspath(host.environ.get("APPLIANCE_MODELS") or f"{data}/models")


def offline_by(host: Host) -> str | None:
    """The variable that forbids downloads, if one does."""
    on = ("1", "ON", "YES", "TRUE")
    switches = ("APPLIANCE_OFFLINE", "HF_HUB_OFFLINE")
    return next((name for name in switches if host.environ.get(name, "").upper() in on), None)


def probe_staged(host: Host) -> dict[str, Any]:
    """{"folder", "offline", "container", "models": {hub id: what `examined` says of its best revision}}.

    In the models folder and in the hub's cache; "folder" names both. And whether this is inside a container.
    """
    folder, place, models = staged_folder(host), models_folder(host), {}
    here = host.path(place)
    for repo, folders in models_here(here).items():
        found = [examined(host, f"{place}/{one.relative_to(here).as_posix()}") for one in folders]
        models[repo] = min(found, key=lambda seen: bool(seen["problems"]))
    for name in host.listdir(folder):
        if name.startswith("models--"):
            main = host.read_text(f"{folder}/{name}/refs/main")
            revisions = sorted(host.listdir(f"{folder}/{name}/snapshots"), key=lambda revision: revision != main)
            found = [examined(host, f"{folder}/{name}/snapshots/{revision}") for revision in revisions or ["none"]]
            repo = name.removeprefix("models--").replace("--", "/")
            found += [models[repo]] if repo in models else []
            models[repo] = min(found, key=lambda seen: bool(seen["problems"]))
    told = {"folder": f"{folder} or {place}", "offline": offline_by(host), "container": host.in_container()}
    return told | {"models": models}


def examined(host: Host, folder: str) -> dict[str, Any]:
    """Number and bytes of a model's weight files, and what is wrong with its folder (nothing: it can be loaded)."""
    names = host.listdir(folder)
    problems = []
    if "adapter_config.json" not in names:  # an adapter takes these two from the model below it
        problems += [] if "config.json" in names else ["config.json is missing"]
        problems += [] if any(name in names for name in TOKENIZERS) else ["there is no tokenizer file"]
    wanted = [name for name in names if name.endswith(".safetensors")]
    if index := next((name for name in names if name.endswith(".safetensors.index.json")), None):
        try:
            wanted = sorted(
                set(json.loads(host.read_bytes(f"{folder}/{index}", limit=50_000_000) or b"")["weight_map"].values())
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{index} cannot be read")
    if not wanted:
        pickled = any(name.endswith(PICKLES) for name in names)
        problems.append("no .safetensors" + (", only pickled weights, which are never loaded" if pickled else ""))
    sizes = [weight_file(host.path(f"{folder}/{name}")) for name in wanted]
    problems += [f"{name}: {said}" for name, (_, said) in zip(wanted, sizes, strict=True) if said]
    return {"problems": problems, "files": len(wanted), "bytes": sum(size for size, _ in sizes)}


def weight_file(file: Path) -> tuple[int, str | None]:
    """(bytes, what is wrong or None) of a safetensors file: its size against what its header promises."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(8)
            length = int.from_bytes(start, "little")
            header = opened.read(length) if 0 < length <= min(size, 100_000_000) else b""
    except OSError as error:
        return 0, "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    if start == b"version ":
        return size, "a git-lfs pointer, not the weights"
    try:
        ends = [int(value["data_offsets"][1]) for name, value in json.loads(header).items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return size, "no safetensors header"
    whole = 8 + length + max(ends, default=0)
    return size, None if size == whole else f"{size} bytes of {whole}"


def judge_staged(fact: dict[str, Any], need: Need) -> Verdict:
    """Offline every model of the recipe is here and whole; otherwise what is missing will be downloaded."""
    models = fact["models"]
    offline = fact["offline"] or ("APPLIANCE_OFFLINE" if need.offline else None)
    broken = {name: found["problems"] for name, found in models.items() if found["problems"]}
    cut = [
        name for name in broken if models[name]["files"]
    ]  # others without weights are nobody's loss until they are wanted
    size = sum(found["bytes"] for found in models.values()) / GIB
    whole = [name for name in models if name not in broken]
    expected = "whole models"
    here = {"container": fact["container"], "offline": bool(fact["offline"])}
    wanted = hub_ids(need)
    if need.models and not wanted:
        return skip("the recipe's models are folders, which loading it examines")
    missing = [name for name in (wanted or cut) if name not in whole]
    if missing:
        name = missing[0]
        problem = "; ".join(broken[name][:2]) if name in broken else f"not in {fact['folder']}"
        found = f"{name}: {problem}" + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
        if offline and wanted:
            why = f"The recipe needs this model and {offline} forbids to fetch it, so the run ends as it starts."
            return fail(found, "the recipe's models staged", why=why, fix=stage(*missing, **here))
        if wanted:
            return passed(f"to be downloaded: {', '.join(missing)}", "staged, or a hub that can be reached")
        why = "A copy or download was cut short. A recipe that uses this model will fetch it again, or fail offline."
        return warn(found, expected, why=why, fix=stage(*missing, **here))
    if not whole:
        if offline:
            why = f"{offline} forbids downloads, and the folder of staged models has none that is whole."
            return warn(f"none in {fact['folder']}", "a staged model", why=why, fix=stage(**here))
        return passed("none staged, models come from the hub")
    return passed(f"{len(whole)} staged and whole, {size:.1f} GiB", expected)


def hub_ids(need: Need) -> tuple[str, ...]:
    """The recipe's models that are hub ids ("owner/name" or "name"); folders on this machine have absolute paths."""
    return tuple(name for name in need.models if re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name))


CHECKS = (
    Check(
        id="weights.staged",
        title="Staged models",
        section="Network and weights",
        scope="both",
        needs=("net.hf_or_offline",),
        probe=probe_staged,
        judge=judge_staged,
        blocking=True,
        explain="""Goes through the models folder (APPLIANCE_MODELS), which `appliance models import` fills, and the hub's
        cache (HF_HOME), and compares every weight file with what its own header and the model's index promise. It finds
        copies that were cut short, missing shards, git-lfs pointers that were copied in place of weights, and models that
        come only as pickles, which are never loaded.""",
    ),
)
