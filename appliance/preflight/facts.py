"""Facts kept in a file: what the probes of one machine brought, judged again anywhere, with the same verdict."""

import json
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.errors import ApplianceError
from appliance.preflight.check import LEVELS, Check
from appliance.preflight.need import Need
from appliance.preflight.run import Observation, Report

KIND, VERSION = "appliance-preflight-facts", 1


def dump(report: Report, file: Path) -> None:
    """Write what was seen. The file holds host names of mounts, processes and GPU serials: look before you send it."""
    values = {
        "kind": KIND,
        "version": VERSION,
        "appliance": __version__,
        "stage": report.stage,
        "level": report.level,
        "left_out": list(report.left_out),
        "need": report.need.fact(),
        "checks": [outcome.check.id for outcome in report.outcomes],
        "facts": {
            outcome.check.id: {
                "fact": outcome.observation.fact,
                "problem": outcome.observation.problem,
                "duration_ms": outcome.observation.duration_ms,
            }
            for outcome in report.outcomes
            if outcome.observation is not None
        },
    }
    try:
        file.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise ApplianceError(
            f"{file} cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from None


def load(file: Path) -> dict[str, Any]:
    """What `dump` wrote. Raises ApplianceError for a file that is absent, cut off or something else."""
    again = "write it again with `appliance preflight --dump-facts FILE`"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ApplianceError(f"{file} cannot be read: {error.strerror}", again) from None
    except ValueError as error:  # JSON or UTF-8
        raise ApplianceError(f"{file} is not whole JSON: {error}", again) from None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ApplianceError(f"{file} holds no preflight facts", again)
    if values.get("version") != VERSION:
        raise ApplianceError(
            f"{file} has version {values.get('version')!r} of the facts; this is version {VERSION}", again
        )
    facts = values.get("facts")
    whole = isinstance(facts, dict) and all(map(_is_entry, facts.values()))
    level, stage = values.get("level"), values.get("stage")
    for ids in (values.get("checks"), values.get("left_out")):
        whole = whole and isinstance(ids, list) and all(isinstance(id, str) for id in ids)
    if not whole or level not in LEVELS or stage not in ("host", "container"):
        raise ApplianceError(f"{file} lacks parts of preflight's facts", again)
    Need.from_fact(values.get("need"))
    return values


def _is_entry(value: object) -> bool:
    """Whether it is what `dump` writes of one check."""
    if not isinstance(value, dict) or set(value) != {"fact", "problem", "duration_ms"}:
        return False
    return isinstance(value["problem"], str | None) and type(value["duration_ms"]) is int


class Replay:
    """The observations of a loaded file, as a source for `run.examine`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.facts = values["facts"]
        self.asked: list[str] = []

    def start(self, check: Check) -> None:
        """Ask for what the file holds on a check."""
        self.asked.append(check.id)

    def next(self) -> tuple[str, Observation | None]:
        """The oldest that was asked for."""
        id = self.asked.pop(0)
        return id, Observation(**self.facts[id]) if id in self.facts else None
