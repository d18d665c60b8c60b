"""The JSON API below /api: prompts, runs, votes. docs/api.md describes it; /api/openapi.json is its description for programs.

Who asks is known by the page's cookie or by an API token (`Authorization: Bearer rlhf_...`, made on the System tab).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from appliance import __version__
from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.config.sft import Demonstrations
from appliance.data.rankings import pairs
from appliance.errors import ApplianceError, DataError
from appliance.store import audit, datasets, metrics, run_folders, runs, vote_batches, vote_records
from appliance.store.schema import STATES, Dataset, Run
from appliance.store.users import Member
from appliance.ui import starting_draft
from appliance.ui.access import desk_of, require
from appliance.ui.starting_config import start
from appliance.ui.starting_example import fill_example
from appliance.ui.submitting import stage_of_submitted

MOST_ROWS = 1_000_000
ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")

router = APIRouter(prefix="/api")
Trainer = Annotated[Member, Depends(require("trainer", "admin"))]

RUN_FIELDS = (
    *("id", "name", *run_folders.COURSE),
    *("owner_id", "parent_id", "dataset_id", "note", "starred", "result"),
)
"""What the API tells of a run; the process and its token stay here."""


def as_run(run: Run, **more: Any) -> dict[str, Any]:
    """A run as JSON."""
    return {name: getattr(run, name) for name in RUN_FIELDS} | more


def as_dataset(dataset: Dataset) -> dict[str, Any]:
    """A data set as JSON."""
    shown = ("id", "name", "kind", "size_bytes", "rows", "column", "owner_id", "created")
    return {name: getattr(dataset, name) for name in shown}


def mine(member: Member) -> int | None:
    """Whose uploads a user sees: their own; an admin everybody's."""
    return None if member.role == "admin" else member.id


@router.get("/openapi.json")
def description(member: Trainer) -> JSONResponse:
    """This API's OpenAPI description."""
    return JSONResponse(get_openapi(title="RLHF appliance", version=__version__, routes=router.routes))


@router.get("/datasets")
def list_datasets(request: Request, member: Trainer, kind: str | None = None) -> list[dict[str, Any]]:
    """Uploads of the user, newest first; an admin sees everybody's."""
    store = desk_of(request).store
    return [as_dataset(one) for one in datasets.list_datasets(store, kind=kind, owner_id=mine(member))]


@router.post("/datasets", status_code=201)
def upload(
    request: Request,
    member: Trainer,
    file: Annotated[UploadFile, File()],
    kind: Annotated[str, Form()] = "prompts",
    column: Annotated[str | None, Form()] = None,
) -> dict[str, Any]:
    """Take a file of prompts, preferences or demonstrations; 400 says which line is wrong."""
    desk, name = desk_of(request), Path(file.filename or "").name
    if Path(name).suffix.lower() not in ENDINGS:
        raise DataError(f"{name!r} is not of a type that can be read", f"use one of {', '.join(ENDINGS)}")
    with tempfile.TemporaryDirectory(dir=desk.uploads.folder) as folder:
        path = Path(folder) / datasets.safe_name(name)
        with path.open("wb") as out:
            shutil.copyfileobj(file.file, out)
        try:
            rows = count_rows(path, kind, column)
        except DataError as error:  # it names the file by where it stood for a moment
            raise DataError(error.what.replace(f"{folder}/", ""), error.fix) from None
        made = datasets.add(desk.store, name=name, kind=kind, source=path, rows=rows, owner_id=member.id, column=column)
    audit.record(desk.store, member, "upload", made.name, {"id": made.id, "rows": rows})
    return as_dataset(made)


def count_rows(path: Path, kind: str, column: str | None) -> int:
    """How many usable rows a file has. Raises DataError as the trainer would when it reads the file."""
    from appliance.data.demonstrations import read_demonstrations
    from appliance.data.preferences import read_preferences
    from appliance.data.prompts import read_prompts

    if kind == "prompts":
        rows = len(read_prompts(Prompts(source=str(path), column=column)).texts)
    elif kind == "preferences":
        rows = len(read_preferences(Preferences(source=str(path)))[0])
    elif kind == "demonstrations":
        rows = len(read_demonstrations(Demonstrations(source=str(path), column=column))[0])
    else:
        raise DataError(f"{kind!r} is no kind of data", f"use one of {', '.join(datasets.KINDS)}")
    if rows > MOST_ROWS:
        raise DataError(f"{path.name} has {rows:,} rows; the limit is {MOST_ROWS:,}", "upload a part of it")
    return rows


class NewRun(BaseModel, extra="forbid"):
    """A run to queue."""

    name: str = Field(description="its folder's name: letters, digits, . _ -")
    config: str = Field(max_length=1 << 20, description="YAML, what `appliance train` takes")
    key: str | None = Field(None, max_length=64, description="of your choice; sent twice, it makes one run")
    dataset_id: str | None = None


