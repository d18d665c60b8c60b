"""The one table of environment variables: name, default, meaning. Everything else is a key of a YAML config."""

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError


@dataclass(frozen=True)
class Variable:
    """One environment variable: its default (as text) and what it means."""

    default: str
    meaning: str


TABLE: dict[str, Variable] = {
    "APPLIANCE_DATA": Variable("appliance-data", "folder that holds the runs; copying it is the backup"),
    "APPLIANCE_OFFLINE": Variable("0", "1: never ask the hub; models and data sets must be local folders or staged"),
    "APPLIANCE_PROGRESS": Variable("auto", "bars (auto, on, off): auto draws them on a terminal, lines elsewhere"),
}


@dataclass(frozen=True)
class Settings:
    """The environment, read once and checked."""

    data: Path
    offline: bool
    progress: str


def read(environ: dict[str, str] | None = None) -> Settings:
    """The settings from `environ` (the process's by default). Raises ConfigError for a value that is not a choice."""
    source = os.environ if environ is None else environ
    value = {name: source.get(name, variable.default) for name, variable in TABLE.items()}
    for name, choices in {"APPLIANCE_OFFLINE": ("0", "1"), "APPLIANCE_PROGRESS": ("auto", "on", "off")}.items():
        if value[name] not in choices:
            raise ConfigError(f"environment: {name} is {value[name]!r}", f"set it to one of {', '.join(choices)}")
    return Settings(
        data=Path(value["APPLIANCE_DATA"]),
        offline=value["APPLIANCE_OFFLINE"] == "1",
        progress=value["APPLIANCE_PROGRESS"],
    )


def no_color(environ: dict[str, str] | None = None) -> bool:
    """Whether NO_COLOR is set and not empty, as programs of all kinds read it."""
    return bool((os.environ if environ is None else environ).get("NO_COLOR"))
