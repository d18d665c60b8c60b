"""Why a run failed, in one word, and what to change so that it does not fail again."""

from __future__ import annotations

from typing import Any

import yaml

from appliance.config import PpoConfig, parse

CAUSES = {
    "memory": "the memory was not enough",
    "disk": "the disk is full or cannot be written",
    "data": "the data cannot be used",
    "model": "a model cannot be used",
    "reward": "the scorer cannot be used",
    "config": "the settings do not fit together",
    "crash": "the process died",
}
"""Each cause, for people."""

OUT_OF_MEMORY = ("out of memory", "OutOfMemoryError", "MemoryError", "Cannot allocate memory", "can't allocate memory")

OUT_OF_DISK = (
    *("the disk is full", "is not writable", "No space left", "Disk quota exceeded", "os error 28", "os error 122"),
    *("File too large", "Read-only file system", "PytorchStreamWriter failed", "database or disk is full"),
)

BY_ERROR = {"DataError": "data", "ModelError": "model", "ConfigError": "config"}


def cause_of(what: str, error: str | None = None) -> str:
    """The cause that a failed run's words, and the class of its error where that is known, speak of."""
    for cause, signs in (("memory", OUT_OF_MEMORY), ("disk", OUT_OF_DISK)):
        if any(sign in what for sign in signs):
            return cause
    if error in BY_ERROR:
        return BY_ERROR[error]
    if error == "ApplianceError" and ("reward" in what.lower() or "score" in what.lower()):
        return "reward"
    return "crash"


def retry_changes(config_yaml: str, cause: str | None) -> dict[str, Any]:
    """Settings (`section.key`: value) with which a run that failed of `cause` should be tried again; none: as it was.

    Memory: half the microbatch, which changes no result but the time; once it is 1, the biggest saving that is left.
    """
    if cause != "memory":
        return {}
    config = parse(yaml.safe_load(config_yaml), origin="the config")
    section, microbatch = (
        ("batch", config.batch.microbatch)
        if isinstance(config, PpoConfig)
        else ("training", config.training.microbatch)  # type: ignore[attr-defined]
    )
    if microbatch > 1:
        return {f"{section}.microbatch": max(d for d in range(1, microbatch // 2 + 1) if microbatch % d == 0)}
    if isinstance(config, PpoConfig) and config.policy.train == "full":
        return {"policy.train": "lora"}
    return {}


def changed(config_yaml: str, changes: dict[str, Any]) -> str:
    """The config with `changes` (`section.key`: value) made."""
    values = yaml.safe_load(config_yaml)
    for key, value in changes.items():
        *sections, last = key.split(".")
        where = values
        for name in sections:
            where = where.setdefault(name, {})
        where[last] = value
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
