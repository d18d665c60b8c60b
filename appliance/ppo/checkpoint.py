"""Everything that a run needs to go on as if it had never stopped, in one folder that is either whole or absent.

weights, optimizer and random states are safetensors; the rest is state.json. manifest.json holds the sha256 of each
file, so that a damaged checkpoint is found out before it is used.
"""

import hashlib
import json
import random
import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from appliance.errors import ApplianceError
from appliance.ppo.feed import Dice
from appliance.ppo.types import Batch, Generation, Prompts, Responses, Rollout
from appliance.ppo.update import Learner
from appliance.store.files import write_folder

NAME = re.compile(r"^step-(\d{6,})(?:\+(\d+))?$")
"""step-000040 stands after 40 steps; step-000040+3 in the middle of the 41st, before its minibatch number 3."""

ALWAYS = {"weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"}
"""The files that every checkpoint has; one in the middle of a step also has batch.safetensors."""


@dataclass(frozen=True)
class Interlude:
    """What a checkpoint in the middle of a step adds: its batch, scores, and the plan of its minibatches."""

    batch: Batch
    plan: Tensor
    raw: Tensor
    shaped: Tensor
    trained: Tensor
    parts: Tensor | None = None


def write(
    folder: Path, learner: Learner, random_states: dict[str, Tensor], state: dict[str, Any], interlude: Interlude | None
) -> None:
    """Write a checkpoint atomically. Raises ApplianceError when the disk is full; older checkpoints stay as they are."""

    def fill(place: Path) -> None:
        weights = {name: p.detach().contiguous() for name, p in learner.parameters.items()}
        save_file(weights, place / "weights.safetensors")
        save_file(_optimizer_tensors(learner), place / "optimizer.safetensors")
        save_file(random_states, place / "random.safetensors")
        texts: dict[str, list[str]] = {}
        if interlude is not None:
            save_file(_interlude_tensors(interlude), place / "batch.safetensors")
            rollout = interlude.batch.rollout
            texts = {"prompts": rollout.prompts.texts, "responses": rollout.responses.texts}
        kept = state | {"python_random": _python_random(), "numpy_random": _numpy_random(), "texts": texts}
        (place / "state.json").write_text(json.dumps(kept, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        sums = {file.name: sha256(file) for file in sorted(place.iterdir())}
        (place / "manifest.json").write_text(json.dumps(sums, indent=2), encoding="utf-8")

    write_folder(folder, fill)


def read(
    folder: Path, learner: Learner, dice: Dice, *, verified: bool = False
) -> tuple[dict[str, Any], Interlude | None]:
    """Put a checkpoint's weights, optimizer and random states back; returns its state.json and its interlude, if any.

    Raises ApplianceError when a file is missing or damaged (unless `verified` already), or belongs to another model.
    """
    if not verified:
        verify(folder)
    device = learner.policy.device
    load_weights(folder, learner)
    _restore_optimizer(learner, load_file(folder / "optimizer.safetensors"))
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    states = load_file(folder / "random.safetensors")
    dice.restore({"sampling": states["sampling"], "minibatches": states["minibatches"]})
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    version, internal, gauss = state.pop("python_random")
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state.pop("numpy_random")
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    texts = state.pop("texts")
    interlude = None
    if (folder / "batch.safetensors").exists():
        interlude = _interlude(load_file(folder / "batch.safetensors"), texts, device)
    return state, interlude


def origin_of(folder: Path) -> dict[str, str]:
    """What `write` was given as state["origin"]: the sums of the config and the prompts that the checkpoint belongs to."""
    found: dict[str, str] = json.loads((folder / "state.json").read_text(encoding="utf-8")).get("origin", {})
    return found


def load_weights(folder: Path, learner: Learner) -> None:
    """Put a checkpoint's trainable weights into the policy. Raises ApplianceError if they are another model's."""
    weights = load_file(folder / "weights.safetensors")
    wrong = sorted(
        name
        for name in weights.keys() | learner.parameters.keys()
        if name not in weights
        or name not in learner.parameters
        or weights[name].shape != learner.parameters[name].shape
    )
    if wrong:
        raise ApplianceError(
            f"{folder} holds other weights than the model has, first {wrong[0]}", "resume with the model of this run"
        )
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            parameter.copy_(weights[name])


def damage(folder: Path) -> str | None:
    """What is missing from a checkpoint or not as it was written, or None."""
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return f"{manifest} is missing"
    try:
        sums = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return f"{manifest} is damaged"
    if not isinstance(sums, dict) or not sums.keys() >= ALWAYS:
        return f"{manifest} is damaged"
    for name, expected in sums.items():
        if not (folder / name).exists():
            return f"{folder / name} is missing"
        if sha256(folder / name) != expected:
            return f"{folder / name} is damaged"
    return None


def verify(folder: Path) -> None:
    """Raises ApplianceError when a file of the checkpoint is missing or not what was written."""
    found_damage = damage(folder)
    if found_damage is not None:
        raise ApplianceError(found_damage, f"remove {folder}; --resume takes the one before it")


def random_states(dice: Dice) -> dict[str, Tensor]:
    """Every torch generator's state: the run's own streams, and the global ones that libraries may use."""
    states = {**dice.state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: state.clone() for name, state in states.items()}


@dataclass(frozen=True, order=True)
class Found:
    """A checkpoint on disk: the steps done, the minibatches of the next one done (0: none begun), and its folder."""

    step: int
    minibatch: int
    folder: Path


def found(checkpoints: Path) -> list[Found]:
    """The whole checkpoints, oldest first."""
    if not checkpoints.is_dir():
        return []
    named = ((NAME.match(folder.name), folder) for folder in checkpoints.iterdir())
    return sorted(Found(int(m.group(1)), int(m.group(2) or 0), folder) for m, folder in named if m)


def folder_of(checkpoints: Path, step: int, minibatch: int = 0) -> Path:
    """Where a checkpoint stands (see NAME)."""
    return checkpoints / (f"step-{step:06d}" + (f"+{minibatch}" if minibatch else ""))


def prune(checkpoints: Path, *, keep: int, best: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and the one after step `best`, and what a killed write left."""
    for left in checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    for old in found(checkpoints)[:-keep]:
        if old.step != best or old.minibatch:
            shutil.rmtree(old.folder)


def sha256(path: Path) -> str:
    """The file's SHA-256 as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _optimizer_tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in learner.parameters.items():
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = torch.as_tensor(value).detach().contiguous()
    return tensors


def _restore_optimizer(learner: Learner, tensors: dict[str, Tensor]) -> None:
    learner.optimizer.state.clear()
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("|")
        parameter = learner.parameters[name]
        learner.optimizer.state[parameter][key] = value.to(parameter.device)


def _interlude_tensors(interlude: Interlude) -> dict[str, Tensor]:
    batch, rollout = interlude.batch, interlude.batch.rollout
    tensors = {f"batch.{k}": getattr(batch, k) for k in ("scores", "rewards", "advantages", "returns", "mask")}
    tensors |= {f"rollout.{k}": getattr(rollout, k) for k in ("logprobs", "ref_logprobs", "values", "entropy")}
    tensors |= {f"prompts.{k}": getattr(rollout.prompts, k) for k in ("ids", "lengths")}
    tensors |= {f"responses.{f.name}": getattr(rollout.responses, f.name) for f in fields(Generation)}
    tensors |= {k: getattr(interlude, k) for k in ("plan", "raw", "shaped", "trained")}
    if interlude.parts is not None:
        tensors["parts"] = interlude.parts
    if rollout.trunk is not None:
        tensors["trunk"] = torch.cat(rollout.trunk)
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _interlude(tensors: dict[str, Tensor], texts: dict[str, list[str]], device: torch.device) -> Interlude:
    on_device = {name: value.to(device) for name, value in tensors.items()}

    def part(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): v for n, v in on_device.items() if n.startswith(prefix)}

    prompts = Prompts(texts=texts["prompts"], **part("prompts."))
    responses = Responses(texts=texts["responses"], **part("responses."))
    trunk = None
    if "trunk" in on_device:
        trunk = list(on_device["trunk"].split((prompts.lengths + responses.lengths - 1).tolist()))
    rollout = Rollout(prompts, responses, trunk=trunk, **part("rollout."))
    return Interlude(
        Batch(rollout, **part("batch.")),
        *(tensors[name] for name in ("plan", "raw", "shaped", "trained")),
        parts=tensors.get("parts"),
    )


def _python_random() -> list[Any]:
    version, internal, gauss = random.getstate()
    return [version, list(internal), gauss]


def _numpy_random() -> list[Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return [str(name), np.asarray(keys).tolist(), *rest]
