"""`appliance models list|stage|import|verify|remove`: models and data sets of the hub, staged on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance import settings
from appliance.errors import ApplianceError, ModelError

if TYPE_CHECKING:
    from appliance.staging.fetching import Fetched
    from appliance.staging.folders import Staged

RECIPES = Path("configs")


@click.group()
def models() -> None:
    """Stage models and data sets from the hub, and bring them to a machine without one.

    What is staged lies in APPLIANCE_MODELS, and recipes find it there by its hub id. docs/air-gap.md is the guide.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, with every file and its sum.")
def list_models(as_json: bool) -> None:
    """What is staged: revision, kind, size, licence, when its sums were last checked, and the recipes that name it."""
    from appliance.staging.folders import staged

    place = settings.read().models
    found = staged(place)
    if as_json:
        for one in found:
            click.echo(json.dumps(as_dict(place, one)))
    elif not found:
        click.echo(f"nothing is staged in {place}")
    else:
        rows = [["name", "revision", "kind", "size", "licence", "verified", "recipes"]]
        table([*rows, *(row(place, one) for one in found)])


@models.command()
@click.argument("repositories", nargs=-1, required=True, metavar="REPO[@REVISION]...")
@click.option("--dataset", is_flag=True, help="They are data sets.")
@click.option("--out", type=click.Path(path_type=Path), metavar="BUNDLE.tar", help="Write a bundle to carry elsewhere.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="File with a token of the hub.")
def stage(repositories: tuple[str, ...], dataset: bool, out: Path | None, token_file: Path | None) -> None:
    """Download from the hub, at the commit that each revision means now: into a bundle, or without --out onto this machine.

    Taken are safetensors, configuration, tokenizer, card and licence; of data sets the files of rows. Pickles and code are
    never taken. A token comes from --token-file, HF_TOKEN, HF_TOKEN_PATH or `hf auth login`; it is written nowhere. A
    download that was interrupted goes on where it was when the same command is given again.
    """
    from appliance.staging.fetching import stage_bundle, stage_here
    from appliance.staging.hub import Hub
    from appliance.staging.names import parse

    asked = [parse(text) for text in repositories]
    hub = Hub(token=read_token(token_file))
    kind: Any = "dataset" if dataset else "model"
    try:
        if out is None:
            for one in stage_here(asked, kind, settings.read().models, hub):
                describe(one)
                click.echo(f"  in {one.folder}")
            return
        fetched, sha256 = stage_bundle(asked, kind, out, hub)
    except KeyboardInterrupt:
        click.echo("what was downloaded is kept: the same command goes on from there", err=True)
        raise
    for one in fetched:
        describe(one)
    click.echo(f"bundle: {out}, {size(out.stat().st_size)}")
    click.echo(f"its SHA-256: {sha256}")
    click.echo(f"carry it over, then: appliance models import {out.name} --sha256 {sha256}")


@models.command("import")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--sha256", metavar="HEX", help="Import only a bundle of this sum, which `stage` printed.")
def import_(bundle: Path, sha256: str | None) -> None:
    """Import BUNDLE: every size and sum is checked before anything of it can be seen; a bad one leaves nothing.

    Importing again changes nothing, but repairs what has been damaged since.
    """
    from appliance.staging.importing import import_bundle

    for one in import_bundle(bundle, settings.read().models, sha256=sha256):
        click.echo(f"{one.how}: {one.manifest} ({one.manifest.kind}, {size(one.manifest.total_bytes)})")
        click.echo(f"  in {one.folder}")


@models.command()
@click.argument("repository", required=False, metavar="[REPO[@REVISION]]")
def verify(repository: str | None) -> None:
    """Compute the sums of everything staged, or of one repository, again. Exit code 1 where something differs."""
    from appliance.staging import checking, folders
    from appliance.staging.names import parse

    place = settings.read().models
    found = folders.chosen(place, parse(repository)) if repository else folders.staged(place)
    if not found:
        click.echo(f"nothing is staged in {place}")
        return
    results = checking.verify(found)
    for result in results:
        name = folders.name_of(place, result.one)
        click.echo(f"{name}: {'whole' if not result.problems else 'damaged'}")
        for problem in result.problems:
            click.echo(f"  {problem}")
    if bad := [result for result in results if result.problems]:
        raise ModelError(
            f"{len(bad)} of {len(results)} staged in {place} damaged",
            "import the bundle again, which repairs it, or `appliance models remove` it",
        )


@models.command()
@click.argument("repository", metavar="REPO[@REVISION]")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(repository: str, yes: bool) -> None:
    """Delete a staged repository, or one revision of it, from this machine."""
    from appliance.staging import folders
    from appliance.staging.names import parse

    place = settings.read().models
    found = folders.chosen(place, parse(repository))
    for one in found:
        held = size(one.manifest.total_bytes) if one.manifest else "damaged"
        click.echo(f"{folders.name_of(place, one)} ({held}) in {one.folder}")
    if not yes:
        click.confirm("Delete?", abort=True)
    for one in found:
        folders.remove(place, one)
    click.echo("deleted")


def read_token(file: Path | None) -> str | None:
    """The token in a file. Raises ApplianceError, which does not quote it."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        raise ApplianceError(f"the token's file {file} cannot be read", "give a file that this user may read") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ApplianceError(f"the file {file} holds no token", "write the token into it, alone on its line")
    return token


def describe(one: "Fetched") -> None:
    """Prints what was staged."""
    manifest = one.manifest
    licence = manifest.licence or "not stated"
    click.echo(f"{manifest.repo}@{manifest.commit} ({manifest.kind}, {size(manifest.total_bytes)}, licence: {licence})")
    for note in one.notes:
        click.echo(f"  note: {note}")


def row(place: Path, one: "Staged") -> list[str]:
    """One line of the list."""
    from appliance.staging.checking import recipes_naming
    from appliance.staging.folders import name_of

    name, _, commit = name_of(place, one).partition("@")
    manifest = one.manifest
    if manifest is None:
        return [name, commit, "damaged", "", "", "", ""]
    revision = f"{commit} ({', '.join(manifest.revisions)})"
    verified = f"{manifest.verified_at:%Y-%m-%d %H:%M}" if manifest.verified_at else "no"
    recipes = ", ".join(recipes_naming(manifest.repo, RECIPES))
    licence = manifest.licence or "not stated"
    return [name, revision, manifest.kind, size(manifest.total_bytes), licence, verified, recipes]


def as_dict(place: Path, one: "Staged") -> dict[str, Any]:
    """The same and all else that the manifest says, for programs."""
    from appliance.staging.folders import name_of

    if one.manifest is None:
        return {"name": name_of(place, one), "folder": str(one.folder), "problem": "its manifest cannot be read"}
    return {"folder": str(one.folder), **one.manifest.model_dump(mode="json")}


def size(size_bytes: float) -> str:
    """1.3 GB, 12 MB, 40 kB."""
    from appliance.store.files import size_text

    return size_text(size_bytes)


def table(rows: list[list[str]]) -> None:
    """Columns as wide as their widest cell, two spaces between them."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    for line in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
