"""Paths in a config made absolute, so that a run goes on, and is evaluated, from any folder."""

from pathlib import Path
from typing import Any

from appliance.config.base import StageConfig
from appliance.config.load import parse

EACH = "*"

REWARD_PLACES = tuple((*where, key) for where in ((), ("sources", EACH)) for key in ("model", "token_file", "folder"))
PLACES = (
    ("policy", "model"),
    ("critic", "model"),
    ("model", "model"),
    *(("reward", *place) for place in REWARD_PLACES),
    ("prompts", "source"),
    ("data", "source"),
    ("evaluation", "report_file"),
    ("evaluation", "prompts_file"),
    ("policy", "adapter"),
    ("normalization", "policy", "model"),
    ("normalization", "policy", "adapter"),
    ("normalization", "prompts", "source"),
    *(("evaluation", "second_opinion", *place) for place in REWARD_PLACES),
)
"""Settings that may be a path. What does not exist here (a hub id, a mistake) stays as it is."""


def absolute(config: StageConfig) -> StageConfig:
    """The config with every relative path that exists replaced by its absolute one."""
    values = config.model_dump(mode="json")
    changed = False
    for *sections, key in PLACES:
        for section in _found(values, sections):
            value = section.get(key)
            if isinstance(value, str) and not Path(value).is_absolute() and Path(value).expanduser().exists():
                section[key] = str(Path(value).expanduser().resolve())
                changed = True
    return parse(values, origin="the config") if changed else config


def _found(values: Any, sections: list[str]) -> list[dict[str, Any]]:
    """The sections of that name; EACH stands for every entry of a list."""
    found = [values]
    for name in sections:
        if name == EACH:
            found = [entry for value in found if isinstance(value, list) for entry in value]
        else:
            found = [value.get(name) for value in found if isinstance(value, dict)]
    return [value for value in found if isinstance(value, dict)]
