"""What a file of prompts, demonstrations or preferences holds, and whether training could use it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import yaml
from pydantic import ValidationError

from appliance.config.base import TextSource
from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.data.check_kinds import KINDS, guess_kind, in_demonstrations, in_preferences, in_prompts
from appliance.data.columns import Column, describe
from appliance.data.readers import Broken
from appliance.data.sources import read_table
from appliance.data.tables import MISSING, Table
from appliance.errors import ApplianceError, DataError

PLACES, NUMBERS, PREVIEW = 3, 1000, 20
SHOWN = 2000  # characters of a text in an example or in the preview


@dataclass(frozen=True)
class Problem:
    """Rows of one kind: how many, where the first stand, and their lines (at most 1000).

    `kind` is blank, repeated, short, long, broken or other; with `stops` training refuses the file because of them.
    """

    kind: str
    what: str
    count: int
    places: tuple[str, ...]
    numbers: tuple[int, ...]
    stops: bool = False


@dataclass(frozen=True)
class Lengths:
    """Lengths in characters; the 95th percentile is the smallest length that 95 % do not exceed."""

    of: str
    minimum: int
    median: int
    p95: int
    maximum: int


@dataclass(frozen=True)
class Checked:
    """What was understood of a file. `error` is (what happened, what to do) when training could not use it."""

    source: str
    kind: str | None = None
    kind_why: str | None = None
    rows: int = 0
    usable_rows: int = 0
    encoding: str = ""
    columns: tuple[Column, ...] = ()
    column: str | None = None
    column_why: str | None = None
    format: str | None = None
    format_why: str | None = None
    lengths: tuple[Lengths, ...] = ()
    problems: tuple[Problem, ...] = ()
    examples: tuple[dict[str, str], ...] = ()
    preview: tuple[dict[str, str], ...] = ()
    config: str = ""
    notes: tuple[str, ...] = ()
    error: tuple[str, str] | None = None

    @property
    def usable(self) -> bool:
        """Whether training would take the file as it is."""
        return self.error is None and self.usable_rows > 0


def check(
    source: str,
    kind: str | None = None,
    column: str | None = None,
    *,
    prompt_column: str | None = None,
    format: str = "auto",
    template: str | None = None,
    split: str = "train",
) -> Checked:
    """What a file (folder, hub data set) holds. What is wrong with it is in the result, nothing is raised for it.

    Kind (one of KINDS), column and format are guessed where they are not given. Raises ValueError for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    broken = Broken(keep=True)
    known: dict[str, Any] = {"source": source, "kind": kind}
    try:
        table = read_table(TextSource(source=source, split=split), broken)
        problems = [_broken_lines(table, broken)] if broken.lines else []
        why = None
        if kind is None:
            kind, why = guess_kind(table, column, format)
        known |= {"kind": kind, "kind_why": why, "rows": len(table) + len(broken.lines), "encoding": table.encoding}
        known |= {"columns": tuple(describe(table)), "preview": _preview(table), "notes": table.notes}
        base: dict[str, Any] = {"source": source, "template": template} | ({"split": split} if split != "train" else {})
        if kind == "preferences":
            found = in_preferences(table, Preferences(**base, format=format))  # type: ignore[arg-type]
        elif kind == "demonstrations":
            found = in_demonstrations(table, base, column, prompt_column)
        else:
            found = in_prompts(table, Prompts(**base, column=column))
    except ValidationError as error:
        detail = error.errors()[0]
        what = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        return Checked(**known, error=(what, "a template has the name of a column in braces, such as {text}"))
    except ApplianceError as error:
        return Checked(**known, error=(error.what, error.fix))
    if found.bad:
        problems.append(
            _problem(table, "broken", "rows that cannot be read", [row for row, _ in found.bad], stops=True)
        )
    problems += [_problem(table, _kind_of(what), what, rows) for what, rows in found.dropped.items() if rows]
    first = broken.lines[0][1] if broken.lines else found.bad[0][1] if found.bad else None
    count = len(next(iter(found.texts.values())))
    if first is None and not count:
        first = DataError("no row is left that could be used", "see the problems, or name another column")
    return Checked(
        **known,
        **found.fields,
        usable_rows=count,
        lengths=tuple(_lengths(of, texts) for of, texts in found.texts.items() if texts),
        problems=tuple(problems),
        examples=tuple({key: _cut(text) for key, text in one.items()} for one in found.examples),
        config=_config(kind, found.options),
        error=None if first is None else (first.what, first.fix),
    )


def _broken_lines(table: Table, broken: Broken) -> Problem:
    numbers = [number for number, _ in broken.lines]
    places = tuple(f"{table.files[0][1]} {table.unit} {number}" for number in numbers[:PLACES])
    what = f"{table.unit}s that cannot be read"
    return Problem("broken", what, len(numbers), places, tuple(numbers[:NUMBERS]), stops=True)


def _problem(table: Table, kind: str, what: str, rows: list[int], *, stops: bool = False) -> Problem:
    places = tuple(table.place(row) for row in rows[:PLACES])
    return Problem(kind, what, len(rows), places, tuple(table.numbers[row] for row in rows[:NUMBERS]), stops)


def _kind_of(what: str) -> str:
    words = {"blank": "blank", "repeated": "repeated", "under": "short", "over": "long"}
    return next((kind for word, kind in words.items() if word in what.split()), "other")


def _lengths(of: str, texts: Sequence[str]) -> Lengths:
    lengths = sorted(map(len, texts))
    at = [lengths[ceil(share * len(lengths)) - 1] for share in (0.5, 0.95)]
    return Lengths(of, lengths[0], at[0], at[1], lengths[-1])


def _preview(table: Table) -> tuple[dict[str, str], ...]:
    columns = {name: list(islice(table.column(name), PREVIEW)) for name in table.columns}
    rows = range(min(PREVIEW, len(table)))
    return tuple(
        {name: _cut(str(values[row])) for name, values in columns.items() if values[row] is not MISSING} for row in rows
    )


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _config(kind: str, options: TextSource) -> str:
    """The lines of a config that use the file so."""
    section = {"prompts": "prompts", "demonstrations": "data", "preferences": "data"}[kind]
    values = {key: value for key, value in options.model_dump(exclude_defaults=True).items() if value is not None}
    return "\n".join([f"{section}:", *(f"  {key}: {_scalar(value)}" for key, value in values.items())]) + "\n"


def _scalar(value: Any) -> str:
    """A value as YAML; a text that YAML would read otherwise, or on several lines, in double quotes."""
    text = str(value)
    plain = (
        "\n" not in text and ": " not in text and " #" not in text and not text.startswith(tuple("{[&*!|>%@`'\"-?,"))
    )
    if plain and text == text.strip() and yaml.safe_load(text) == value:
        return text
    return json.dumps(value, ensure_ascii=False)
