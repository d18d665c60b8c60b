"""Paths in a config made absolute, so that a run goes on, and is evaluated, from any folder."""

from pathlib import Path
from typing import Any

from appliance.config.base import StageConfig
from appliance.config.load import parse

PLACES = (
    ("policy", "model"),
    ("critic", "model"),
    ("model", "model"),
    ("reward", "model"),
    ("prompts", "source"),
    ("data", "source"),
    ("evaluation", "report_file"),
    ("evaluation", "second_opinion", "model"),
)
"""Settings that may be a path. What does not exist here (a hub id, a mistake) stays as it is."""


def absolute(config: StageConfig) -> StageConfig:
    """The config with every relative path that exists replaced by its absolute one."""
    values = config.model_dump(mode="json")
    changed = False
    for *sections, key in PLACES:
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        value = section.get(key) if isinstance(section, dict) else None
        if isinstance(value, str) and not Path(value).is_absolute() and Path(value).expanduser().exists():
            section[key] = str(Path(value).expanduser().resolve())
            changed = True
    return parse(values, origin="the config") if changed else config
