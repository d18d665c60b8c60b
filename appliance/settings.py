"""The one table of environment variables: name, default, meaning. Everything else is a key of a YAML config."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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
    "APPLIANCE_DATABASE_PASSWORD_FILE": Variable("", "file with the database's password, which then stands in no URL"),
    "APPLIANCE_ADMIN_PASSWORD_FILE": Variable(
        "", "file with the first admin's password; empty: a one-time token is printed"
    ),
    "APPLIANCE_UPLOAD_MIB": Variable("200", "largest upload to the page, in MiB"),
    "APPLIANCE_OFFLINE": Variable("0", "1: never ask the hub; models and data sets must be local folders or staged"),
    "APPLIANCE_PROGRESS": Variable("auto", "bars (auto, on, off): auto draws them on a terminal, lines elsewhere"),
}

COMPOSE: dict[str, Variable] = {
    "APPLIANCE_IMAGE": Variable("rlhf-appliance:0.1.0", "image to run; compose.cpu.yaml has its own default"),
    "APPLIANCE_LISTEN": Variable("127.0.0.1", "address on which the page is published"),
    "APPLIANCE_PORT": Variable("7860", "port on which the page is published"),
    "APPLIANCE_GPUS": Variable("1", "how many GPUs the worker is given"),
    "PREFLIGHT_FAIL_ON": Variable("fail", "warn: start nothing on a machine with warnings either"),
    "PREFLIGHT_SKIP": Variable("", "ids of checks that may fail, as preflight names them: host.cpu,net.hf_or_offline"),
    "COMPOSE_FILE": Variable(
        "compose.yaml", "which files, colons between: compose.cpu.yaml without a GPU; compose.yaml:compose.tls.yaml"
    ),
    "HTTPS_PROXY": Variable("", "the site's proxy on the way to the hub: http://proxy.example:3128"),
    "NO_PROXY": Variable("", "hosts that are asked directly, with commas between them"),
    "TORCH": Variable("torch==2.13.0+cu126", "build: which torch"),
    "TORCH_INDEX": Variable("", "build: the package index that pytorch.org names for that torch"),
    "CUDA": Variable("12.6", "build: the CUDA version that torch must have, checked; cpu: none"),
    "BASE": Variable("python:3.12-slim-bookworm", "build: base image with Python 3.11 or later and venv"),
}
"""What the compose files take from .env beside TABLE."""

IN_CONTAINER = ("APPLIANCE_UPLOAD_MIB", "APPLIANCE_OFFLINE")
"""Variables of TABLE that the compose files hand on; the others are fixed inside the image."""


@dataclass(frozen=True)
class Settings:
    """The environment, read once and checked."""

    data: Path
    models: Path
    database: str
    database_password_file: Path | None
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
    data = Path(value["APPLIANCE_DATA"])
    secrets = (value[f"APPLIANCE_{name}_PASSWORD_FILE"] for name in ("DATABASE", "ADMIN"))
    of_database, of_admin = (Path(file) if file else None for file in secrets)
    return Settings(
        data=data,
        models=Path(value["APPLIANCE_MODELS"]) if value["APPLIANCE_MODELS"] else data / "models",
        database=_database(value["APPLIANCE_DATABASE"], of_database, data),
        database_password_file=of_database,
        admin_password_file=of_admin,
        upload_mib=int(value["APPLIANCE_UPLOAD_MIB"]),
        offline=value["APPLIANCE_OFFLINE"] == "1",
        progress=value["APPLIANCE_PROGRESS"],
    )


def example() -> str:
    """The text of .env.example: every variable of the compose files with its default, commented out."""
    lines = [
        "# Settings of compose.yaml. Copy to .env and change what you need; what is commented out has its default."
    ]
    for name, variable in {**COMPOSE, **{name: TABLE[name] for name in IN_CONTAINER}}.items():
        lines += ["", f"# {variable.meaning}", f"#{name}={variable.default}"]
    return "\n".join(lines) + "\n"


def _database(url: str, password_file: Path | None, data: Path) -> str:
    """The database's URL, with the password from its file where there is one. Raises ConfigError."""
    if not url:
        return f"sqlite:///{(data / 'appliance.db').absolute()}"
    if password_file is None:
        return url
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"environment: APPLIANCE_DATABASE_PASSWORD_FILE {password_file} cannot be read: {error}",
            "give a file that this user may read",
        ) from None
    user, at, rest = url.partition("@")
    if not at or not password:
        raise ConfigError(
            f"environment: APPLIANCE_DATABASE_PASSWORD_FILE {password_file} needs a password and a URL with a user",
            "write the password into it, and set APPLIANCE_DATABASE to postgresql://user@host/database",
        )
    return f"{user}:{quote(password, safe='')}@{rest}"


@dataclass(frozen=True)
class Launched:
    """What torchrun and accelerate tell each of several processes; one alone is the first of one, and `local` is None."""

    world: int
    rank: int
    local: int | None


def launched(environ: dict[str, str] | None = None) -> Launched:
    """Which of how many processes this is."""
    source = os.environ if environ is None else environ
    local = source.get("LOCAL_RANK")
    return Launched(int(source.get("WORLD_SIZE") or 1), int(source.get("RANK") or 0), int(local) if local else None)


def no_color(environ: dict[str, str] | None = None) -> bool:
    """Whether NO_COLOR is set and not empty, as programs of all kinds read it."""
    return bool((os.environ if environ is None else environ).get("NO_COLOR"))
