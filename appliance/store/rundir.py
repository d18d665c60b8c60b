"""A run is a folder: config.yaml, metrics.jsonl, samples.jsonl, events.jsonl, timings.jsonl, status.json, checkpoints/,
model/, report/. metrics.jsonl holds only what the computation determines, so that a resumed run writes the same bytes;
what the clock says goes to timings.jsonl.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from appliance.config import load, to_yaml
from appliance.config.base import StageConfig
from appliance.errors import ApplianceError, ConfigError
from appliance.store.files import explained, write_json, write_text

STATES = ("running", "done", "failed", "stopped")
STEP_LOGS = ("metrics.jsonl", "samples.jsonl", "events.jsonl", "timings.jsonl")


@dataclass(frozen=True)
class RunDir:
    """One run's folder; it exists."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder of the resulting model."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    def config(self) -> StageConfig:
        """The config that the run was started with. Raises ConfigError if the file was damaged."""
        return load(self.path / "config.yaml")

    def has_begun(self) -> bool:
        """Whether there is anything in it that a new run would destroy: numbers, checkpoints, a result, or a process."""
        results = ("metrics.jsonl", "checkpoints", "model", "adapter", "report", "result.json")
        return self._is_locked() or any((self.path / name).exists() for name in results)

    def set_status(self, state: str, **more: Any) -> None:
        """Replace status.json: the state, when, which process, and what else is known (step, steps, message)."""
        assert state in STATES
        now = {"state": state, "pid": os.getpid(), "updated": time.time()}
        write_json(self.path / "status.json", now | more)

    def status(self) -> dict[str, Any]:
        """What status.json says; a run that died without saying so is `interrupted`."""
        try:
            found = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"state": "new"}
        if found["state"] == "running" and not self._is_locked():
            found["state"] = "interrupted"
        return found

    def append(self, name: str, record: dict[str, Any], *, sync: bool = False) -> None:
        """Add one line to a .jsonl file; with `sync`, it is on disk when this returns."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        target = self.path / name
        with explained(target), target.open("a+b") as file:
            _drop_cut_line(file)
            file.write(line.encode() + b"\n")
            file.flush()
            if sync:
                os.fsync(file.fileno())

    def read_log(self, name: str) -> list[dict[str, Any]]:
        """The records of a .jsonl file; a last line that was cut off is left out."""
        target = self.path / name
        if not target.exists():
            return []
        lines = target.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never finished
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ApplianceError(
                    f"{target} line {number} is damaged: {error}", "remove the line, or start the run anew"
                ) from None
        return records

    def truncate_logs(self, step: int) -> None:
        """Drop what the logs say of steps after `step`: a resumed run writes those again."""
        for name in STEP_LOGS:
            if (self.path / name).exists():
                kept = [record for record in self.read_log(name) if record["step"] <= step]
                text = "".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in kept)
                write_text(self.path / name, text)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by the process that trains here. Raises ApplianceError when another one does."""
        with explained(self.path / ".lock"):
            file = (self.path / ".lock").open("w")
        with file:
            if not _lock(file):
                raise ApplianceError(
                    f"another process trains in {self.path}", "wait for it, or choose another --run-dir"
                )
            yield

    def _is_locked(self) -> bool:
        lock = self.path / ".lock"
        if not lock.exists():
            return False
        with lock.open() as file:
            return not _lock(file)


def _drop_cut_line(file: IO[bytes]) -> None:
    """Forget a last line that a crash or a full disk cut off, so that the next one does not continue it."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create(path: Path, config: StageConfig) -> RunDir:
    """A new run folder with its config. Raises ApplianceError when the folder holds something already.

    A run that failed before its first number (a wrong path, say) holds nothing, so a corrected one takes its folder.
    """
    if path.is_dir() and (path / "config.yaml").exists() and not RunDir(path).has_begun():
        for name in ("config.yaml", "status.json", *STEP_LOGS):
            (path / name).unlink(missing_ok=True)
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        if (path / "config.yaml").exists():
            raise ApplianceError(f"{path} holds a run", "continue it with --resume, or choose another --run-dir")
        what = "exists and is not empty, and is no run" if path.is_dir() else "is a file"
        raise ApplianceError(f"{path} {what}", "choose another --run-dir")
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    write_text(path / "config.yaml", to_yaml(config))
    return RunDir(path)


def open_existing(path: Path, config: StageConfig | None = None) -> RunDir:
    """A run folder that exists; with `config`, it must be the one it was started with. Raises ApplianceError."""
    if not (path / "config.yaml").exists():
        raise ApplianceError(
            f"{path} is not a run folder: it has no config.yaml", "check the path (`appliance runs list`)"
        )
    run = RunDir(path)
    if config is not None:
        theirs, ours = flat(run.config().model_dump(mode="json")), flat(config.model_dump(mode="json"))
        keys = [key for key in theirs | ours if theirs.get(key) != ours.get(key)]
        if keys:
            shown = "; ".join(f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}" for key in keys[:5])
            raise ConfigError(
                f"{path} belongs to another config: {shown}", "resume without --config and --set, or start anew"
            )
    return run


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def list_runs(folder: Path) -> list[RunDir]:
    """The runs in a folder, oldest first."""
    found = [RunDir(file.parent) for file in folder.glob("*/config.yaml")] if folder.is_dir() else []
    return sorted(found, key=lambda run: (run.path / "config.yaml").stat().st_mtime)