@router.get("/runs")
def list_runs(
    request: Request, member: Trainer, state: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[dict[str, Any]]:
    """Runs, newest first."""
    if state is not None and state not in STATES:
        raise ApplianceError(f"there is no state {state!r}", f"use one of {', '.join(STATES)}")
    states = None if state is None else (state,)
    return [as_run(run) for run in runs.list_runs(desk_of(request).store, states=states, limit=limit)]


@router.post("/runs", status_code=201)
def create_run(request: Request, member: Trainer, new: NewRun) -> dict[str, Any]:
    """Queue a run. 400 lists what is wrong with the config."""
    desk = desk_of(request)
    stage = stage_of_submitted(desk.store, desk.settings, member, new.config)
    if new.dataset_id is not None:
        datasets.get(desk.store, new.dataset_id, owner_id=mine(member))
    run = runs.enqueue(
        desk.store,
        config_yaml=new.config,
        name=new.name,
        stage=stage,
        owner_id=member.id,
        key=None if new.key is None else f"{member.id}:{new.key}"[:64],
        dataset_id=new.dataset_id,
    )
    audit.record(desk.store, member, "start", run.name)
    return as_run(run, queue_place=runs.queue_place(desk.store, run.id))


@router.post("/example", status_code=201)
def start_example(request: Request, member: Trainer) -> dict[str, Any]:
    """The page's example: its small models where they are still to be made, then a PPO run on them. Returns that run."""
    desk = desk_of(request)
    fill_example(desk.store, member)
    run, _ = start(desk.store, desk.settings, member, starting_draft.read(desk.store.data, member.id).key)
    audit.record(desk.store, member, "start", run.name)
    return as_run(run, queue_place=runs.queue_place(desk.store, run.id))


@router.get("/runs/{run_id}")
def get_run(request: Request, member: Trainer, run_id: int) -> dict[str, Any]:
    """One run, with its config and its place in the queue."""
    store = desk_of(request).store
    run = runs.get(store, run_id)
    return as_run(run, config=run.config, queue_place=runs.queue_place(store, run_id))


@router.post("/runs/{run_id}/stop")
def stop_run(request: Request, member: Trainer, run_id: int) -> dict[str, Any]:
    """Finish the step, save, and stop."""
    store = desk_of(request).store
    run = runs.ask_stop(store, run_id)
    audit.record(store, member, "stop", run.name)
    return as_run(run)


@router.post("/runs/{run_id}/continue")
def continue_run(request: Request, member: Trainer, run_id: int) -> dict[str, Any]:
    """Put a run that was stopped, failed or was interrupted back into the queue."""
    store = desk_of(request).store
    run = runs.continue_run(store, run_id)
    audit.record(store, member, "continue", run.name)
    return as_run(run)


@router.get("/runs/{run_id}/points")
def get_points(
    request: Request,
    member: Trainer,
    run_id: int,
    name: Annotated[list[str] | None, Query()] = None,
    most: Annotated[int, Query(ge=2, le=5000)] = 400,
) -> dict[str, list[tuple[int, float]]]:
    """[step, value] of each number that is named (all of the newest step, if none is), thinned to about `most`."""
    store = desk_of(request).store
    runs.get(store, run_id)
    return metrics.points(store, run_id, name or metrics.names(store, run_id), most=most)


@router.get("/runs/{run_id}/report")
def get_report(request: Request, member: Trainer, run_id: int) -> Response:
    """The run's report.json: the statistics and the verdict."""
    run = runs.get(desk_of(request).store, run_id)
    try:
        text = (Path(run.folder) / "report" / "report.json").read_text(encoding="utf-8")
    except OSError:
        raise ApplianceError(f"{run.name} has no report yet", "it is made when the training ends") from None
    return Response(text, media_type="application/json")


@router.get("/votes/batches")
def list_batches(request: Request, member: Trainer) -> list[dict[str, Any]]:
    """Batches of answers to vote on, newest first."""
    shown = ("id", "name", "run_id", "mode", "guideline", "repeat_share", "created", "closed")
    return [{key: getattr(one, key) for key in shown} for one in vote_batches.batches(desk_of(request).store)]


@router.get("/votes")
def list_votes(request: Request, member: Trainer, batch: int | None = None) -> list[dict[str, Any]]:
    """Every vote that counts, as it was cast, of one batch or of all."""
    return [asdict(vote) for vote in vote_records.records(desk_of(request).store, batch)]


@router.get("/votes/export.jsonl")
def export_votes(request: Request, member: Trainer, batch: int | None = None) -> Response:
    """Preferences for training: lines of prompt, chosen, rejected. Ties, skips, repeats and excluded raters are left out."""
    store = desk_of(request).store
    found = [pair for one in vote_records.rankings(vote_records.records(store, batch)) for pair in pairs(one)]
    audit.record(store, member, "export", "votes", {"pairs": len(found)})
    lines = (json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in found)
    headers = {"content-disposition": 'attachment; filename="votes.jsonl"'}
    return PlainTextResponse("".join(lines), media_type="application/x-ndjson", headers=headers)
