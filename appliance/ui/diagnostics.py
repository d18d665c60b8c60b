"""One zip that says how this appliance is, for whoever helps: no secret, no prompt, no answer and no name of a person in it."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlalchemy import func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from appliance import __version__
from appliance import settings as table
from appliance.settings import Settings
from appliance.store import migration, run_folders, runs, workers
from appliance.store.db import Store
from appliance.store.schema import Base, Event, Run
from appliance.ui.starting_programs import program

PACKAGES = (
    *(
        "torch",
        "transformers",
        "trl",
        "peft",
        "accelerate",
        "safetensors",
        "datasets",
        "tokenizers",
        "gradio",
        "fastapi",
    ),
    *("starlette", "uvicorn", "pydantic", "sqlalchemy", "alembic", "psycopg", "numpy", "scipy", "nvidia-ml-py"),
)

TAIL_BYTES = 64 << 10
MOST_LOGS, MOST_RUNS = 10, 50
PREFLIGHT, PREFLIGHT_S = program("preflight", "--json"), 60.0
MASK = "(hidden)"

SECRET_NAME = (
    r"[\w.-]*(?:password|passwd|secret|token(?!s\b|s_|_id|iz)|api[_-]?key|authorization|cookie|credential|session)"
    r"(?![\w.-]*_file\b)[\w.-]*"
)
VALUE = r"(?:\"[^\"]*\"|'[^']*'|(?:bearer\s+|basic\s+)?[^\s,;&\"')]+)"
MASKED = (
    (re.compile(rf"(?i)(\"?\b{SECRET_NAME}\"?\s*[=:]\s*){VALUE}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"(\w[\w+.-]*://[^\s:/@]*):[^\s/]+@"), rf"\1:{MASK}@"),
    (re.compile(r"\b(?:hf_|rlhf_|ghp_|gho_|glpat-|sk-|AKIA)[\w-]{8,}"), MASK),
    (re.compile(r"\$argon2[\w$=,+/.-]+"), MASK),
    (re.compile(r"(?i)\b[0-9a-f]{32,}\b"), MASK),
    (re.compile(r"(?<![\w/.-])(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{32,}(?![\w/.-])"), MASK),
)
"""What looks like a secret, and what stands for it: name=value, headers, passwords in URLs, known tokens, hashes, long
words of mixed letters and digits."""


def bundle(settings: Settings, store: Store, *, preflight: Callable[[], Any] | None = None) -> bytes:
    """The zip. `preflight`: gives the report as JSON; by default it is made by a process of its own, which takes seconds.

    Each part is made by itself: one that fails says so in its place, and the rest is there.
    """
    known = secrets_of(settings, os.environ)
    parts: dict[str, Callable[[], Any]] = {
        "versions.json": versions,
        "settings.json": lambda: shown_settings(settings, os.environ),
        "preflight.json": preflight or run_preflight,
        "store.json": lambda: counts(store),
        "runs.json": lambda: latest_runs(store),
        "disk.json": lambda: disk(settings, store),
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        archive.writestr("README.txt", README.format(version=__version__, at=at))
        for name, make in parts.items():
            try:
                value = make()
            except Exception as error:  # an edge: half a bundle helps more than none
                value = {"failed": f"{type(error).__name__}: {error}"}
            plain = json.loads(json.dumps(value, default=str))
            archive.writestr(name, json.dumps(hidden(plain, known), indent=2, ensure_ascii=False))
        for file in logs(settings.data):
            archive.writestr(f"logs/{file.name}", masked(tail(file), known))
    return made.getvalue()


README = """Diagnostics of rlhf-appliance {version}, made {at}.

