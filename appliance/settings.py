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
    "APPLIANCE_MODELS": Variable("", "folder with models that the page offers; empty: `models` in APPLIANCE_DATA"),
    "APPLIANCE_DATABASE": Variable("", "URL of a PostgreSQL database; empty: SQLite in APPLIANCE_DATA"),
    "APPLIANCE_ADMIN_PASSWORD_FILE": Variable(
        "", "file with the first admin's password; empty: a one-time token is printed"
    ),
    "APPLIANCE_UPLOAD_MIB": Variable("200", "largest upload to the page, in MiB"),
    "APPLIANCE_OFFLINE": Variable("0", "1: never ask the hub; models and data sets must be local folders or staged"),
    "APPLIANCE_PROGRESS": Variable("auto", "bars (auto, on, off): auto draws them on a terminal, lines elsewhere"),
}


@dataclass(frozen=True)
class Settings:
    """The environment, read once and checked."""

    data: Path
    models: Path
    database: str
    admin_password_file: Path | None
    upload_mib: int
    offline: bool
    progress: str


def read(environ: dict[str, str] | None = None) -> Settings:
    """The settings from `environ` (the process's by default). Raises ConfigError for a value that is not a choice."""
    source = os.environ if environ is None else environ
    value = {name: source.get(name, variable.default) for name, variable in TABLE.items()}
    for name, choices in {"APPLIANCE_OFFLINE": ("0", "1"), "APPLIANCE_PROGRESS": ("auto", "on", "off")}.items():
        if value[name] not in choices:
            raise ConfigError(f"environment: {name} is {value[name]!r}", f"set it to one of {', '.join(choices)}")
    if not value["APPLIANCE_UPLOAD_MIB"].isdecimal() or not int(value["APPLIANCE_UPLOAD_MIB"]):
        raise ConfigError(
            f"environment: APPLIANCE_UPLOAD_MIB is {value['APPLIANCE_UPLOAD_MIB']!r}",
            "set it to a whole number above 0",
        )
    data, secret = Path(value["APPLIANCE_DATA"]), value["APPLIANCE_ADMIN_PASSWORD_FILE"]
    return Settings(
        data=data,
        models=Path(value["APPLIANCE_MODELS"]) if value["APPLIANCE_MODELS"] else data / "models",
        database=value["APPLIANCE_DATABASE"] or f"sqlite:///{(data / 'appliance.db').absolute()}",
        admin_password_file=Path(secret) if secret else None,
        upload_mib=int(value["APPLIANCE_UPLOAD_MIB"]),
        offline=value["APPLIANCE_OFFLINE"] == "1",
        progress=value["APPLIANCE_PROGRESS"],
    )


def no_color(environ: dict[str, str] | None = None) -> bool:
    """Whether NO_COLOR is set and not empty, as programs of all kinds read it."""
    return bool((os.environ if environ is None else environ).get("NO_COLOR"))
