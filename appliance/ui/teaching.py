"""From votes to a reward model: what can be used, the config that is trained, and its result in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.config import parse, to_yaml
from appliance.data.formats import ranked
from appliance.data.rankings import Ranking, pairs
from appliance.errors import ApplianceError
from appliance.evaluate.verdict import count, p_text
from appliance.plan.files import find
from appliance.store.schema import Run
from appliance.store.vote_records import VoteRecord, rankings

NEEDED = 20
"""Usable comparisons without which nothing is trained: fewer cannot be split into training and held-out ones."""
WELCOME = 100
"""With fewer the reward model works, but its accuracy is hardly known."""
TINY_WEIGHTS, SMALL_WEIGHTS = 5_000_000, 50_000_000
WORST_COLUMNS = ["Prompt", "People chose", "People rejected", "Scores"]


@dataclass(frozen=True)
class Usable:
    """What votes come to: rankings to learn from, and how many votes were left out, by reason."""

    rankings: list[Ranking]
    pairs: int
    ties: int
    skipped: int
    repeats: int
    excluded: int
    raters: int
    prompts: int

    @property
    def missing(self) -> int:
        """How many comparisons are still needed."""
        return max(0, NEEDED - self.pairs)


def usable(votes: Sequence[VoteRecord]) -> Usable:
    """What the votes come to. A tie teaches too, but does not count towards what is needed."""
    found = rankings(votes)
    kept = [vote for vote in votes if not vote.excluded]
    return Usable(
        rankings=found,
        pairs=sum(len(pairs(ranking)) for ranking in found),
        ties=sum(not pairs(ranking) for ranking in found),
        skipped=sum(vote.choice == "skip" for vote in kept),
        repeats=sum(vote.is_repeat for vote in kept),
        excluded=len(votes) - len(kept),
        raters=len({vote.user_id for vote in kept}),
        prompts=len({ranking.prompt for ranking in found}),
    )


def usable_sentence(found: Usable) -> str:
    """How many votes can be used, what was left out, and what is missing."""
    if not found.pairs and not found.ties and not found.excluded:
        return f"No votes yet. {NEEDED} comparisons are needed: start a voting on the Vote tab, or import preferences."
    left_out = [
        count(number, noun) if noun != "skipped" else f"{number} skipped"
        for number, noun in ((found.skipped, "skipped"), (found.repeats, "repeat"), (found.excluded, "excluded vote"))
        if number
    ]
    people = "person" if found.raters == 1 else "people"
    said = (
        f"**{count(found.pairs, 'usable comparison')}** by {found.raters} {people} over {count(found.prompts, 'prompt')}"
        + (f", and {count(found.ties, 'tie')}" if found.ties else "")
        + (f". Not used: {', '.join(left_out)}." if left_out else ".")
    )
    if found.missing:
        return f"{said} **{found.missing} more are needed** (at least {NEEDED})."
    if found.pairs < WELCOME:
        return f"{said} Enough to begin; with {WELCOME} or more the result is better known."
    return said


def rows_jsonl(found: Sequence[Ranking]) -> str:
    """Rankings as lines of JSON that `format: ranked` reads, ties kept."""
    rows, _ = ranked.write(list(found))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def config_yaml(*, name: str, model: str, source: Path, format: str = "auto", seed: int = 1) -> str:
    """The config of a reward training: sizes and learning rate by the model's size. Raises ConfigError as the loader does."""
    found = find(model)
    weights = found.weights or (found.shape.counted if found.shape is not None else None) or SMALL_WEIGHTS
    limit = found.shape.limit_tokens if found.shape is not None else None
    tiny, small = weights < TINY_WEIGHTS, weights < SMALL_WEIGHTS
    values = {
        "stage": "reward",
        "name": name,
        "seed": seed,
        "model": {"model": model},
        "data": {"source": str(source), "format": format, "held_out_share": 0.2},
        "training": {
            "epochs": 4 if tiny else 2,
            "batch": 16,
            "microbatch": 16 if small else 4,
            "max_length_tokens": min(512, limit or 512),
        },
        "optimizer": {
            "learning_rate": 5e-4 if tiny else 5e-5 if small else 1e-5,
            "warmup_share": 0.05,
            "schedule": "linear",
        },
    }
    return to_yaml(parse(values, origin="the reward training"))


def read_result(run: Run) -> dict[str, Any]:
    """report.json of a reward run. Raises ApplianceError when it is not there yet, or damaged."""
    file = Path(run.folder) / "report" / "report.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ApplianceError(f"{run.name} has no result yet", "it is there when the training ends") from None
    except (OSError, ValueError) as error:
        raise ApplianceError(f"the result of {run.name} cannot be read: {error}", "train it again") from None
    return content


def result_text(report: dict[str, Any]) -> str:
    """Whether the reward model is good enough, with its numbers against chance and against length."""
    low, high = report["held_out_accuracy_ci95"]
    passed = report["verdict"]["word"] == "passed"
    head = "### Good enough to train with." if passed else "### Not good enough yet."
    lines = [
        head,
        f"It agrees with people on **{report['held_out_accuracy']:.0%}** of {count(report['held_out_pairs'], 'comparison')} "
        f"that it has not seen (95 % interval {low:.0%} to {high:.0%}). Guessing gives 50 % ({p_text(report['chance_p'])}); "
        f"always choosing the longer answer {report['longer_wins_accuracy']:.0%} ({p_text(report['longer_wins_p'])}).",
        f"When it is sure, is it right? Its calibration error is {report['ece']:.0%} (0 % is perfect).",
    ]
    if not passed:
        lines.append("Why: " + "; ".join(report["verdict"]["reasons"]) + ". More votes, or clearer ones, mend that.")
    return "\n\n".join(lines)


def worst_rows(report: dict[str, Any]) -> list[list[str]]:
    """The comparisons on which it is most surely of another opinion than people, under WORST_COLUMNS."""
    return [
        [
            str(row.get("prompt", "")),
            str(row.get("chosen", "")),
            str(row.get("rejected", "")),
            f"{row.get('chosen_score', 0):.2f} / {row.get('rejected_score', 0):.2f}",
        ]
        for row in report.get("worst", [])
    ]