versions.json   programs and packages
settings.json   environment variables of the appliance; secrets are hidden
preflight.json  what `appliance preflight --json` says of this machine
store.json      how many rows there are, schema version, workers
runs.json       the latest runs: state, step, message; no prompts, no answers, no owners
disk.json       free room, and what uses it
logs/           the end of the latest logs; what looks like a password or a token is hidden
"""


def hidden(value: Any, known: frozenset[str]) -> Any:
    """The same JSON with secrets masked: what stands under a secret's name, and what looks like one in a text."""
    if isinstance(value, dict):
        secret = re.compile(rf"(?i){SECRET_NAME}")
        return {
            key: MASK if inner and isinstance(inner, str) and secret.fullmatch(key) else hidden(inner, known)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [hidden(inner, known) for inner in value]
    return masked(value, known) if isinstance(value, str) else value


def masked(text: str, known: frozenset[str] = frozenset()) -> str:
    """The text without the `known` secrets and without what looks like one."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, instead in MASKED:
        text = pattern.sub(instead, text)
    return text


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> frozenset[str]:
    """Secrets that this machine's settings hold, so that they are found wherever they stand."""
    found = {
        value
        for name, value in environ.items()
        if re.fullmatch(rf"(?i){SECRET_NAME}", name) and not name.endswith("_FILE")
    }
    for file in (
        settings.admin_password_file,
        settings.database_password_file,
        *[Path(v) for k, v in environ.items() if k.endswith("PASSWORD_FILE") and v],
    ):
        try:
            found.add(file.read_text(encoding="utf-8").strip() if file is not None else "")
        except (OSError, UnicodeError):
            continue
    with suppress(ArgumentError):
        found.add(make_url(settings.database).password or "")
    return frozenset(secret for secret in found if len(secret) >= 4)


def versions() -> dict[str, Any]:
    """Programs and packages."""
    found = {
        "appliance": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def shown_settings(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """The appliance's variables as they are set, and what follows from them; the database without its password."""
    try:
        database = make_url(settings.database).render_as_string(hide_password=True)
    except ArgumentError:
        database = MASK
    given = {name: environ[name] for name in table.TABLE if name in environ}
    if given.get("APPLIANCE_DATABASE"):
        given["APPLIANCE_DATABASE"] = database
    return {"environment": given, "in force": asdict(settings) | {"database": database}}


def run_preflight() -> Any:
    """The report of `appliance preflight --json`, made in a process of its own: checks may hang or crash."""
    try:
        done = subprocess.run(PREFLIGHT, capture_output=True, text=True, timeout=PREFLIGHT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"preflight took longer than {PREFLIGHT_S:.0f} s"}
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"failed": f"preflight ended with {done.returncode}", "said": done.stderr[-2000:]}


def counts(store: Store) -> dict[str, Any]:
    """Rows by table, runs by state, the schema's version, and the workers that are alive."""
    with store.reading() as session:
        rows = {
            name: session.scalar(select(func.count()).select_from(made)) for name, made in Base.metadata.tables.items()
        }
        states = dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).all())
        version = migration.version_of(session.connection())
    alive = [
        {"device": one.device, "host": one.host, "pid": one.pid, "heartbeat": one.heartbeat}
        for one in workers.heard_of(store)
    ]
    return {"database": store.engine.dialect.name, "schema": version, "rows": rows, "runs": states, "workers": alive}


RUN_FIELDS = ("id", *run_folders.COURSE, "attempts", "checkpoint", "heartbeat")


def latest_runs(store: Store) -> list[dict[str, Any]]:
    """The latest runs and how they went, with their latest events."""
    found = []
    for run in runs.list_runs(store, limit=MOST_RUNS):
        with store.reading() as session:
            query = select(Event).where(Event.run_id == run.id).order_by(Event.at.desc()).limit(20)
            events = [{"step": e.step, "kind": e.kind, "what": e.what} for e in session.scalars(query)]
        found.append({name: getattr(run, name) for name in RUN_FIELDS} | {"events": events})
    return found


def disk(settings: Settings, store: Store) -> dict[str, Any]:
    """Free room on the file systems that are used, and bytes by folder; runs go by their number."""
    free = {}
    for name, place in (("data", settings.data), ("models", settings.models)):
        if place.exists():
            usage = shutil.disk_usage(place)
            free[name] = {"total_bytes": usage.total, "free_bytes": usage.free}
    used = {
        name: run_folders.size(settings.data / name)
        for name in sorted(runs.RESERVED)
        if (settings.data / name).is_dir()
    }
    try:
        listed = runs.list_runs(store, limit=MOST_RUNS)
    except DBAPIError:
        listed = []
    by_run = {f"run {run.id}": run_folders.size(Path(run.folder)) for run in listed if Path(run.folder).is_dir()}
    return {"file systems": free, "bytes": used | by_run}


def logs(data: Path) -> list[Path]:
    """The latest logs of runs and of the servers, latest first."""
    found = [
        file
        for file in (*data.glob("*.log"), *(data / "logs").glob("*.log*"))
        if file.is_file() and not file.is_symlink()
    ]
    return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)[:MOST_LOGS]


def tail(file: Path) -> str:
    """The last whole lines of a file."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL_BYTES))
        content = opened.read()
    if size > TAIL_BYTES:
        content = content[content.find(b"\n") + 1 :]
    return content.decode("utf-8", "replace")
