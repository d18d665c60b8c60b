"""What a model folder says of itself: config.json, and the headers of its safetensors."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.plan.known import KNOWN
from appliance.plan.shapes import FAMILIES, Shape, from_config
from appliance.staging import folders
from appliance.store.files import read_json

BUFFERS = (".attn.bias", ".masked_bias", "inv_freq", "position_ids")
"""Ends of names of tensors that old files hold beside the weights, and that loading leaves out."""

LARGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Found:
    """A model's shape and where it is from; or no shape, and why. `weights` counts those in the files, if any are here."""

    model: str
    shape: Shape | None
    source: str
    weights: int | None = None


def find(model: str, revision: str | None = None) -> Found:
    """The shape of a local folder, a staged hub model or a well-known one. Loads nothing, asks no network."""
    folder = folder_of(model, revision)
    if folder is not None:
        return _read(model, folder)
    if model in KNOWN:
        return Found(model, KNOWN[model], "shape from the built-in table, not measured on disk")
    return Found(
        model,
        None,
        "not on this disk and not in the built-in table: stage the model, or give its folder, and plan again",
    )


def folder_of(model: str, revision: str | None) -> Path | None:
    """The model's folder, its run's result, what is staged of it, or its snapshot in the hub's cache."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        staged = folders.find(model, revision) or _staged(model, revision)
        if staged is None:
            return None
        folder = staged
    elif not (folder / "config.json").exists() and (folder / "model" / "config.json").exists():
        folder = folder / "model"
    return folder


def _staged(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _read(model: str, folder: Path, depth: int = 0) -> Found:
    adapter = read_json(folder / "adapter_config.json")
    if adapter is not None and not (folder / "config.json").exists():
        base = adapter.get("base_model_name_or_path")
        inner = folder_of(str(base), None) if base and depth < 3 else None
        if inner is not None:
            return _read(model, inner, depth + 1)
        if base in KNOWN:
            return Found(model, KNOWN[base], "an adapter; its base's shape from the built-in table")
        return Found(model, None, f"an adapter whose base {base!r} is not here: give the base's folder")
    values = read_json(folder / "config.json")
    if values is None:
        return Found(
            model,
            None,
            f"{folder} has no config.json that can be read: give a folder that save_pretrained wrote",
            weights(folder),
        )
    try:
        shape = from_config(values, language_model_weights(folder, values))
    except (KeyError, TypeError, ValueError) as error:
        return Found(model, None, f"{folder}/config.json lacks {error}: give a complete folder", weights(folder))
    if shape is None:
        kind = values.get("model_type")
        return Found(
            model,
            None,
            f"its architecture {kind!r} has no formula here (those that do: {', '.join(FAMILIES)})",
            weights(folder),
        )
    source = "measured on disk" if shape.counted else "sizes from config.json, no safetensors there to measure"
    return Found(model, shape, source, shape.counted)


def language_model_weights(folder: Path, values: dict[str, Any]) -> int | None:
    """Weights in the folder's files, buffers left out, and a tied head that is there a second time; None without files."""
    sizes = tensors(folder)
    if not sizes:
        return None
    total = sum(sizes.values())
    heads = [name for name in sizes if name.endswith("lm_head.weight")]
    if values.get("tie_word_embeddings", values.get("model_type") not in ("llama", "gpt_neox", "mistral", "qwen2")):
        total -= sum(sizes[name] for name in heads if len(sizes) > len(heads) and _twice(name, sizes))
    return total


def _twice(head: str, sizes: dict[str, int]) -> bool:
    ends = ("embed_tokens.weight", "wte.weight", "shared.weight", "embed_in.weight")
    return any(name.endswith(ends) and sizes[name] == sizes[head] for name in sizes)


def weights(folder: Path) -> int | None:
    """Weights in all safetensors of a folder, from their headers; None where there are none to read."""
    return sum(tensors(folder).values()) or None


def tensors(folder: Path) -> dict[str, int]:
    """Size of every tensor in the folder's safetensors, by name, buffers left out; empty where a file is damaged."""
    found: dict[str, int] = {}
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    try:
        for file in files:
            found |= _header(file)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {name: size for name, size in found.items() if not name.endswith(BUFFERS)}


def _header(file: Path) -> dict[str, int]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length < LARGEST_HEADER:
            raise ValueError(f"{file.name}: no safetensors header")
        header = json.loads(opened.read(length))
    return {name: math.prod(map(int, one["shape"])) for name, one in header.items() if name != "__metadata__"}
