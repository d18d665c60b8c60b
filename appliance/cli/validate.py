"""`appliance validate`: are these configs right? Answers without loading a model."""

from pathlib import Path

import click

from appliance.config import load
from appliance.errors import ApplianceError


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate(configs: tuple[Path, ...]) -> None:
    """Check config files: every key, value, range and reward source. Exit code 1 if any is wrong."""
    wrong = 0
    for path in configs:
        try:
            config = load(path)
        except ApplianceError as error:
            wrong += 1
            click.echo(f"{path}: wrong\n  {error.what.replace(chr(10), chr(10) + '  ')}\n  fix: {error.fix}", err=True)
        else:
            click.echo(f"{path}: right ({config.model_dump()['stage']})")
    if wrong:
        raise click.exceptions.Exit(1)
