"""How a run is called; its folder keeps the name that it was made with."""

from __future__ import annotations

from sqlalchemy import select

from appliance.errors import ApplianceError, ConfigError
from appliance.store.db import Store
from appliance.store.runs import NAME
from appliance.store.schema import Run


def rename(store: Store, run_id: int, name: str) -> str:
    """Give the run another name; the one it has now. Raises ApplianceError for one that cannot be, or that is taken."""
    wanted = name.strip()
    if not NAME.match(wanted):
        raise ConfigError(
            f"the name {wanted[:80]!r} cannot be used", "use letters, digits, . _ - and at most 64 of them, no spaces"
        )
    with store.session() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise ApplianceError(f"there is no run number {run_id}", "choose one from the list of runs")
        if session.scalar(select(Run.id).where(Run.name == wanted, Run.id != run_id)) is not None:
            raise ConfigError(f"another run is called {wanted}", "choose another name")
        run.name = wanted
    return wanted
