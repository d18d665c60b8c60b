"""Whether models fit into memory beside what runs already: a careful guess from the sizes of their files."""

import re
from pathlib import Path

import yaml

GIB = 2**30

PROCESS_BYTES = GIB
"""A process with torch and nothing loaded, generously."""

ANSWERING = 2.5
"""Bytes in memory for each byte of weights on disk: fp32 from 16-bit files, and something to work with."""

TRAINING = 10.0
"""The same while training: weights, gradients, two moments, a frozen copy, activations."""


def available_bytes() -> int:
    """The memory that a new process may take: the machine's, or the container's if that is less."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(found[1]) * 1024 if found else 0
    groups = {"memory.max": "memory.current", "memory/memory.limit_in_bytes": "memory/memory.usage_in_bytes"}
    for limit, usage in groups.items():
        most, used = _number(limit), _number(usage)
        if most is not None and used is not None:
            free = min(free, max(0, most - used))
    return free


def answering_bytes(folder: Path) -> int:
    """What the two models of a finished run take."""
    result = weights_bytes(folder / "model")
    return PROCESS_BYTES + int(ANSWERING * 2 * result)


def training_bytes(config_yaml: str) -> int:
    """What a training takes; the models that the config names by folder are counted, those of the hub cannot be."""
    total = 0
    for section in ("policy", "model", "reward", "critic"):
        named = (yaml.safe_load(config_yaml).get(section) or {}).get("model")
        total += weights_bytes(Path(named)) if isinstance(named, str) else 0
    return PROCESS_BYTES + int(TRAINING * total)


def weights_bytes(folder: Path) -> int:
    """The size of the safetensors files of a model folder; 0 where there are none."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _number(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
