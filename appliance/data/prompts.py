"""The prompts that a policy continues."""

import re
from pathlib import Path
from typing import NamedTuple

from appliance.config.ppo import Prompts
from appliance.data.columns import PROMPTS, PROMPTS_LIKELY, Guess, guess
from appliance.data.sources import read_table, texts
from appliance.data.tables import Table
from appliance.data.templates import filled, slots
from appliance.errors import DataError


class PromptTexts(NamedTuple):
    """Distinct prompts in the order of the file, and a sentence on each guess and each kind of row that was dropped."""

    texts: list[str]
    notes: list[str]


class Sifted(NamedTuple):
    """Prompts, the row of each in its table, the rows that were dropped by why, and the column that was read."""

    texts: list[str]
    rows: list[int]
    dropped: dict[str, list[int]]
    column: Guess


def read_prompts(options: Prompts) -> PromptTexts:
    """The prompts without blank rows, those of a length that is not wanted and repetitions; the first `limit` of the rest.

    A prompt keeps its white space. Lengths count on the text before its template. Raises DataError that names the file,
    the line and the columns there are. `keep_tokens` and `length_tokens` need a tokenizer, and are left to the caller.
    """
    table = read_table(options)
    found = sift(table, options)
    notes = [*table.notes, *column_notes(options.column, found.column)]
    dropped = [table.note(rows, what) for what, rows in found.dropped.items() if rows]
    if not found.texts:
        raise DataError(
            f"no prompt is left; {'; '.join(dropped)}",
            "give other prompts, or lower min_characters"
            + (" and raise max_characters" * bool(options.max_characters)),
        )
    return PromptTexts(found.texts[: options.limit], notes + dropped)


def sift(table: Table, options: Prompts) -> Sifted:
    """The distinct prompts of a table, and what is left out of it. Raises DataError."""
    column = column_of(table, options)
    kept, rows = [], []
    blank: list[int] = []
    short: list[int] = []
    long: list[int] = []
    longest = options.max_characters
    for row, text in enumerate(texts(table, column.column)):
        bare = len(text.strip())
        if bare == 0:
            blank.append(row)
        elif bare < options.min_characters:
            short.append(row)
        elif longest is not None and bare > longest:
            long.append(row)
        else:
            kept.append(text)
            rows.append(row)
    if options.first_words is not None:
        kept = first_words(kept, options.first_words)
    if options.template is not None:
        kept = filled(options.template, table, rows, {column.column: kept})
    distinct: dict[str, int] = {}
    repeated = [row for text, row in zip(kept, rows, strict=True) if distinct.setdefault(text, row) != row]
    dropped = {
        "blank rows dropped": blank,
        f"prompts under {options.min_characters} characters dropped": short,
        f"prompts over {longest} characters dropped": long,
        "repeated prompts dropped": repeated,
    }
    return Sifted(list(distinct), list(distinct.values()), dropped, column)


def first_words(whole: list[str], count: int) -> list[str]:
    """Each text up to the end of its n-th word, words being what white space parts; shorter texts as they are."""
    beginning = re.compile(rf"\s*(?:\S+\s+){{{count - 1}}}\S+")
    return [found[0] if (found := beginning.match(text)) else text for text in whole]


def column_notes(named: str | None, column: Guess) -> list[str]:
    """A sentence on a column that was guessed among several."""
    return [] if named or column.why is None else [f'column "{column.column}" taken: {column.why}']


def read_prompt_file(path: str) -> PromptTexts:
    """The prompts of one file: one per line of a .txt, or the column that is meant. Raises DataError."""
    if not Path(path).expanduser().is_file():
        raise DataError(f"there is no file {path}", "check the path; prompts are one per line in a .txt, or a column")
    return read_prompts(Prompts(source=path))


def column_of(table: Table, options: Prompts) -> Guess:
    """The column that holds the texts: the one named, the only one that the template names, or a guess."""
    if options.column is not None:
        return Guess(options.column, None)
    named = slots(options.template, table.columns) if options.template is not None else []
    if len(named) == 1:
        return Guess(named[0], "the template names it" if len(table.columns) > 1 else None)
    return guess(table, PROMPTS, PROMPTS_LIKELY)
