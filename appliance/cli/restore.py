"""`appliance restore FILE`: a backup put back, after all of it was checked."""

import time
from pathlib import Path

import click

from appliance import settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only read FILE and check it; replace nothing.")
def restore(file: Path, check: bool) -> None:
    """Replace the data folder and the store by what `appliance backup` wrote to FILE.

    Stop `appliance serve` and `appliance worker` first. FILE is checked whole before anything is replaced, and the data
    that is there now is kept beside it. Everybody signs in again; API tokens and invitations are made anew.
    """
    from appliance.store import restore as restoring

    found = restoring.check(file) if check else restoring.restore(file, settings.read())
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.made))
    if check:
        click.echo(f"{file} is whole: {found.files} files, made {when} by appliance {found.appliance}")
        return
    click.echo(f"restored {found.files} files and {sum(found.rows.values())} rows of {when}")
    if found.aside is not None:
        click.echo(f"the data from before: {found.aside} (delete it when you do not need it)")
    click.echo("everybody signs in again; make API tokens and invitations anew")
