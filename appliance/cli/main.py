"""`appliance`: the entry point. Exit codes: 0 done, 1 the run or its input failed, 2 wrong usage, 130 stopped by the user."""

import os
import sys
from pathlib import Path

import click

from appliance import __version__, parts, settings
from appliance.cli.runs import stage_of
from appliance.errors import ApplianceError, StoppedByUser
from appliance.store.rundir import RunDir

STOPPED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="appliance")
def commands() -> None:
    """Reinforcement learning from human feedback on one machine.

    `appliance demo` shows all three steps in a few minutes on a CPU. Recipes are in configs/; a run is a folder of
    plain files below APPLIANCE_DATA (default: appliance-data).
    """


for _name in parts.names("cli"):
    if _name != "main":  # every other file defines the command of its name
        commands.add_command(getattr(parts.load("cli", _name), _name))


def quiet_libraries(environ: dict[str, str], *, offline: bool) -> None:
    """Settings of the libraries below, made before they are imported: no telemetry, no advice, and offline means offline."""
    environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environ["DO_NOT_TRACK"] = "1"
    environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if offline:
        environ["HF_HUB_OFFLINE"] = environ["HF_DATASETS_OFFLINE"] = "1"


def run_of(checkpoint: str) -> Path:
    """The run folder that a checkpoint is in."""
    return Path(checkpoint).parent.parent


def main() -> None:
    """Run a command and turn every way it can end into an exit code and, where it failed, a message with its fix."""
    try:
        quiet_libraries(os.environ, offline=settings.read().offline)  # type: ignore[arg-type]
        code = commands.main(standalone_mode=False)
    except ApplianceError as error:
        click.echo(f"error: {error.what}\n  fix: {error.fix}", err=True)
        code = 1
    except StoppedByUser as stopped:
        where, how = "", "--resume"
        if stopped.checkpoint:
            run = run_of(stopped.checkpoint)
            where = f" Its checkpoint: {stopped.checkpoint}"
            how = f"appliance train {stage_of(RunDir(run))} --run-dir {run} --resume"
        click.echo(f"stopped.{where}\n  go on with: {how}", err=True)
        code = STOPPED
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped at once; the last checkpoint is what is left", err=True)
        code = STOPPED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:  # `appliance runs list | head`
        sys.stdout = None  # type: ignore[assignment]
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
