"""Learning curves: held-out reward and KL over iterations, of every contender by the same evaluation."""

import sys
import tempfile
from typing import Any

from contenders import CONTENDERS, Child, ContenderFailed
from table import markdown

LEARNING_RATES = (1e-4, 1e-3)
POINTS = 12
DEFAULT = ("ours", "trl-0.11-batched")

Point = dict[str, Any]
"""iteration, and what the evaluator measured there: eval_score_mean, eval_kl, eval_distinct_2; or `broken`."""


def curves(
    names: list[str], task: list[str], *, steps: int, learning_rates: list[float], python: dict[str, str]
) -> list[dict[str, Any]]:
    """One record per learning rate and contender: its points, the alarms that sounded, and how it failed, if it did."""
    evaluator = Child(python["ours"], "held_out.py", task)
    made = []
    try:
        for rate in learning_rates:
            for name in names:
                print(f"curve: {name} at learning rate {rate:g}", file=sys.stderr, flush=True)
                record = curve(name, evaluator, [*task, "--learning-rate", str(rate)], steps, python)
                made.append({"size": task[1], "learning_rate": rate, "contender": name, **record})
    finally:
        evaluator.close()
    return made


def curve(name: str, evaluator: Child, arguments: list[str], steps: int, python: dict[str, str]) -> dict[str, Any]:
    """The points of one run of `steps` iterations, the first before any; alarms, versions, and how it failed."""
    contender = CONTENDERS[name]
    child = Child(python[contender.interpreter], contender.script, [*arguments, *contender.arguments])
    points: list[Point] = []
    alarms: list[dict[str, Any]] = []
    failure = None
    versions: dict[str, str] = {}
    every = max(1, steps // POINTS)
    with tempfile.TemporaryDirectory() as place:
        try:
            versions = child.ask("versions")
            for iteration in range(steps + 1):
                if iteration:
                    step = child.ask("step")
                    alarms += [{"iteration": iteration, **alarm} for alarm in step.get("alarms", [])]
                if iteration % every == 0 or iteration == steps:
                    child.ask(f"folder {place}")
                    points.append({"iteration": iteration, **evaluator.ask(f"folder {place}")})
        except ContenderFailed as reason:
            failure = str(reason)
    child.close()
    return {"points": points, "alarms": alarms, "versions": versions, "failure": failure}


def curve_tables(made: list[dict[str, Any]]) -> str:
    """A table per learning rate, and below it what our alarms said."""
    parts = []
    for rate in dict.fromkeys(record["learning_rate"] for record in made):
        records = [record for record in made if record["learning_rate"] == rate]
        heads = ["iteration"]
        for record in records:
            heads += [f"{record['contender']}: reward", "KL", "distinct-2"]
        iterations = sorted({point["iteration"] for record in records for point in record["points"]})
        rows = [[str(at), *(cell for record in records for cell in cells(record, at))] for at in iterations]
        lines = [f"**learning rate {rate:g}**, held-out reward and KL (nats per response)", "", markdown(heads, rows)]
        for record in records:
            said = [f"- {record['contender']}, iteration {a['iteration']}: {a['what']}" for a in record["alarms"]]
            lines += ["", "Alarms:", "", *said] if said else []
            if record["failure"]:
                lines += ["", f"{record['contender']} stopped: {record['failure'].strip().splitlines()[-1]}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def cells(record: dict[str, Any], iteration: int) -> list[str]:
    """Reward, KL and distinct-2 at an iteration."""
    found = next((point for point in record["points"] if point["iteration"] == iteration), None)
    if found is None:
        return ["-", "-", "-"]
    if "broken" in found:
        return [found["broken"], "-", "-"]
    return [f"{found['eval_score_mean']:.2f}", f"{found['eval_kl']:.2f}", f"{found['eval_distinct_2']:.2f}"]
