"""`appliance up`: the page and a worker together, for a machine without containers."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the page; 0.0.0.0: from anywhere.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port of the page.")
@click.option("--device", help="Of the worker: cpu, cuda:0, ... Default: the first GPU where there is one, else cpu.")
def up(host: str, port: int, device: str | None) -> None:
    """Start `appliance serve` and `appliance worker`, and start one again that dies. Ctrl-C ends both.

    A training that is at work writes a checkpoint first, and goes on with the next `appliance up`.
    """
    import sys

    from appliance.worker.keeping import Part, keep_up

    program = [sys.executable, "-m", "appliance"]
    chosen = ["--device", device] if device else []
    keep_up(
        [
            Part("page", [*program, "serve", "--host", host, "--port", str(port)]),
            Part("worker", [*program, "worker", *chosen]),
        ]
    )
