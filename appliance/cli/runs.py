"""`appliance runs list|show|compare`: what the run folders say, without loading a model."""

import json
from pathlib import Path
from typing import Any

import click

from appliance import settings
from appliance.errors import ApplianceError, ConfigError
from appliance.store import rundir
from appliance.store.rundir import RunDir, flat

SHOWN = ("score_mean", "kl", "entropy", "length_mean", "ended_share", "eval_score_mean", "loss", "accuracy")
"""Numbers of the last step that are worth a line, where a run has them."""


@click.group()
def runs() -> None:
    """Look at finished and running trainings."""


@runs.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_runs(as_json: bool) -> None:
    """All runs in APPLIANCE_DATA (and those of demos), oldest first."""
    data = settings.read().data
    found = rundir.list_runs(data)
    for folder in sorted(data.glob("demo*")) if data.is_dir() else []:
        found += [run for run in rundir.list_runs(folder) if run.path.parent == folder]
    rows = [summary(run, data) for run in found]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif not rows:
        click.echo(f"no runs in {data}")
    else:
        table([["run", "stage", "state", "step", "verdict"], *[[str(v) for v in row.values()] for row in rows]])


@runs.command()
@click.argument("run")
def show(run: str) -> None:
    """State, last numbers and verdict of RUN: a folder, or a name in APPLIANCE_DATA."""
    found = find(run)
    status, metrics = found.status(), found.read_log("metrics.jsonl")
    click.echo(f"{found.path}: {status['state']}{position(status)}")
    if "message" in status:
        click.echo(f"  {status['message']}")
    last = metrics[-1] if metrics else {}
    table([[name, f"{last[name]:.4g}"] for name in SHOWN if last.get(name) is not None])
    for event in found.read_log("events.jsonl"):
        if event["kind"] == "alarm":
            click.echo(f"alarm at step {event['step']}: {event['what']}. {event['fix']}.")
    report = read_report(found)
    if report is not None:
        click.echo(report["verdict"]["sentence"])
        click.echo(f"report: {found.report / 'report.html'}")


@runs.command()
@click.argument("first")
@click.argument("second")
def compare(first: str, second: str) -> None:
    """What differs between two runs: their settings, and what came out."""
    one, other = find(first), find(second)
    rows = [["", one.path.name, other.path.name]]
    configs = [flat(run.config().model_dump(mode="json")) for run in (one, other)]
    for key in configs[0] | configs[1]:
        if configs[0].get(key) != configs[1].get(key):
            rows.append([key, *(str(config.get(key, "-")) for config in configs)])
    for label, path in RESULTS.items():
        values = [figure(read_report(run), path) for run in (one, other)]
        if any(value is not None for value in values):
            rows.append([label, *("-" if value is None else f"{value:.4g}" for value in values)])
    table(rows)


RESULTS = {
    "mean reward before": ("mean_reward", "before"),
    "mean reward after": ("mean_reward", "after"),
    "difference": ("difference",),
    "prompts improved": ("improved",),
    "p-value": ("p_value",),
    "KL, nats per response": ("kl",),
    "seconds": ("seconds", "total"),
}
"""What `compare` takes out of report.json."""


def find(name: str) -> RunDir:
    """The run in the folder `name`, or of that name in APPLIANCE_DATA. Raises ApplianceError."""
    for folder in (Path(name), settings.read().data / name):
        if (folder / "config.yaml").exists():
            return rundir.open_existing(folder)
    raise ApplianceError(f"there is no run {name}", "see `appliance runs list`, or give the run's folder")


def summary(run: RunDir, data: Path) -> dict[str, Any]:
    """One run in one line."""
    status, report = run.status(), read_report(run)
    return {
        "run": str(run.path.relative_to(data)),
        "stage": stage_of(run),
        "state": status["state"],
        "step": position(status).strip(" ()"),
        "verdict": report["verdict"]["word"] if report else "",
    }


def stage_of(run: RunDir) -> str:
    """The stage of a run; ? where this version cannot read its config, which must not hide the other runs."""
    try:
        return str(run.config().model_dump()["stage"])
    except (ConfigError, FileNotFoundError):
        return "?"


def position(status: dict[str, Any]) -> str:
    """How far a run is, for people."""
    return f" (step {status['step']} of {status['steps']})" if "step" in status else ""


def read_report(run: RunDir) -> dict[str, Any] | None:
    """report.json of a run that has one."""
    file = run.report / "report.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def figure(report: dict[str, Any] | None, path: tuple[str, ...]) -> float | None:
    """The number at `path` in a report."""
    value: Any = report
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def table(rows: list[list[str]]) -> None:
    """Columns as wide as their widest cell, two spaces between them."""
    if rows:
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
