"""`appliance config`: configs of other frameworks made ours."""

from pathlib import Path

import click

from appliance import parts
from appliance.errors import ConfigError

FROM = click.Choice(parts.names("config/importers"))


@click.group()
def config() -> None:
    """Make configs of TRL, trlX and NeMo ours."""


@config.command("import")
@click.option("--from", "framework", type=FROM, required=True, help="Whose config it is.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the config here, a new file.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def import_config(framework: str, out: Path | None, files: tuple[Path, ...]) -> None:
    """Turn a config of another framework (YAML or JSON) into ours, and list what has no counterpart.

    Each line says which setting it is from. Of NeMo, give the actor's file, or the actor's and the critic's. Secrets
    are never copied. `appliance validate` checks the result, `appliance config keys` lists what is understood.
    """
    from appliance.config.importers import import_files
    from appliance.config.importers._mapping import CHOOSE, left_lines, to_text

    found = import_files(framework, list(files))
    names = ", ".join(file.name for file in files)
    text = to_text(found, origin=names, command=f"appliance config import --from {framework}")
    if out is None:
        click.echo(text, nl=False)
    else:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ConfigError(f"{out} exists already", "give --out a new name, or move the old file away") from None
        except OSError as error:
            raise ConfigError(
                f"{out} cannot be written: {error.strerror}", "give --out a place you may write"
            ) from None
    click.echo(f"{len(found.values)} settings taken over from {found.framework}; {len(found.left)} were not:", err=True)
    for line in left_lines(found):
        click.echo(f"  {line}", err=True)
    for key, origin in found.origins.items():
        if origin.startswith(CHOOSE):
            click.echo(f"still to write: {key} ({origin.removeprefix(CHOOSE + ': ')})", err=True)


@config.command()
@click.argument("framework", type=FROM)
def keys(framework: str) -> None:
    """Every setting of a framework and ours for it, as a Markdown table."""
    from appliance.config.importers._mapping import table

    click.echo("\n\n".join(table(kind) for kind in parts.load("config/importers", framework).FRAMEWORKS))
