"""`appliance preflight`: what is wrong with this machine, and the command that mends it."""

import json
import shutil
import sys
import textwrap
import time
from pathlib import Path

import click

from appliance import settings
from appliance.errors import ApplianceError
from appliance.preflight import facts, render
from appliance.preflight import run as checks_run
from appliance.preflight.check import LEVELS
from appliance.preflight.host import Host
from appliance.preflight.need import Need


def _ids(_context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    ids = tuple(part.strip() for part in (value or "").split(",") if part.strip())
    if value is not None and not ids and option.name == "only":  # an unset variable of a script must not mean all
        raise click.BadParameter("it names no check")
    return ids


@click.group(invoke_without_command=True)
@click.option("--stage", type=click.Choice(["host", "container", "auto"]), default="auto", show_default=True)
@click.option(
    "--level",
    type=click.Choice(["quick", "full", "deep"]),
    default="quick",
    show_default=True,
    help="At most 5 s, 60 s, 5 min. full and deep load the GPU.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON; its schema is shipped with the package.")
@click.option("--only", callback=_ids, metavar="ID,...", help="Just these checks, whatever their level.")
@click.option("--skip", callback=_ids, metavar="ID,...", help="Not these checks; the report says so.")
@click.option(
    "--fail-on", type=click.Choice(["fail", "warn"]), default="fail", show_default=True, help="Exit with 1 on."
)
@click.option("--config", type=click.Path(path_type=Path), help="A recipe: ask for the memory and disk that it needs.")
@click.option("--root", type=click.Path(path_type=Path), default="/", help="Where the machine's /proc, /sys, /etc are.")
@click.option("--dump-facts", type=click.Path(path_type=Path), metavar="FILE", help="Also keep what was seen in FILE.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge FILE's facts, stage and needs, not this machine's.",
)
@click.option("--nagios", is_flag=True, help="One line, and exit with 0 OK, 1 warning, 2 critical, 3 unknown.")
@click.option("--no-color", is_flag=True, help="Plain text on a terminal too. NO_COLOR does the same.")
@click.pass_context
def preflight(
    context: click.Context,
    stage: str,
    level: str,
    as_json: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    fail_on: str,
    config: Path | None,
    root: Path,
    dump_facts: Path | None,
    replay: Path | None,
    nagios: bool,
    no_color: bool,
) -> None:
    """Look at the VM, the driver, the GPU and the container engine, and say what to mend and how.

    Nothing is changed on the machine. Exits with 0 when nothing failed, 1 when something did, 2 when preflight itself
    could not run.
    """
    if context.invoked_subcommand:
        return
    try:
        report = _report(stage, level, only, skip, config, root, replay)
        if dump_facts:
            facts.dump(report, dump_facts)
    except ApplianceError as error:
        click.echo(f"error: {error.what}\n  fix: {error.fix}", err=True)
        context.exit(3 if nagios else 2)
    if nagios:
        line, code = render.nagios(report)
        click.echo(line)
        context.exit(code)
    if as_json:
        click.echo(json.dumps(render.as_json(report), indent=2))
    else:
        terminal = sys.stdout.isatty()
        width = max(72, min(120, shutil.get_terminal_size().columns)) if terminal else 80
        color = terminal and not no_color and not settings.no_color()
        for line in render.table(report, width=width, color=color):
            click.echo(line, color=color)
    context.exit(report.exit_code(fail_on))


def _report(
    stage: str,
    level: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    config: Path | None,
    root: Path,
    replay: Path | None,
) -> checks_run.Report:
    """The report on this machine, or on the facts of a file (whose stage and needs it then takes)."""
    begun = time.monotonic()
    source: checks_run.Source
    if replay:
        values = facts.load(replay)
        stage, level, source = values["stage"], values["level"], facts.Replay(values)
        need = Need.from_fact(values["need"])
        checks = checks_run.all_checks()
        only = checks_run.known(only, checks) or tuple(
            id for id in values["checks"] if id in checks and checks[id].scope in (stage, "both")
        )
        without += tuple(id for id in values["left_out"] if id in checks and id not in without)
        if not only:
            raise ApplianceError(
                f"{replay} has facts of no check that exists", "dump the facts again with this version"
            )
        chosen = checks_run.select(stage, level, only, without)
    else:
        if not root.is_dir():
            raise ApplianceError(f"--root {root} is no folder", "leave it out to look at this machine")
        host = Host(root)
        stage = ("container" if host.in_container() else "host") if stage == "auto" else stage
        need = checks_run.need_for(host, config)
        chosen = checks_run.select(stage, level, only, without)
        # a check asked for by name has the time of its own level
        level = max((level, *(check.level for check in chosen)), key=LEVELS.index) if only else level
        source = checks_run.Live(host, level)
    outcomes = checks_run.examine(chosen, need, source)
    return checks_run.Report(stage, level, need, outcomes, without, time.monotonic() - begun)


@preflight.command("list")
def list_checks() -> None:
    """Every check: id, stage, level and title."""
    for check in checks_run.all_checks().values():
        click.echo(f"{check.id:<22} {check.scope:<10} {check.level:<6} {check.title}")


@preflight.command()
@click.argument("id")
def explain(id: str) -> None:
    """What check ID looks at, why it matters and what usually is the matter."""
    checks = checks_run.all_checks()
    try:
        check = checks[checks_run.known((id,), checks)[0]]
    except ApplianceError as error:
        click.echo(f"error: {error.what}\n  fix: {error.fix}", err=True)
        sys.exit(2)
    click.echo(f"{check.id}: {check.title}")
    click.echo(f"section {check.section}; stage {check.scope}; level {check.level}")
    click.echo("a failure stops training" if check.blocking else "it does not stop training by itself")
    if check.needs:
        click.echo(f"asked only when these pass: {', '.join(check.needs)}")
    click.echo()
    click.echo(textwrap.fill(" ".join(check.explain.split()), 80))
