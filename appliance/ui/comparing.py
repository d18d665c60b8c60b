"""What the Compare tab shows: answers before and after in an order that answers a question, and the report in words."""

from __future__ import annotations

import csv
import difflib
import io
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.evaluate.records import Comparison
from appliance.evaluate.verdict import count, interval, number, p_text, signed
from appliance.store.schema import Question, Run
from appliance.ui.markdown import plain
from appliance.ui.voting import harmless

ORDERS = {
    "Biggest gain": "gain",
    "Biggest loss": "loss",
    "Longest after": "longest",
    "Random": "random",
}
"""What the page calls an order, and its name here."""

PIECE = re.compile(r"\s+|\w+|[^\w\s]+")
CSV_COLUMNS = ("prompt", "sample", "before", "after", "score_before", "score_after", "change", "drift_nats", "tokens_before",
               "tokens_after")  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A finished run's report and its answers."""

    report: dict[str, Any]
    comparison: Comparison


def read(run: Run) -> Shown:
    """Raises ApplianceError when the run has no report yet, or a damaged one."""
    return Shown(_file(run, "report.json"), answers(run))


def answers(run: Run) -> Comparison:
    """The answers alone. Raises ApplianceError when the run has none yet, or a damaged file of them."""
    return Comparison.from_json(_file(run, "samples.json"))


def _file(run: Run, name: str) -> Any:
    try:
        return json.loads((Path(run.folder) / "report" / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ApplianceError(f"{run.name} has no comparison yet", "it is made when the training ends") from None
    except (OSError, ValueError) as error:
        raise ApplianceError(
            f"the comparison of {run.name} cannot be read: {error}", "make it again: `appliance evaluate`"
        ) from None


def places(comparison: Comparison, order: str) -> list[tuple[int, int]]:
    """(prompt, sample) of every answer in the order that was asked for: gain, loss, longest or random (always the same)."""
    every = [(row, sample) for row in range(len(comparison.prompts)) for sample in range(comparison.samples)]
    if order == "random":
        random.Random(0).shuffle(every)
        return every
    keys = {
        "gain": lambda place: -change(comparison, *place),
        "loss": lambda place: change(comparison, *place),
        "longest": lambda place: -comparison.after.tokens[place[0]][place[1]],
    }
    return sorted(every, key=keys[order])


def change(comparison: Comparison, row: int, sample: int) -> float:
    """The answer's score after minus that before."""
    return comparison.after.scores[row][sample] - comparison.before.scores[row][sample]


def word_diff(before: str, after: str) -> tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]]:
    """Both texts in pieces, those that the other does not have marked: "removed" on the left, "added" on the right."""
    old, new = PIECE.findall(before), PIECE.findall(after)
    left: list[tuple[str, str | None]] = []
    right: list[tuple[str, str | None]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if b > a:
            left.append(("".join(old[a:b]), None if kind == "equal" else "removed"))
        if d > c:
            right.append(("".join(new[c:d]), None if kind == "equal" else "added"))
    return left, right


def headline(report: dict[str, Any]) -> str:
    """The verdict in words for people who do not read statistics, then the statistics, then what speaks against it."""
    word = report["verdict"]["word"]
    total = count(report["prompts"], "test prompt")
    said = {
        "better": f"### Better: answers improved on {report['improved']} of {total}.",
        "worse": f"### Worse: answers got worse on {report['worse']} of {total}.",
    }.get(word, f"### No clear effect: {report['improved']} of {total} improved, {report['worse']} got worse.")
    mean = report["mean_reward"]
    change_text = signed(report["difference"])
    if report["difference_ci95"] is not None:
        change_text += f" (95 % interval {interval(tuple(report['difference_ci95']))})"
    lines = [
        said,
        f"Mean score {number(mean['before'])} before, {number(mean['after'])} after: {change_text}, "
        f"{p_text(report['p_value'])}. Drift from the starting model (KL) {number(report['kl'])} nats per answer. "
        f"{count(report['samples'], 'answer')} to each prompt on both sides.",
    ]
    opinion = report.get("second_opinion")
    if opinion is not None:
        verb = "agrees" if opinion["agrees"] else "**disagrees**"
        lines.append(f"A second scorer that training never saw {verb}: {signed(opinion['difference'])}.")
    warnings = report["verdict"]["warnings"]
    if warnings:
        lines.append("Before you trust it:\n" + "\n".join(f"- {plain(warning)}" for warning in warnings))
    return "\n\n".join(lines)


def position_line(index: int, total: int, place: tuple[int, int], comparison: Comparison) -> str:
    """ "3 of 120 · answer 2 of 8 to this prompt" """
    return f"{index + 1} of {total} · answer {place[1] + 1} of {comparison.samples} to this prompt"


def score_line(comparison: Comparison, row: int, sample: int) -> str:
    """The scores and lengths of one pair of answers."""
    before, after = comparison.before, comparison.after
    return (
        f"Score {number(before.scores[row][sample])} before, {number(after.scores[row][sample])} after "
        f"({signed(change(comparison, row, sample))}). Length {count(before.tokens[row][sample], 'token')} before, "
        f"{after.tokens[row][sample]} after. Drift {number(after.kl[row][sample])} nats."
    )


def answers_csv(comparison: Comparison) -> str:
    """All answers as CSV with a header, one pair a line, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    before, after = comparison.before, comparison.after
    for row, prompt in enumerate(comparison.prompts):
        for sample in range(comparison.samples):
            numbers = (
                before.scores[row][sample],
                after.scores[row][sample],
                change(comparison, row, sample),
                after.kl[row][sample],
                before.tokens[row][sample],
                after.tokens[row][sample],
            )
            texts = (harmless(text) for text in (prompt, before.texts[row][sample], after.texts[row][sample]))
            first, old, new = texts
            writer.writerow([first, sample + 1, old, new, *numbers])
    return out.getvalue()


def question_state(question: Question) -> tuple[str, str, str]:
    """What to say of a question that was asked, and the texts before and after so far."""
    answer = question.answer or {}
    old, new = (str((answer.get(side) or {}).get("text", "")) for side in ("before", "after"))
    words = {
        "queued": question.message or "Waiting for the worker.",
        "answering": "Both models are writing.",
        "failed": f"Not answered: {question.message}",
        "done": "",
    }
    return words[question.state], old, new
