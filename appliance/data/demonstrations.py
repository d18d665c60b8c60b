"""The texts that supervised fine-tuning imitates."""

from typing import NamedTuple

from appliance.config.sft import Demonstrations
from appliance.data.columns import TEXTS, TEXTS_LIKELY, Guess, guess
from appliance.data.prompts import column_notes
from appliance.data.sources import read_table, texts
from appliance.data.tables import Table
from appliance.data.templates import filled
from appliance.errors import DataError


class Demonstration(NamedTuple):
    """A text to imitate, and the prompt before it, which is not trained on (None: there is no prompt)."""

    prompt: str | None
    text: str


class DemonstrationTexts(NamedTuple):
    """Demonstrations in the order of the file, and a sentence on each guess and on what was dropped."""

    rows: list[Demonstration]
    notes: list[str]


class Sifted(NamedTuple):
    """Demonstrations, the row of each in its table, the rows that were dropped or only counted by why, and the column."""

    demonstrations: list[Demonstration]
    rows: list[int]
    dropped: dict[str, list[int]]
    column: Guess


def read_demonstrations(options: Demonstrations) -> DemonstrationTexts:
    """The demonstrations without those whose text is blank; the first `limit` of what is left. Raises DataError.

    Repetitions are kept, and counted. With a template there is a prompt, whether or not prompt_column names one.
    """
    table = read_table(options)
    found = sift(table, options)
    notes = [*table.notes, *column_notes(options.column, found.column)]
    dropped = [table.note(rows, what) for what, rows in found.dropped.items() if rows]
    if not found.demonstrations:
        raise DataError(f"no demonstration is left; {dropped[0]}", "choose the column that holds the texts")
    return DemonstrationTexts(found.demonstrations[: options.limit], notes + dropped)


def sift(table: Table, options: Demonstrations) -> Sifted:
    """The demonstrations of a table, and what is left out of it. Raises DataError."""
    column = Guess(options.column, None) if options.column else guess(table, TEXTS, TEXTS_LIKELY)
    wanted = texts(table, column.column)
    rows = [row for row, text in enumerate(wanted) if text.strip()]
    blank = [row for row, text in enumerate(wanted) if not text.strip()]
    prompts: list[str | None] = [None] * len(rows)
    if options.prompt_column is not None:
        all_prompts = texts(table, options.prompt_column)
        prompts = [all_prompts[row] for row in rows]
    if options.template is not None:
        prompts = list(filled(options.template, table, rows))
    found = [Demonstration(prompt, wanted[row]) for prompt, row in zip(prompts, rows, strict=True)]
    first: dict[Demonstration, int] = {}
    repeated = [row for one, row in zip(found, rows, strict=True) if first.setdefault(one, row) != row]
    return Sifted(found, rows, {"blank texts dropped": blank, "repeated demonstrations kept": repeated}, column)
