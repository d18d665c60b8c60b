"""This engine beside TRL's PPO on this machine's CPU, in one run, alternating; see docs/benchmark.md.

    python tests/bench/run.py                          speed at both sizes against all of TRL's
    python tests/bench/run.py --curve                  learning curves instead
    python tests/bench/run.py --sizes test --only ours --rounds 1      does it run?

Standard library only; the contenders run under interpreters of their own.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, PINS, PLACE, Child, interpreter
from curve import DEFAULT, LEARNING_RATES, curve_tables, curves
from setting import SETTINGS
from table import Rounds, heading, machine, speed_table, summary, today


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints Markdown on stdout, and writes --json."""
    options = read_options(arguments)
    found: dict[str, Any] = {
        "date": today(),
        "machine": machine(),
        "threads": options.threads,
        "rounds": options.rounds,
        "versions": {},
    }
    names = options.only or (list(DEFAULT) if options.curve else list(CONTENDERS))
    given = {"ours": options.python, "trl011": options.trl011_python, "trl112": options.trl112_python}
    needed = {CONTENDERS[name].interpreter for name in names} | {"ours"}
    python = {name: interpreter(name, given) for name in sorted(needed)}
    for size in options.sizes:
        models = make_models(python["ours"], options.models, size)
        task = [str(models), size, "--threads", str(options.threads)]
        if options.curve:
            rates = options.learning_rates or list(LEARNING_RATES)
            made = curves(names, task, steps=options.steps, learning_rates=rates, python=python)
            found.setdefault("curves", []).extend(made)
            found["versions"] |= {record["contender"]: record["versions"] for record in made}
            print(f"\n## {size}\n\n{curve_tables(made)}\n", flush=True)
        else:
            chosen = [name for name in names if size in CONTENDERS[name].sizes]
            rounds = race(chosen, task, options.rounds, python, found["versions"])
            made = summary(rounds, SETTINGS[size])
            found.setdefault("speed", {})[size] = {"summary": made, "rounds": rounds}
            print(f"\n{speed_table(size, made)}\n", flush=True)
    print(heading(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=listed(SETTINGS), help="default: tiny,small; with --curve tiny")
    parser.add_argument("--only", type=listed(CONTENDERS), help=f"some of: {', '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=10, help="iterations of each contender, after one to warm up")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each contender; default: all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round there")
    parser.add_argument(
        "--models", type=Path, default=PLACE / "models", help="folder of what is trained; made if absent"
    )
    parser.add_argument("--curve", action="store_true", help="learning curves instead of speed")
    parser.add_argument("--steps", type=int, default=120, help="iterations of a learning curve")
    parser.add_argument(
        "--learning-rates", type=lambda text: [float(part) for part in text.split(",")], help="of the curves"
    )
    parser.add_argument("--python", help="interpreter with this project; default: .venv's")
    for name, pins in PINS.items():
        parser.add_argument(f"--{name}-python", help=f"interpreter with {pins[0]}; default: made in .venv-bench/{name}")
    options = parser.parse_args(arguments)
    options.sizes = options.sizes or (["tiny"] if options.curve else ["tiny", "small"])
    return options


def listed(choices: Any) -> Any:
    """A parser of comma-separated choices."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(choices)}")
        return names

    return parse


def make_models(python: str, folder: Path, size: str) -> Path:
    """The folder with this size's policy, the classifier and the prompts; trained first if it is not there."""
    home = folder / ("smoke" if size == "test" else "full")
    wanted = [home / "prompts.json", home / "classifier" / "config.json", home / size / "config.json"]
    if not all(path.exists() for path in wanted):
        print(f"making the models for {size} in {home}", file=sys.stderr, flush=True)
        script = Path(__file__).parent / "models.py"
        subprocess.run([python, "-W", "ignore", str(script), str(home), size], check=True, stdout=sys.stderr)
    return home


def race(
    names: list[str], task: list[str], rounds: int, python: dict[str, str], versions: dict[str, Any]
) -> dict[str, Rounds]:
    """Every contender's answers: each does one iteration per round, and another one begins each round."""
    children: dict[str, Child] = {}
    answers: dict[str, Rounds] = {name: [] for name in names}
    try:
        for name in names:
            contender = CONTENDERS[name]
            arguments = [*task, *contender.arguments]
            children[name] = Child(python[contender.interpreter], contender.script, arguments)
            versions[name] = children[name].ask("versions")
            children[name].ask("step")  # warm-up; the first of all loads what is loaded lazily
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                answers[name].append(children[name].ask("step"))
            shown = ", ".join(f"{name} {got[-1]['seconds']:.2f} s" for name, got in answers.items())
            print(f"round {number + 1} of {rounds}: {shown}", file=sys.stderr, flush=True)
    finally:
        for child in children.values():
            child.close()
    return answers


if __name__ == "__main__":
    main()
