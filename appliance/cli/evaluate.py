"""`appliance evaluate`: a finished run's before/after comparison again, with other prompts or more samples."""

from pathlib import Path

import click

from appliance.store import rundir


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--prompts", type=click.Path(path_type=Path), help="File of prompts. Default: the run's own held-out ones."
)
@click.option(
    "--samples", type=click.IntRange(min=1), help="Answers per prompt, before and after. Default: the config's."
)
def evaluate(run_dir: Path, prompts: Path | None, samples: int | None) -> None:
    """Compare a PPO run's result with its starting model on held-out prompts, in a new folder inside the run's."""
    run = rundir.open_existing(run_dir)
    from appliance.evaluate.report import summary_lines
    from appliance.stages.evaluation import evaluate_again

    report, folder = evaluate_again(run, prompts_file=str(prompts) if prompts else None, samples=samples)
    for line in summary_lines(report):
        click.echo(line)
    click.echo(f"report: {folder / 'report.html'}")
