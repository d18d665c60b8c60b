"""The benchmark's figures: medians, ratios of the same round, and the Markdown that shows them."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from setting import PHASES, SETTINGS, Setting

Rounds = list[dict[str, Any]]
"""One contender's answers, one per round."""


def machine() -> dict[str, Any]:
    """The CPU as far as it matters: cores this process may use, its name, and whether it multiplies bf16 in tiles."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": names[0] if names else "unknown",
        "amx_bf16": "amx_bf16" in text,
    }


def summary(rounds: dict[str, Rounds], setting: Setting) -> dict[str, dict[str, Any]]:
    """Per contender: medians of seconds and phases, sequences per second, peak memory, and how often it goes into ours."""
    made = {}
    for name, answers in rounds.items():
        seconds = [answer["seconds"] for answer in answers]
        made[name] = {
            "seconds": spread(seconds),
            "cpu_seconds": spread(answer["cpu_seconds"] for answer in answers),
            "sequences_per_s": setting.rollout / median(seconds),
            "response_tokens": median(answer["response_tokens"] for answer in answers),
            "phases": {phase: median(answer["phases"][phase] for answer in answers) for phase in PHASES},
            "peak_gib": max(answer["peak_gib"] for answer in answers),
            "ratios": {
                own: spread(theirs / mine["seconds"] for theirs, mine in zip(seconds, rounds[own], strict=True))
                for own in rounds
                if own.startswith("ours") and own != name
            },
        }
    return made


def spread(values: Iterable[float]) -> dict[str, float]:
    """The median with the least and the largest value."""
    listed = list(values)
    return {"median": median(listed), "min": min(listed), "max": max(listed)}


def speed_table(size: str, made: dict[str, dict[str, Any]]) -> str:
    """One size as a Markdown table; a ratio says how many times faster ours is, median (least-largest) of the rounds."""
    own = [name for name in made if name.startswith("ours")]
    heads = [
        "",
        "sequences/s",
        "s per iteration",
        "CPU s",
        "tokens",
        *PHASES,
        "peak GiB",
        *(f"× {name}" for name in own),
    ]
    rows = []
    for name, found in made.items():
        seconds, ratios = found["seconds"], found["ratios"]
        rows.append(
            [
                name,
                f"{found['sequences_per_s']:.0f}",
                f"{seconds['median']:.2f} ({seconds['min']:.2f}-{seconds['max']:.2f})",
                f"{found['cpu_seconds']['median']:.2f}",
                f"{found['response_tokens']:.0f}",
                *(f"{found['phases'][phase]:.3f}" for phase in PHASES),
                f"{found['peak_gib']:.2f}",
                *(ratio(ratios.get(mine)) for mine in own),
            ]
        )
    setting = SETTINGS[size]
    epochs = f"{setting.epochs} epochs of minibatches of {setting.minibatch}"
    title = f"**{size}**: {setting.rollout} sequences per iteration, {epochs}"
    return f"{title}\n\n{markdown(heads, rows)}"


def ratio(found: dict[str, float] | None) -> str:
    """`2.31 (2.20-2.40)`, or a dash for a contender beside itself."""
    return f"{found['median']:.2f} ({found['min']:.2f}-{found['max']:.2f})" if found else "-"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table; all columns but the first to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(found: dict[str, Any]) -> str:
    """Date, machine and versions, above the tables."""
    where = found["machine"]
    lines = [
        f"{found['date']}, {where['cores']} cores ({where['cpu']}), AMX bf16: {'yes' if where['amx_bf16'] else 'no'}, "
        f"{found['threads']} threads" + (f", {found['rounds']} rounds" if "speed" in found else ""),
        *(f"- {name}: {', '.join(f'{k} {v}' for k, v in got.items())}" for name, got in found["versions"].items()),
    ]
    return "\n".join(lines)


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
