"""What one kind of data finds in a table: prompts, demonstrations or preferences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from appliance.config.base import TextSource
from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.config.sft import Demonstrations
from appliance.data import demonstrations, preferences, prompts
from appliance.data.columns import ANSWERS, PROMPTS_LIKELY, Guess, guess
from appliance.data.sources import unreadable
from appliance.data.tables import Table, without
from appliance.errors import DataError

KINDS = ("prompts", "demonstrations", "preferences")
LONG = 20_000  # characters, some 5,000 tokens: more than most of the models here read
EXAMPLES = 3


@dataclass
class Found:
    """What one kind of data found: fields of Checked, and the texts that lengths are of."""

    fields: dict[str, Any]
    options: TextSource
    dropped: dict[str, list[int]]
    texts: dict[str, list[str]]
    examples: list[dict[str, str]]
    bad: list[tuple[int, DataError]] = field(default_factory=list)


def guess_kind(table: Table, column: str | None = None, format: str = "auto") -> tuple[str, str]:
    """One of KINDS, and why."""
    if format != "auto":
        return "preferences", "a format of preferences was named"
    if column is None:
        try:
            return "preferences", preferences.choose(table)[1]
        except DataError:
            pass
        answer, prompt = _answer(table), _prompt(table)
        if answer is not None and prompt is not None:
            return "demonstrations", f"it has prompts ({prompt}) and answers ({answer})"
    return "prompts", "it has texts, and nothing that looks like answers or preferences"


def _answer(table: Table) -> str | None:
    return next((name for name in table.columns if name.lower() in ANSWERS), None)


def _prompt(table: Table) -> str | None:
    likely = ("prompt", *PROMPTS_LIKELY)
    return next((name for wanted in likely for name in table.columns if name.lower() == wanted), None)


def in_prompts(table: Table, options: Prompts) -> Found:
    column = prompts.column_of(table, options)
    bad = _unreadable(table, [column.column])
    left = without(table, [row for row, _ in bad]) if bad else table
    found = prompts.sift(left, options.model_copy(update={"column": column.column}))
    long = [row for row, text in zip(found.rows, found.texts, strict=True) if len(text) > LONG]
    return Found(
        {"column": column.column, "column_why": column.why},
        _named(options, column),
        _back(table, bad, found.dropped | {_LONG_WHAT: long}),
        {"prompt": found.texts},
        [{"prompt": text} for text in found.texts[:EXAMPLES]],
        bad,
    )


def in_demonstrations(table: Table, base: dict[str, Any], column: str | None, prompt_column: str | None) -> Found:
    answer = _answer(table)
    if column is None and "text" not in table.columns and answer is not None:
        column, prompt_column = answer, prompt_column or _prompt(table)
        taken = Guess(column, "its name is one of answers")
    else:
        taken = Guess(column, None) if column else guess(table, demonstrations.TEXTS, demonstrations.TEXTS_LIKELY)
    options = Demonstrations(**base, column=taken.column, prompt_column=prompt_column)
    needed = [taken.column] + ([prompt_column] if prompt_column else [])
    bad = _unreadable(table, needed)
    left = without(table, [row for row, _ in bad]) if bad else table
    found = demonstrations.sift(left, options)
    rows = zip(found.rows, found.demonstrations, strict=True)
    long = [row for row, one in rows if len(one.text) + len(one.prompt or "") > LONG]
    texts = {"text": [one.text for one in found.demonstrations]}
    if any(one.prompt is not None for one in found.demonstrations):
        texts["prompt"] = [one.prompt or "" for one in found.demonstrations]
    examples = [
        ({} if one.prompt is None else {"prompt": one.prompt}) | {"text": one.text}
        for one in found.demonstrations[:EXAMPLES]
    ]
    fields = {"column": taken.column, "column_why": taken.why}
    return Found(fields, options, _back(table, bad, found.dropped | {_LONG_WHAT: long}), texts, examples, bad)


def in_preferences(table: Table, options: Preferences) -> Found:
    name, why = (options.format, None) if options.format != "auto" else preferences.choose(table)
    bad: list[tuple[int, DataError]] = []
    if name in ("pairs", "hh") and not _messages(table):
        bad = _unreadable(table, [name for name in ("prompt", "chosen", "rejected") if name in table.columns])
    left = without(table, [row for row, _ in bad]) if bad else table
    found = preferences.sift(left, options.model_copy(update={"format": name}))
    long = [
        row
        for row, one in zip(found.rows, found.rankings, strict=True)
        if len(one.prompt) + max(map(len, one.responses)) > LONG
    ]
    texts = {"response": [text for one in found.rankings for text in one.responses]}
    asked = {"prompt": [one.prompt for one in found.rankings]}
    examples = []
    for one in found.rankings[:EXAMPLES]:
        order = sorted(zip(one.ranks, one.responses, strict=True), key=lambda pair: pair[0])
        examples.append({"prompt": one.prompt, "best": order[0][1], "worst": order[-1][1]})
    return Found(
        {"format": name, "format_why": why},
        options.model_copy(update={"format": name}),
        _back(table, bad, found.dropped | {_LONG_WHAT: long}),
        asked | texts,
        examples,
        bad,
    )


_LONG_WHAT = f"texts over {LONG:,} characters, which most models here do not read, kept"


def _messages(table: Table) -> bool:
    return "chosen" in table.columns and isinstance(next(islice(table.column("chosen"), 1)), list)


def _unreadable(table: Table, columns: Sequence[str]) -> list[tuple[int, DataError]]:
    """The rows whose value in one of the columns is no text, with the error of each."""
    found: dict[int, DataError] = {}
    for column in columns:
        for row, value in enumerate(table.column(column) if column in table.columns else []):
            error = unreadable(table, row, column, value)
            if error is not None:
                found.setdefault(row, error)
    return sorted(found.items(), key=lambda item: item[0])


def _back(table: Table, bad: list[tuple[int, DataError]], dropped: dict[str, list[int]]) -> dict[str, list[int]]:
    """Rows of the table without the bad ones as rows of the whole table."""
    if not bad:
        return dropped
    gone = {row for row, _ in bad}
    kept = [row for row in range(len(table)) if row not in gone]
    return {what: [kept[row] for row in rows] for what, rows in dropped.items()}


def _named(options: Prompts, column: Guess) -> Prompts:
    return options.model_copy(update={"column": column.column if column.why is not None else options.column})
