"""Configs of other frameworks made ours. One file per framework; `_mapping` does what they have in common."""

import json
from pathlib import Path
from typing import Any

import yaml

from appliance import parts
from appliance.config.importers._mapping import Imported, imported
from appliance.errors import ConfigError

FOLDER = "config/importers"


def import_files(name: str, paths: list[Path]) -> Imported:
    """What framework `name`'s files say, as our config, and what they say that is not in it. Raises ConfigError."""
    framework, given = parts.load(FOLDER, name).settings([_read(path) for path in paths])
    return imported(framework, given, origin=paths[0].name)


def _read(path: Path) -> dict[str, Any]:
    """The settings in a YAML or JSON file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "give a UTF-8 text file that you may read") from None
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML of plain values"
        raise ConfigError(
            f"{path.name} is not {kind}: {str(error).splitlines()[0]}",
            "give the framework's config as YAML or JSON; Python objects and tags are not read",
        ) from None
    if not isinstance(values, dict) or not values or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path.name} holds no settings", "give the framework's config as `key: value` lines")
    return values
