"""The queue and the history of runs. Every change of state is one UPDATE that names the state it expects.

queued -> starting -> running -> stopping -> stopped | done | failed | interrupted, and from the last four but done back to
queued. What the process itself says stands in its folder; the worker copies it here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import case, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from appliance.config import parse
from appliance.errors import ApplianceError, ConfigError
from appliance.store.db import Store
from appliance.store.schema import Run

ACTIVE = ("starting", "running", "stopping")
"""There is a process, or there was one a moment ago."""

ENDED = ("stopped", "done", "failed", "interrupted")

RESERVED = {"uploads", "models", "logs", "queue", "backups", "drafts"}
"""Folders of the data folder that are no runs."""

EXAMPLE = "example"
"""The stage of a run that makes the small models of the page's example: `appliance demo --models-only`."""

NAME_LENGTH = 64
NAME = re.compile(rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}\Z")


def enqueue(
    store: Store,
    *,
    config_yaml: str,
    name: str,
    stage: str,
    owner_id: int | None,
    key: str | None,
    dataset_id: str | None = None,
    parent_id: int | None = None,
    resume_by_itself: bool = True,
) -> Run:
    """The run, put at the end of the queue. The same `key` (of one click) again returns the run that it made.

    `config_yaml` is kept as it is: what `appliance train` takes. Its folder is new: the name, or name-2, name-3, ...
    Raises ConfigError where the config cannot run.
    """
    check_config(config_yaml, stage)
    if not NAME.match(name):
        raise ConfigError(
            f"the name {name!r} cannot be a folder's", "use letters, digits, . _ - and at most 64 of them"
        )
    for _ in range(5):  # another process may take the same key or folder between the look and the insert
        try:
            with store.session() as session:
                known = None if key is None else session.scalar(select(Run).where(Run.key == key))
                if known is not None:
                    return known
                folder = _free_folder(session, store.data, name)
                now = store.clock()
                run = Run(
                    name=folder.name,
                    stage=stage,
                    folder=str(folder),
                    config=config_yaml,
                    state="queued",
                    owner_id=owner_id,
                    key=key,
                    created=now,
                    queued=now,
                    dataset_id=dataset_id,
                    parent_id=parent_id,
                    resume_by_itself=resume_by_itself,
                )
                session.add(run)
                session.flush()
                return run
        except IntegrityError as error:
            collision = error
    raise ApplianceError(f"the run {name!r} could not be queued: {collision.orig}", "try again")


def check_config(config_yaml: str, stage: str) -> None:
    """Raises ConfigError when the text is no config of the stage that can run."""
    try:
        values = yaml.safe_load(config_yaml)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"the config is not YAML: {error}", "correct it; indentation and colons matter") from None
    if stage == EXAMPLE and values == {"stage": EXAMPLE}:
        return
    config = parse(values if isinstance(values, dict) else {}, origin="the config")
    found = config.model_dump()["stage"]
    if found != stage:
        raise ConfigError(f"the config is for {found}, not {stage}", f"write stage: {stage}")


def get(store: Store, run_id: int) -> Run:
    """The run. Raises ApplianceError when there is none of that number."""
    with store.reading() as session:
        return _row(session, run_id)


def list_runs(
    store: Store, *, states: Collection[str] | None = None, owner_id: int | None = None, limit: int | None = None
) -> list[Run]:
    """Runs, newest first; only those in `states` or of one owner where asked."""
    query = select(Run).order_by(Run.created.desc(), Run.id.desc()).limit(limit)
    if states is not None:
        query = query.where(Run.state.in_(states))
    if owner_id is not None:
        query = query.where(Run.owner_id == owner_id)
    with store.reading() as session:
        return list(session.scalars(query))


def queue(store: Store) -> list[Run]:
    """The runs that wait, the next one first."""
    with store.reading() as session:
        return list(session.scalars(_waiting()))


def queue_place(store: Store, run_id: int) -> int | None:
    """1 for the run that is started next, 2 for the one after it; None when it does not wait."""
    waiting = [run.id for run in queue(store)]
    return waiting.index(run_id) + 1 if run_id in waiting else None


def current(store: Store) -> Run | None:
    """The run that is at work now, the latest started where there are several."""
    query = select(Run).where(Run.state.in_(ACTIVE)).order_by(Run.started.desc()).limit(1)
    with store.reading() as session:
        return session.scalar(query)


def ask_stop(store: Store, run_id: int) -> Run:
    """Ask the run to stop with a checkpoint; one that still waits is stopped at once. Asking twice changes nothing.

    Raises ApplianceError when the run has ended, or was started from the command line.
    """
    with store.session() as session:
        run, now = _row(session, run_id), store.clock()
        if run.state in ENDED:
            raise ApplianceError(f"run {run.name} is {run.state}: there is nothing to stop", "reload the page")
        if run.state in ACTIVE and run.worker_id is None:
            raise ApplianceError(
                f"run {run.name} was started from the command line", "stop it there with Ctrl-C: it writes a checkpoint"
            )
        if not move(session, run_id, ("queued",), "stopped", ended=now, stop_asked=now, message="taken from the queue"):
            move(session, run_id, ("starting", "running"), "stopping", stop_asked=now)
        return _fresh(session, run_id)


