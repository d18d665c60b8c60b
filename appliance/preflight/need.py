"""What the image and the recipe ask of the machine: judgements compare facts with this and nothing else."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from appliance.config.base import StageConfig
from appliance.config.ppo import PpoConfig
from appliance.errors import ApplianceError
from appliance.plan.files import folder_of, weights
from appliance.plan.make import plan
from appliance.plan.parts import MARGIN

MANIFEST = "/etc/appliance/image.json"
"""Written when the image is built: {"torch", "cuda" ("cpu": an image without CUDA), "min_driver", "archs", "version"}."""

GIB = 1 << 30


@dataclass(frozen=True)
class Need:
    """The defaults are the cu126 image on the reference VM (one A100 of 40 GB, 16 CPUs, 64 GB) with no recipe chosen."""

    torch: str = "2.14.0+cu126"
    cuda: str = "12.6"
    min_driver: str = "525.60.13"  # NVIDIA's floor for every CUDA 12.x; 580 for 13.x
    archs: tuple[str, ...] = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
    gpus: int = 1
    vram_gib: float | None = None  # None: unknown, no recipe
    ram_gib: float | None = None
    disk_gib: float | None = None
    ports: tuple[int, ...] = (7860,)
    data: str = "appliance-data"  # the folder that holds the runs
    models: tuple[str, ...] = ()  # the recipe's model folders and hub ids
    offline: bool = False
    uid: int = 10001  # the image's user

    def fact(self) -> dict[str, Any]:
        """As JSON, for reports and dumped facts."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_fact(cls, values: object) -> "Need":
        """What `fact` wrote. Raises ApplianceError when it is something else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names or not all(map(_fits, values, values.values())):
            raise ApplianceError("the facts' `need` section is not one that preflight wrote", "dump the facts again")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _fits(name: str, value: object) -> bool:
    """Whether a value read from JSON has the type of the field: of its default, or a number or None where that is None."""
    default = getattr(Need(), name)
    if isinstance(default, tuple):
        kind = type(default[0]) if default else str
        return isinstance(value, list) and all(type(one) is kind for one in value)
    return value is None or type(value) in (int, float) if default is None else type(value) is type(default)


def from_manifest(text: str | None, need: Need) -> Need:
    """`need` with what the image's manifest says; unchanged without one. Raises ApplianceError for a broken manifest."""
    if text is None:
        return need
    try:
        values = json.loads(text)
        return replace(
            need,
            gpus=0 if values["cuda"] == "cpu" else need.gpus,
            torch=str(values["torch"]),
            cuda=str(values["cuda"]),
            min_driver=str(values["min_driver"]),
            archs=tuple(str(arch) for arch in values["archs"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ApplianceError(
            f"{MANIFEST} is not the image's manifest ({type(error).__name__}: {error})",
            "rebuild or pull the image again",
        ) from None


def from_config(config: StageConfig, need: Need) -> Need:
    """`need` with the recipe's memory and disk, where its models are on this machine; unknown (None) where one is not.

    GPU memory is the plan's peak (`appliance plan`), with its margin. Where an architecture has no plan: weights are fp32
    in training, 4 bytes a parameter; a model that is trained in full takes 16 (weights, gradients, two Adam moments), one
    trained by LoRA or in its top layers 5, one that only answers 4; to this come 2 GiB for CUDA and 20 % for activations.
    RAM: the largest model twice, and 8 GiB. Disk: two checkpoints of what is trained (12 bytes a parameter), the exported
    model, and 2 GiB of logs.
    """
    sources = _models(config)
    # the frozen reference is the policy's again; a folder here gets its whole path, so that none is taken for a hub id
    models = tuple(dict.fromkeys(str(Path(n).absolute()) if Path(n).is_dir() else n for n, _, _ in sources))
    sizes = [parameters(folder_of(name, None) or Path(name)) for name, _, _ in sources]
    if not sizes or any(size is None for size in sizes):
        return replace(need, models=models, vram_gib=None, ram_gib=None, disk_gib=None)
    known = [size for size in sizes if size is not None]
    gpu = sum(size * per for size, (_, per, _) in zip(known, sources, strict=True))
    disk = sum(size * per for size, (_, _, per) in zip(known, sources, strict=True))
    planned = plan(config, cuda=True).peak_gib
    return replace(
        need,
        models=models,
        vram_gib=round(1.2 * gpu / GIB + 2 if planned is None else planned / (1 - MARGIN), 1),
        ram_gib=round(8 * max(known) / GIB + 8, 1),
        disk_gib=round(disk / GIB + 2, 1),
    )


def _models(config: StageConfig) -> list[tuple[str, int, int]]:
    """(model, GPU bytes a parameter, disk bytes a parameter) of every model that the recipe loads."""
    if not isinstance(config, PpoConfig):
        model = getattr(config, "model", None)
        return [(model.model, 16, 28)] if model else []
    full = config.policy.train == "full"
    found = [(config.policy.model, 16 if full else 5, 28 if full else 5)]
    if full:
        found.append((config.policy.model, 4, 0))  # the frozen reference
    if config.critic.kind == "separate" and config.critic.model:
        found.append((config.critic.model, 16, 24))
    reward = config.reward.get("model")
    if isinstance(reward, str):
        found.append((reward, 4, 0))
    return found


def parameters(folder: Path) -> int | None:
    """Number of weights in a folder's safetensors, from their headers; None where there are none to read."""
    return weights(folder)
