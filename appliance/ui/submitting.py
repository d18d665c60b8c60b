"""What a user may put into a config that this machine will run: no code, no file that is not theirs or everybody's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from appliance.config import parse
from appliance.errors import ConfigError
from appliance.rewards._allowed import page_may_use
from appliance.settings import Settings
from appliance.store import datasets
from appliance.store.db import Store
from appliance.store.users import Member

REWARDS = (("reward",), ("evaluation", "second_opinion"))
"""Where a config has a reward source."""

PRIVATE = ("logs", "incoming", "backups", "drafts", "queue", "workers")
"""Folders of the data folder that no config names."""


def stage_of_submitted(store: Store, settings: Settings, member: Member, config_yaml: str) -> str:
    """The stage of a config that this user may run. Raises ConfigError that names the key."""
    try:
        values = yaml.safe_load(config_yaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"the config is not YAML: {error}", "correct it; indentation and colons matter") from None
    if not isinstance(values, dict):
        raise ConfigError("the config is not a YAML mapping", "write `stage: ppo` and the other keys, one a line")
    for place in REWARDS:
        section: Any = values
        for key in place:
            section = section.get(key) if isinstance(section, dict) else None
        for source in _sources(section):
            page_may_use(source)
    for where, value in walk(values):
        if isinstance(value, str):
            _check_path(store, settings, member, where, value)
    return str(parse(values, origin="the config").model_dump()["stage"])


def _sources(section: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a reward section that names a source, however deep and under whatever key it stands."""
    inner = section.values() if isinstance(section, dict) else section if isinstance(section, list) else ()
    if isinstance(section, dict) and "source" in section:
        yield {key: value for key, value in section.items() if key != "sources"}
    for one in inner:
        yield from _sources(one)


def walk(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested mappings and lists, with its place as a.b.0.c."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield where, value
        return
    for key, inner in pairs:
        yield from walk(inner, f"{where}.{key}" if where else str(key))


def _check_path(store: Store, settings: Settings, member: Member, where: str, text: str) -> None:
    """Raises ConfigError for a path outside the data and models folders, in their private parts, or of another's upload."""
    if len(text) > 4096 or "\n" in text or "\0" in text:  # words, not a path
        return
    path = Path(text).expanduser()
    if not path.is_absolute() and ".." not in path.parts and not path.exists():
        return
    found, data, models = path.resolve(), settings.data.resolve(), settings.models.resolve()
    if found.is_relative_to(models):
        return
    refused = ConfigError(
        f"{where}: {text} is not a place that a config from here may name", "upload the file, or use its id"
    )
    if not found.is_relative_to(data) or found == data:
        raise refused
    first, *rest = found.relative_to(data).parts
    if first == datasets.FOLDER:
        try:
            datasets.get(store, rest[0] if rest else "", owner_id=None if member.role == "admin" else member.id)
        except Exception:
            raise refused from None
    elif first in PRIVATE or not (rest or (found / "config.yaml").is_file()):  # of what lies at the top, only runs
        raise refused
