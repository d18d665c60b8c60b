"""`appliance backup FILE`: the data folder and the store as one file, made while everything goes on."""

from pathlib import Path

import click

from appliance import settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(("checkpoints", "models")),
    help="Leave out checkpoints (unfinished runs cannot be continued then), or the starting models in models/.",
)
def backup(file: Path, force: bool, without: tuple[str, ...]) -> None:
    """Write runs, uploads, users, votes and settings of runs to FILE (.tar, or .tar.gz to compress).

    Safe while the page, the worker and trainings run. Sign-ins, API tokens, invitations and key files are left out;
    passwords are in it as hashes: keep FILE where only you can read it. `appliance restore` puts it back.
    """
    from appliance.store import backup as backups
    from appliance.store.files import size_text

    made = backups.make(settings.read(), file, without=without, force=force)
    click.echo(f"{made.file}: {made.files} files, {made.rows} rows of the store, {size_text(made.size_bytes)}")
    for path in made.left_out:
        click.echo(f"left out: {path}", err=True)