def continue_run(store: Store, run_id: int) -> Run:
    """Put a run that did not finish back into the queue: it goes on from its newest checkpoint. Raises ApplianceError."""
    with store.session() as session:
        run = _row(session, run_id)
        values = _QUEUED | {"queued": store.clock(), "attempts": 0}
        if not move(session, run_id, ("stopped", "failed", "interrupted"), "queued", **values):
            raise ApplianceError(f"run {run.name} is {run.state}: it cannot be continued", "reload the page")
        return _fresh(session, run_id)


def claim(store: Store, worker_id: str, accepts: Callable[[Run], bool] = lambda run: True) -> Run | None:
    """The oldest waiting run that the worker can take, now `starting` and its own; None when there is none.

    `token` is new: the worker puts it into the process's environment, and by it finds the process again.
    """
    with store.session() as session:
        for run in session.scalars(_waiting()).all():
            mine = {"worker_id": worker_id, "token": secrets.token_hex(16), "attempts": run.attempts + 1}
            times = {"started": store.clock(), "heartbeat": store.clock()}
            values = {**_NO_PROCESS, **_NO_OUTCOME, **mine, **times, "phase": None}
            takes = accepts(run) and not _waits_for_example(session, run)
            if takes and move(session, run.id, ("queued",), "starting", **values):
                return _fresh(session, run.id)
    return None


def requeue(store: Store, run_id: int, message: str, *, attempts: int) -> bool:
    """The run's process is gone before its time: it waits again, in its old place, to go on from its newest checkpoint."""
    with store.session() as session:
        values = _QUEUED | {"message": message, "attempts": attempts}
        return move(session, run_id, ACTIVE, "queued", **values)


def finish(
    store: Store,
    run_id: int,
    state: str,
    *,
    message: str | None = None,
    fix: str | None = None,
    cause: str | None = None,
    result: dict[str, Any] | None = None,
) -> bool:
    """The run's process is gone and the run is `state`; False when another one said so before."""
    assert state in ENDED
    values = {"message": message, "fix": fix, "cause": cause, "ended": store.clock(), "phase": None, **_NO_PROCESS}
    if result is not None:
        values["result"] = result
    with store.session() as session:
        return move(session, run_id, ACTIVE, state, **values)


def beat(store: Store, run_id: int, *, running: bool = False, **known: Any) -> None:
    """Enter that the run's process is alive, and what is known of it: step, steps, last_step_at, phase, message.

    `running`: it has written its first numbers, so that a starting run is one no more.
    """
    values: dict[str, Any] = {"heartbeat": store.clock(), **known}
    if running:
        values["state"] = case((Run.state == "starting", "running"), else_=Run.state)
    with store.session() as session:
        session.execute(update(Run).where(Run.id == run_id, Run.state.in_(ACTIVE)).values(**values))


def identify(store: Store, run_id: int, *, pid: int, pid_started: float, boot_id: str, checkpoint: str | None) -> None:
    """Enter which process the run is, and the newest checkpoint when it began."""
    values = {"pid": pid, "pid_started": pid_started, "boot_id": boot_id, "checkpoint": checkpoint}
    with store.session() as session:
        session.execute(update(Run).where(Run.id == run_id, Run.state.in_(ACTIVE)).values(**values))


def note(store: Store, run_id: int, text: str) -> None:
    """Replace the run's note."""
    _set(store, run_id, note=text)


def star(store: Store, run_id: int, starred: bool) -> None:
    """Mark the run, or unmark it."""
    _set(store, run_id, starred=starred)


def move(session: Session, run_id: int, expected: Collection[str], state: str, **values: Any) -> bool:
    """Change a run's state if it is one of `expected`; whether it was."""
    found = update(Run).where(Run.id == run_id, Run.state.in_(expected))
    return bool(session.execute(found.values(state=state, **values)).rowcount)


_NO_PROCESS: dict[str, Any] = {"pid": None, "pid_started": None, "boot_id": None}
_NO_OUTCOME: dict[str, Any] = {"message": None, "fix": None, "cause": None, "ended": None, "stop_asked": None}
_QUEUED: dict[str, Any] = {**_NO_PROCESS, **_NO_OUTCOME, "worker_id": None, "token": None, "phase": None}


def _waiting() -> Any:
    return select(Run).where(Run.state == "queued").order_by(Run.queued, Run.id)


def _waits_for_example(session: Session, run: Run) -> bool:
    """Whether the run starts from models that are still being made: another worker might be free before they are."""
    made_by = session.get(Run, run.parent_id) if run.parent_id is not None else None
    return made_by is not None and made_by.stage == EXAMPLE and made_by.state in ("queued", *ACTIVE)


def _row(session: Session, run_id: int) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise ApplianceError(f"there is no run number {run_id}", "choose one from the list of runs")
    return run


def _fresh(session: Session, run_id: int) -> Run:
    session.expire_all()
    return _row(session, run_id)


def _set(store: Store, run_id: int, **values: Any) -> None:
    with store.session() as session:
        _row(session, run_id)
        session.execute(update(Run).where(Run.id == run_id).values(**values))


def _free_folder(session: Session, data: Path, name: str) -> Path:
    """data/name, or the first of data/name-2, data/name-3, ... that no run has and that does not exist."""
    number, chosen = 1, name[:NAME_LENGTH]
    while (
        chosen in RESERVED
        or (data / chosen).exists()
        or session.scalar(select(Run.id).where(Run.folder == str(data / chosen))) is not None
    ):
        number += 1
        ending = f"-{number}"
        chosen = name[: NAME_LENGTH - len(ending)] + ending
    return data / chosen
