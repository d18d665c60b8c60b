"""`appliance validate`: are these configs right? Answers without loading a model, unless a dry run is asked for."""

import json
from pathlib import Path

import click

from appliance.config import load
from appliance.config.base import StageConfig
from appliance.errors import ApplianceError, ConfigError


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Also load a PPO config's models, and write and score two answers.")
@click.option("--json", "as_json", is_flag=True, help="The dry run's findings as JSON, one object a line.")
def validate(configs: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Check config files: every key, value, range and reward source. Exit code 1 if any is wrong."""
    wrong = 0
    for path in configs:
        try:
            config = load(path)
        except ApplianceError as error:
            wrong += 1
            click.echo(f"{path}: wrong\n  {error.what.replace(chr(10), chr(10) + '  ')}\n  fix: {error.fix}", err=True)
        else:
            click.echo(f"{path}: right ({config.model_dump()['stage']})", err=as_json)
            wrong += not tried(config, as_json=as_json) if dry_run else 0
    if wrong:
        raise click.exceptions.Exit(1)


def tried(config: StageConfig, *, as_json: bool) -> bool:
    """Whether the dry run of a PPO config went well; what it finds is printed as it is found. Raises ConfigError."""
    from appliance.config import PpoConfig
    from appliance.stages.dry_run import dry_run

    if not isinstance(config, PpoConfig):
        raise ConfigError("--dry-run tries PPO configs", "leave it out for other stages")
    right = True
    for found in dry_run(config):
        right &= found["ok"]
        if as_json:
            click.echo(json.dumps(found, ensure_ascii=False))
            continue
        click.echo(f"  {'ok' if found['ok'] else 'wrong'}: {found['said']}" + f"\n  fix: {found['fix']}" * (not right))
        for answer in found.get("answers", ()):
            click.echo(f"    {answer['score']}  {answer['prompt']!r} -> {answer['response']!r}")
    return right
