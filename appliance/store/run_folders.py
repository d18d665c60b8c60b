"""Run folders and the rows about them: runs that were started from the command line are found, deleted runs leave nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import select, update

from appliance.errors import ApplianceError, ConfigError
from appliance.store import rundir
from appliance.store.db import Store
from appliance.store.files import read_json
from appliance.store.rundir import RunDir
from appliance.store.runs import ACTIVE, get
from appliance.store.schema import Run

STATE_OF = {"running": "running", "done": "done", "failed": "failed", "stopped": "stopped"}
"""What status.json says, as a state of the store; all else is `interrupted`."""

FIGURES = (
    *("prompts", "improved", "worse", "tied", "p_value", "mean_reward", "difference", "difference_ci95"),
    *("kl", "kl_ci95", "length_tokens", "steps", "verdict", "second_opinion"),
)
"""What the store keeps of a report; the rest stays in the folder."""

COURSE = (
    *("stage", "state", "created", "queued", "started", "ended", "step", "steps", "last_step_at"),
    *("phase", "message", "fix", "cause"),
)
"""Columns of a run that say how it goes; no names, no settings, no process."""


def adopt(store: Store) -> list[int]:
    """Enter the runs of the data folder that no row names; their numbers. Those are not resumed by themselves."""
    with store.reading() as session:
        known = set(session.scalars(select(Run.folder)))
    found = [run for run in folders(store.data) if str(run.path) not in known]
    return [number for run in found if (number := _enter(store, run)) is not None]


def folders(data: Path) -> list[RunDir]:
    """The run folders of a data folder, those of demos included, oldest first."""
    found = rundir.list_runs(data)
    for demo in sorted(data.glob("demo*")):
        found += rundir.list_runs(demo)
    return [run for run in found if not run.path.name.startswith(".")]


def refresh(store: Store) -> list[int]:
    """Copy what the folders say of runs that another process leads, from a command line; the numbers of those at work."""
    with store.reading() as session:
        rows = list(session.scalars(select(Run).where(Run.state != "queued", Run.state != "done")))
    working = []
    for row in rows:
        run = RunDir(Path(row.folder))
        if row.state in ACTIVE and row.worker_id is not None:
            continue
        told = _told(run)
        if told["state"] == "running":
            working.append(row.id)
        elif row.state not in ACTIVE and told["state"] != "done":
            continue  # it has ended before, and what the store knows of the end says more
        if any(getattr(row, name) != value for name, value in told.items()):
            owner = {"worker_id": None, "ended": None} if told["state"] == "running" else {"ended": store.clock()}
            with store.session() as session:
                same = (Run.id == row.id, Run.state == row.state)
                session.execute(update(Run).where(*same).values(**told, **owner))
    return working


def delete(store: Store, run_id: int) -> int:
    """Remove a run, its folder and its log; the bytes that are free now. Raises ApplianceError while it is at work."""
    row = get(store, run_id)
    folder = Path(row.folder)
    aside = folder.with_name(f".{folder.name}.deleted")
    with store.session() as session:
        gone = session.execute(delete_rows(Run).where(Run.id == run_id, Run.state.not_in(ACTIVE)))
        if not gone.rowcount:
            raise ApplianceError(f"run {row.name} is {row.state}", "stop it first, then delete it")
        held = folder.is_dir() and store.data in folder.parents
        if held:
            if RunDir(folder).status()["state"] == "running":
                raise ApplianceError(f"a process trains in {folder}", "stop it first, then delete the run")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)  # before the row is gone for good: a crash here leaves no half of a run
    freed = size(aside) if held else 0
    shutil.rmtree(aside, ignore_errors=True)
    for file in (*(store.data / "logs").glob(f"{run_id}.log*"), store.data / "queue" / f"{run_id}.yaml"):
        freed += file.stat().st_size if file.exists() else 0
        file.unlink(missing_ok=True)
    return freed


def sweep(store: Store) -> None:
    """Finish deletions that a crash cut short."""
    with store.reading() as session:
        known = set(session.scalars(select(Run.folder)))
    for aside in store.data.glob(".*.deleted"):
        folder = aside.with_name(aside.name[1 : -len(".deleted")])
        if str(folder) in known and not folder.exists():
            aside.rename(folder)  # it was moved aside, but its row was not removed
        else:
            shutil.rmtree(aside, ignore_errors=True)


def size(folder: Path) -> int:
    """Bytes of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size if not file.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def result(run: RunDir) -> dict[str, Any] | None:
    """The figures that a finished run is known by: all of result.json, or those of PPO's report.json; None before."""
    plain, report = read_json(run.path / "result.json"), read_json(run.report / "report.json")
    if plain is not None or report is None:
        return plain
    seconds = report.get("seconds")  # by stage
    total = seconds.get("total") if isinstance(seconds, dict) else None
    return {name: report[name] for name in FIGURES if name in report} | {"seconds": total}


def _enter(store: Store, run: RunDir) -> int | None:
    try:
        stage = str(run.config().model_dump()["stage"])
        text = (run.path / "config.yaml").read_text(encoding="utf-8")
        began = (run.path / "config.yaml").stat().st_mtime
    except (ConfigError, FileNotFoundError):
        return None  # of another version, or being written just now
    told = _told(run)
    row = Run(
        name=run.path.name[:64],
        stage=stage,
        folder=str(run.path),
        config=text,
        created=began,
        started=began,
        ended=None if told["state"] == "running" else _changed(run) or began,
        resume_by_itself=False,
        **told,
    )
    with store.session() as session:
        if session.scalar(select(Run.id).where(Run.folder == str(run.path))) is None:
            session.add(row)
            session.flush()
            return row.id
    return None


def _told(run: RunDir) -> dict[str, Any]:
    """The columns that the folder knows."""
    try:
        status = run.status()
    except (ValueError, KeyError):
        status = {}
    message, _, fix = str(status.get("message") or "").partition("\n  fix: ")
    return {
        "state": STATE_OF.get(str(status.get("state")), "interrupted"),
        "step": int(status.get("step", 0)),
        "steps": int(status.get("steps", 0)),
        "message": message or None,
        "fix": fix or None,
        "result": result(run) if status.get("state") == "done" else None,
    }


def _changed(run: RunDir) -> float | None:
    status = read_json(run.path / "status.json")
    return None if status is None else status.get("updated")


def of(store: Store, run_id: int) -> RunDir:
    """The run's folder. Raises ApplianceError when there is no such run."""
    return RunDir(Path(get(store, run_id).folder))
