"""What a table's columns hold, and which one is meant where none was named."""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from appliance.data.tables import MISSING, Table
from appliance.errors import DataError

PROMPTS = ("prompt", "text")
PROMPTS_LIKELY = (
    *("dialogue", "question", "query", "instruction", "input", "context", "content", "review", "document", "article"),
    *("passage", "body", "comment", "post", "message", "sentence"),
)
TEXTS = ("text",)
TEXTS_LIKELY = ("content", "review", "document", "article", "body", "story", "comment", "post", "completion")
ANSWERS = ("completion", "response", "answer", "output", "summary", "target")
SAMPLE = 200  # rows that a guess looks at

_KINDS = {str: "text", bool: "true or false", int: "number", float: "number", dict: "object"}


class Column(NamedTuple):
    """A column: what kind of values it holds (`mixed` names more than one), and the share of rows that are filled."""

    name: str
    kind: str
    filled: float


class Guess(NamedTuple):
    """The column that was taken, and why (None: it was the only one there is)."""

    column: str
    why: str | None


def describe(table: Table) -> list[Column]:
    """Each column, over all rows. A number written as text, as in a .csv, counts as a number."""
    found = []
    for name in table.columns:
        values = list(table.column(name))
        filled = sum(value is not None and value is not MISSING and value != "" for value in values)
        found.append(Column(name, kind_of(values), filled / max(1, len(values))))
    return found


def kind_of(values: Iterable[Any]) -> str:
    """One of text, number, true or false, messages, list, object, empty; or `mixed: ...` of several."""
    filled = [value for value in values if value is not None and value is not MISSING]
    kinds = Counter(_KINDS.get(kind, "list") for kind in map(type, filled))
    if set(kinds) == {"text"}:
        shown = [value for value in filled if value.strip()]
        return "number" if shown and all(map(_is_number, shown)) else "text"
    if set(kinds) == {"list"} and all(value and isinstance(value[0], dict) and "role" in value[0] for value in filled):
        return "messages"
    if len(kinds) > 1:
        return "mixed: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return next(iter(kinds), "empty")


def guess(table: Table, sure: tuple[str, ...], likely: tuple[str, ...] = ()) -> Guess:
    """The column that is one of `sure`, else the first of `likely`, else the only one that holds texts.

    Raises DataError, with the columns there are, when two of `sure` are there or nothing tells which is meant.
    """
    found = [name for name in table.columns if name in sure]
    if len(found) > 1:
        raise DataError(
            f"{table.files[0][1]} has the columns {' and '.join(found)}", "set column to the one that you mean"
        )
    if found:
        return Guess(found[0], None if len(table.columns) == 1 else "its name is the usual one")
    sample = {name: list(islice(table.column(name), SAMPLE)) for name in table.columns}
    texts = [name for name, values in sample.items() if kind_of(values) == "text"]
    for name in likely:
        match = next((column for column in texts if column.lower() == name), None)
        if match is not None:
            return Guess(match, None if len(table.columns) == 1 else "its name is a likely one")
    if len(texts) == 1:
        return Guess(texts[0], None if len(table.columns) == 1 else "it is the only one that holds texts")
    names = " or ".join(f'"{name}"' for name in sure)
    keys = ", ".join(table.columns)
    what = f"and {len(texts)} of them hold texts" if texts else "and none of them holds texts"
    fix = f"set column to one of: {', '.join(texts)}" if texts else "give a file with a column of texts"
    raise DataError(f"{table.place(0)}: no {names} key; the keys are: {keys}, {what}", fix)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
