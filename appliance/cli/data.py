"""`appliance data`: what a file of texts holds, and the same texts in another layout."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from appliance import parts
from appliance.data.check import Checked
from appliance.data.check import check as look
from appliance.data.check_kinds import KINDS as KNOWN
from appliance.data.convert import TARGETS as KNOWN_TARGETS
from appliance.data.convert import convert as write
from appliance.errors import DataError

TARGETS = click.Choice(KNOWN_TARGETS)
KINDS = click.Choice(KNOWN)
FORMATS = click.Choice(["auto", *parts.names("data/formats")])
SHOWN = 160  # characters of an example on the screen


@click.group()
def data() -> None:
    """Look at files of prompts, demonstrations and preferences, and convert them."""


@data.command()
@click.argument("file")
@click.option("--kind", type=KINDS, help="What the file is for. Default: guessed, and said.")
@click.option("--column", metavar="NAME", help="Column that holds the texts. Default: guessed, and said.")
@click.option("--prompt-column", metavar="NAME", help="Of demonstrations: the column with the prompts.")
@click.option("--format", "format_", type=FORMATS, default="auto", help="Layout of preferences. Default: guessed.")
@click.option("--template", metavar="TEXT", help=r'Prompt with columns in braces: "Summarize: {dialogue}\nSummary:".')
@click.option("--split", default="train", show_default=True, help="Split of a folder.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON, with the lines of each problem.")
def check(
    file: str,
    kind: str | None,
    column: str | None,
    prompt_column: str | None,
    format_: str,
    template: str | None,
    split: str,
    as_json: bool,
) -> None:
    """Say what is in FILE (or a folder), what is wrong with it, and which config lines use it. Exit code 1 if unusable."""
    found = look(
        file, kind, column, prompt_column=prompt_column, format=format_, template=unescaped(template), split=split
    )
    if as_json:
        click.echo(json.dumps(asdict(found) | {"usable": found.usable}, ensure_ascii=False, indent=2))
    else:
        describe(found)
    if not found.usable:
        raise click.exceptions.Exit(1)


@data.command()
@click.argument("file")
@click.option("--to", "target", type=TARGETS, required=True, help="Layout of preferences, or kind of file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write it.")
@click.option("--format", "format_", type=FORMATS, default="auto", help="Layout of FILE. Default: guessed.")
@click.option("--column", metavar="NAME", help="Column that goes into a .txt.")
@click.option("--template", metavar="TEXT", help="Prompt with columns in braces, {prompt} being the one that is there.")
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
def convert(
    file: str, target: str, out: Path, format_: str, column: str | None, template: str | None, force: bool
) -> None:
    """Write FILE in another layout: preferences as pairs, pairs-chat, hh, nemo or ranked; any rows as another kind of file."""
    done = write(file, target, out, force=force, column=column, format=format_, template=unescaped(template))
    for note in done.notes:
        click.echo(f"  {note}")
    click.echo(f"{done.rows:,} rows written to {out}")


def unescaped(template: str | None) -> str | None:
    r"""The template with \n and \t as a shell passes them made a line end and a tab."""
    return None if template is None else template.replace("\\n", "\n").replace("\\t", "\t")


def describe(found: Checked) -> None:
    """Prints what was understood."""
    if found.rows:
        encoding = f", {found.encoding}" if found.encoding else ""
        click.echo(f"{found.source}: {found.rows:,} rows{encoding}")
    for note in found.notes:
        click.echo(f"  {note}")
    if found.kind is not None:
        click.echo(f"kind: {found.kind}" + (f" ({found.kind_why})" if found.kind_why else ""))
    if found.format is not None:
        click.echo(f"format: {found.format}" + (f" ({found.format_why})" if found.format_why else ""))
    if found.column is not None:
        click.echo(f"column: {found.column}" + (f" ({found.column_why})" if found.column_why else ""))
    if found.columns:
        click.echo("columns:")
        for column in found.columns:
            click.echo(f"  {column.name}: {column.kind}, {column.filled:.1%} filled")
    if found.lengths:
        click.echo("length in characters (min, median, 95 %, max):")
        for one in found.lengths:
            click.echo(f"  {one.of}: {one.minimum:,}, {one.median:,}, {one.p95:,}, {one.maximum:,}")
    if found.problems:
        click.echo("problems:")
    for problem in found.problems:
        more = ", ..." if problem.count > len(problem.places) else ""
        click.echo(f"  {problem.what}: {problem.count:,} ({', '.join(problem.places)}{more})")
    for number, example in enumerate(found.examples, start=1):
        click.echo(f"example {number}:")
        for key, text in example.items():
            shown = json.dumps(text, ensure_ascii=False)
            click.echo(f"  {key}: {shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + '...'}")
    if found.error is not None:
        raise DataError(*found.error)
    if found.config:
        click.echo(f"{found.usable_rows:,} usable; in a config:\n{found.config}", nl=False)
