"""`appliance demo`: the three steps of RLHF from nothing, on a CPU in a few minutes."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="New folder for everything. Default: demo in APPLIANCE_DATA."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seeds data, models and training."
)
@click.option(
    "--models-only",
    is_flag=True,
    help="Stop before PPO, in OUT (default: example in APPLIANCE_DATA); again: what is finished is kept.",
)
def demo(out: Path | None, seed: int, models_only: bool) -> None:
    """Write film reviews, learn to write them, learn which are kinder, improve by PPO, and report whether it worked.

    Nothing is downloaded. Ends with five lines and report.html.
    """
    from appliance.stages import demo as stages

    if models_only:
        made = stages.models_only(out, seed)
        click.echo(f"starting model: {made / 'sft' / 'model'}\nreward model: {made / 'reward'}")
        return
    folder, lines = stages.run(out, seed)
    click.echo()
    for line in lines:
        click.echo(line)
    click.echo(f"report: {folder / 'report.html'} (and report.json)")
