"""`appliance gpu`: the values of nvidia-smi, live, from the same reader as the page's status strip."""

import time

import click

from appliance.errors import ApplianceError
from appliance.preflight import nvml


@click.command()
@click.option("--once", is_flag=True, help="Print one reading and end.")
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds between two.")
def gpu(once: bool, interval: float) -> None:
    """Show every GPU's temperature, power, memory, load and modes until Ctrl-C."""
    with nvml.session() as opened:
        if opened["error"]:
            raise ApplianceError(
                f"no GPU can be read: {opened['name']}",
                "`appliance preflight` says what is missing and how to get it",
            )
        while True:
            lines = reading()
            live = not once and click.get_text_stream("stdout").isatty()
            if live:
                click.clear()
            for line in lines:
                click.echo(line)
            if once:
                return
            try:
                time.sleep(interval)
            except KeyboardInterrupt:
                return


def reading() -> list[str]:
    """A small table for every GPU, names left and values right; inside an NVML session."""
    lines = []
    for device in nvml.devices(nvml.LIVE):  # none, too, where the driver does not even tell their number
        lines += [f"{name:<18} {value}" for name, value in nvml.status(device).items()] + [""]
    return lines[:-1] if lines else ["the driver names no GPU: `appliance preflight` says why"]
