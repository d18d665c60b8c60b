"""`appliance train sft|reward|ppo`."""

from pathlib import Path

import click

from appliance import parts
from appliance.config import absolute, load
from appliance.config.load import STAGES
from appliance.store import rundir


@click.command()
@click.argument("stage", type=click.Choice(list(STAGES)))
@click.option("--config", type=click.Path(path_type=Path), help="YAML file; with --resume the run's own by default.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Replace one setting; repeatable.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Folder of the run. Default: a new one, by the config's name."
)
@click.option(
    "--resume", is_flag=True, help="Go on from the newest checkpoint in --run-dir, or begin if there is none."
)
def train(stage: str, config: Path | None, overrides: tuple[str, ...], run_dir: Path | None, resume: bool) -> None:
    """Train one stage: sft (imitate texts), reward (learn from preferences), ppo (improve against a reward)."""
    if resume and run_dir is None:
        raise click.UsageError("--resume needs --run-dir: which run is to go on?")
    if config is None:
        if not resume or run_dir is None:
            raise click.UsageError("--config is needed (or --resume with --run-dir).")
        chosen = load(rundir.open_existing(run_dir).path / "config.yaml", overrides, stage=stage)
    else:
        chosen = load(config, overrides, stage=stage)
    chosen = absolute(chosen)
    from appliance.stages.processes import follow, is_first, world
    from appliance.stages.session import open_run

    if world() > 1 and (stage == "ppo" or run_dir is None):
        raise click.UsageError(
            "PPO trains in one process; several are for sft and reward."
            if stage == "ppo"
            else "Several processes need --run-dir: which run do they train?"
        )
    if run_dir is not None and not is_first():
        follow(lambda run: parts.load("stages", stage).run(chosen, run, resume=resume), run_dir)
        return
    run = open_run(chosen, run_dir, resume=resume)
    click.echo(f"run folder: {run.path}", err=True)
    result = parts.load("stages", stage).run(chosen, run, resume=resume)
    for line in LINES[stage](result):
        click.echo(line)
    click.echo(f"model: {run.model}")
    if stage in ("reward", "ppo"):
        click.echo(f"report: {run.report / 'report.html'}")


def sft_lines(result: dict) -> list[str]:
    """What supervised fine-tuning came to."""
    line = f"trained on {result['texts']} texts in {result['steps']} steps, {result['seconds']:.0f} s"
    if result["held_out_loss"] is None:
        return [line]
    return [
        line,
        f"held-out loss {result['held_out_loss']:.3f} nats per token (perplexity {result['held_out_perplexity']:.1f}) "
        f"on {result['held_out_texts']} texts",
    ]


def reward_lines(result: dict) -> list[str]:
    """What reward-model training came to, and whether PPO should trust it."""
    low, high = result["held_out_accuracy_ci95"]
    ties = f" and {result['training_ties']} ties" if result["training_ties"] else ""
    gate = result["gate"]
    return [
        f"trained on {result['pairs']} pairs{ties} in {result['steps']} steps, {result['seconds']:.0f} s",
        f"held-out accuracy {result['held_out_accuracy']:.1%} [{low:.1%}, {high:.1%}] on {result['held_out_pairs']} "
        f"pairs; chance 50.0%, always the longer {result['longer_wins_accuracy']:.1%}",
        "quality gate: passed"
        if gate["passed"]
        else f"quality gate: not passed, so PPO will warn before it uses this model: {'; '.join(gate['reasons'])}",
    ]


def ppo_lines(result: dict) -> list[str]:
    """The report in five lines."""
    from appliance.evaluate.report import summary_lines

    return summary_lines(result)


LINES = {"sft": sft_lines, "reward": reward_lines, "ppo": ppo_lines}
