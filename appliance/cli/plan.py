"""`appliance plan`: how much memory a config takes, before anything is loaded."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.config import load

if TYPE_CHECKING:
    from appliance.config.base import StageConfig
    from appliance.plan.parts import Plan


@click.command()
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The recipe.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. batch.microbatch=8."
)
@click.option(
    "--gpu-gib",
    type=click.FloatRange(min=0, min_open=True),
    help="Plan for a GPU of this size, e.g. 40, not this machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def plan(path: Path, overrides: tuple[str, ...], gpu_gib: float | None, as_json: bool) -> None:
    """Weights, gradients, optimizer, cache, activations and logits in GiB for each phase, and whether they fit.

    Nothing is loaded. Exit code 0 when it fits or is unknown, 1 when it does not fit.
    """
    from appliance.plan.make import plan as made_of

    config = load(path, overrides)
    cuda, device_gib = device_of(config, gpu_gib)
    made = made_of(config, device_gib=device_gib, cuda=cuda)
    if as_json:
        click.echo(json.dumps(as_dict(made), indent=2))
    else:
        for line in lines(made):
            click.echo(line)
    if made.fits is False:
        raise click.exceptions.Exit(1)


def device_of(config: "StageConfig", gpu_gib: float | None) -> tuple[bool, float | None]:
    """Whether to plan for a GPU, and the size of it or of this machine's memory."""
    if gpu_gib is not None:
        return True, gpu_gib
    if config.device != "cpu":
        found = first_gpu_gib()
        if found is not None or config.device == "cuda":
            return True, found
    return False, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def first_gpu_gib() -> float | None:
    """The memory of the first GPU that the driver names, or None."""
    from appliance.preflight import nvml

    with nvml.session() as opened:
        found = [] if opened["error"] else nvml.devices(("memory_bytes",))
    memory = found[0]["memory_bytes"] if found else None
    return None if memory is None or nvml.is_error(memory) else memory["total"] / 2**30


def as_dict(made: "Plan") -> dict[str, Any]:
    """The plan as JSON has it: GiB, and what follows from them."""
    from appliance.plan.make import fits_line

    values = asdict(made)
    values["phases"] = [{"name": phase.name, "gib": phase.gib, "total_gib": phase.total_gib} for phase in made.phases]
    values["models"] = [dict(zip(("model", "source", "weights"), one, strict=True)) for one in made.models]
    peak = made.peak.name if made.peak is not None else None
    return values | {"peak": peak, "peak_gib": made.peak_gib, "fits": made.fits, "verdict": fits_line(made)}


def lines(made: "Plan") -> list[str]:
    """The models, a table of the phases, the verdict, and what to set where it does not fit; 100 columns at most."""
    from appliance.plan.make import fits_line
    from appliance.plan.parts import PARTS

    shown = []
    for model, source, weights in made.models:
        shown += _wrapped(f"{model}: {f'{weights:,} weights; ' if weights else ''}{source}")
    if made.trainable:
        share = 100 * made.trainable / made.everything
        shown.append(f"trainable: {made.trainable:,} of {made.everything:,} ({share:.2f} %)")
    if made.phases:
        shown += ["", f"{'GiB':<9}" + "".join(f"{part:>12}" for part in PARTS) + f"{'all':>7}"]
    for phase in made.phases:
        cells = "".join(f"{phase.gib[part]:>12.2f}" for part in PARTS)
        shown.append(f"{phase.name:<9}{cells}{phase.total_gib:>7.1f}")
    shown.append("")
    for note in made.notes:
        shown += _wrapped(f"note: {note}")
    shown += _wrapped(fits_line(made))
    return shown + advice(made)


def advice(made: "Plan") -> list[str]:
    """What to set: the largest micro-batch that fits, or where even that does not help, what takes too much."""
    if made.peak is None or made.device_gib is None:
        return []
    largest = made.largest_microbatch
    if largest is None:
        return ["  not even one sequence at a time fits: use a smaller model, lora, policy.quantize, or a larger GPU"]
    if made.fits:
        return [f"  the largest micro-batch that fits: {made.key}={largest}"]
    if largest < made.microbatch:
        found = [f"  use: --set {made.key}={largest}"]
        others = [phase.name for phase in made.phases if phase.name != "update" and phase.total_gib > made.device_gib]
        return found + ([f"  {', '.join(others)} would still not fit"] if others else [])
    return [
        f"  a smaller {made.key} does not help: {made.peak.name} takes the most; use a smaller model or a larger GPU"
    ]


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 98, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
