"""The report of a reward model: how often it agrees with raters on held-out prompts, as figures and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.evaluate.page import render, settings_lines
from appliance.evaluate.reward_charts import calibration_chart, score_chart, training_charts
from appliance.evaluate.reward_figures import ScoredPair, worst
from appliance.evaluate.verdict import count, number, p_text, signed
from appliance.store.files import explained, write_json, write_text

SCHEMA = 1
TEMPLATE = "reward_report.html.jinja"
SHOWN_CHARACTERS = 4000
"""Of a longer text among the worst disagreements only the end is kept: there the responses are."""


def build(
    result: dict[str, Any], pairs: Sequence[ScoredPair], *, notes: Sequence[str], run: dict[str, Any]
) -> dict[str, Any]:
    """report.json's content. result: the run's result.json; notes: what was noticed in the data; run: what was trained."""
    chosen, rejected = [p.chosen_score for p in pairs], [p.rejected_score for p in pairs]
    gate = result["gate"]
    return {
        "schema": SCHEMA,
        "verdict": {
            "word": "passed" if gate["passed"] else "not passed",
            "sentence": sentence(result),
            "reasons": gate["reasons"],
        },
        **{name: value for name, value in result.items() if name != "gate"},
        "mean_score": {"chosen": sum(chosen) / len(pairs), "rejected": sum(rejected) / len(pairs)},
        "worst": [_shortened(found) for found in worst(pairs)],
        "notes": list(notes),
        "run": run,
    }


def sentence(result: dict[str, Any]) -> str:
    """The quality gate's verdict with its numbers, in one plain sentence without a full stop."""
    low, high = result["held_out_accuracy_ci95"]
    numbers = (
        f"it agrees with {result['held_out_accuracy']:.1%} of {count(result['held_out_pairs'], 'held-out pair')} "
        f"(95% interval {low:.1%} to {high:.1%}); chance is 50.0% ({p_text(result['chance_p'])}), choosing the longer "
        f"response {result['longer_wins_accuracy']:.1%} ({p_text(result['longer_wins_p'])})"
    )
    if result["gate"]["passed"]:
        return f"The reward model passed its quality gate: {numbers}"
    return (
        f"The reward model did not pass its quality gate: {'; '.join(result['gate']['reasons'])}. In numbers, {numbers}"
    )


def _shortened(found: dict[str, Any]) -> dict[str, Any]:
    def end(text: str) -> str:
        return text if len(text) <= SHOWN_CHARACTERS else f"[...]{text[-SHOWN_CHARACTERS:]}"

    return {name: end(value) if isinstance(value, str) else value for name, value in found.items()}


def write(folder: Path, report: dict[str, Any], pairs: Sequence[ScoredPair], metrics: Sequence[dict[str, Any]]) -> None:
    """Write report.json and report.html into `folder`; metrics are the rows of the run's log. Raises as files do."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report)
    write_text(folder / "report.html", to_html(report, pairs, metrics))


def to_html(report: dict[str, Any], pairs: Sequence[ScoredPair], metrics: Sequence[dict[str, Any]]) -> str:
    """One self-contained page: no script, nothing from elsewhere. Texts of the data are escaped."""
    pictures = [
        calibration_chart(report["calibration"]),
        score_chart([p.chosen_score for p in pairs], [p.rejected_score for p in pairs]),
        *training_charts(metrics),
    ]
    return render(
        TEMPLATE,
        charts=pictures,
        report=report,
        rows=_rows(report),
        measured=measured_text(report["measured_on"]),
        settings=settings_lines(report["run"]),
    )


def _rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """The lines of the table of figures: label, value, interval and test as texts."""
    ties = report["ties"]
    difference = report["longer_wins_difference"]
    rows = [
        (
            "agrees with the raters",
            f"{report['held_out_accuracy']:.1%}",
            _percent(report["held_out_accuracy_ci95"]),
            "",
        ),
        ("chance", "50.0%", "", p_text(report["chance_p"])),
        ("choosing the longer response", f"{report['longer_wins_accuracy']:.1%}", "", ""),
        (
            "better than choosing the longer by",
            f"{100 * difference:+.1f} points",
            _points(report["longer_wins_difference_ci95"]),
            p_text(report["longer_wins_p"]),
        ),
        ("loss, nats per pair (chance 0.69)", number(report["held_out_loss"]), "", ""),
        ("Brier score (chance 0.25, less is better)", number(report["brier"]), "", ""),
        ("calibration error (ECE), points", number(100 * report["ece"]), "", ""),
        ("correlation of score and length", signed(report["score_length_correlation"]), "", ""),
        ("the same of differences within pairs", signed(report["margin_length_correlation"]), "", ""),
    ]
    if ties is not None:
        rows += [
            ("ties: score difference, mean", number(ties["mean_gap"]), "", ""),
            ("other pairs: score difference, mean", number(ties["mean_gap_of_other_pairs"]), "", ""),
            ("ties that it tells apart (3 to 1 or more)", f"{ties['told_apart_share']:.1%}", "", ""),
        ]
    return [dict(zip(("label", "value", "interval", "test"), row, strict=True)) for row in rows]


def _percent(value: Sequence[float]) -> str:
    return f"[{value[0]:.1%}, {value[1]:.1%}]"


def _points(value: Sequence[float] | None) -> str:
    return "" if value is None else f"[{100 * value[0]:+.1f}, {100 * value[1]:+.1f}]"


def measured_text(measured_on: dict[str, Any]) -> str:
    """What the scores' mean and standard deviation were measured on, in words."""
    if "policy" not in measured_on:
        return f"{measured_on['what']} ({measured_on['samples']})"
    low, high = measured_on["response_tokens"]
    adapter = f" with {measured_on['adapter']}" if measured_on.get("adapter") else ""
    return (
        f"{measured_on['samples']} {measured_on['what']} {measured_on['policy']}{adapter} to prompts of "
        f"{measured_on['prompts']}, {low} to {high} tokens each"
    )
