"""`appliance worker`: takes queued runs and leads them to their end."""

import click

from appliance import settings


@click.command()
@click.option("--device", help="cpu, cuda:0, cuda:1, ... Default: the first GPU where there is one, else cpu.")
@click.option("--once", is_flag=True, help="End when nothing waits any more.")
def worker(device: str | None, once: bool) -> None:
    """Run what was queued on the page, one run at a time on one device.

    A run outlives this process: if it is killed, the next worker takes the run over. SIGTERM and Ctrl-C write a
    checkpoint first, and the run goes on when a worker is back.
    """
    from appliance.store.db import open_store
    from appliance.worker import device as devices
    from appliance.worker.loop import Worker, listen

    chosen, environment = devices.choose(device), settings.read()
    store = open_store(environment)
    with devices.owned(store.data, chosen) as owned:
        made = Worker(store, owned)
        listen(made)
        click.echo(f"worker {chosen}: ready, data in {store.data}", err=True)
        made.run(once=once)
    store.close()
