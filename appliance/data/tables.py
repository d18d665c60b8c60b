"""Rows, held by column, each with the place it came from, so that an error can name the line."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, compress, islice, repeat
from typing import Any


class Missing:
    """The value of a key that a row does not have."""

    def __repr__(self) -> str:
        return "missing"


MISSING = Missing()


@dataclass(frozen=True)
class Table:
    """Rows held by column: `column(name)` gives the values, MISSING where a row has no such key.

    The rest is for messages: `files` holds (first row, name) of each file, `unit` is what a file is counted in, and
    `numbers` holds each row's line, entry or row in its file, counted from 1. `encoding` is empty for a file that is no text.
    """

    files: tuple[tuple[int, str], ...]
    unit: str
    columns: tuple[str, ...]
    numbers: Sequence[int]
    column: Callable[[str], Iterable[Any]]
    encoding: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, row: int) -> str:
        """Where a row stands, e.g. `prompts.jsonl line 214`."""
        return f"{self._file(row)} {self.unit} {self.numbers[row]}"

    def keys(self, row: int) -> list[str]:
        """The keys that this row has."""
        return [name for name in self.columns if next(islice(self.column(name), row, None)) is not MISSING]

    def note(self, rows: Sequence[int], what: str) -> str:
        """What became of `rows`, how many they are, and where the first ones stand. `rows` are not empty."""
        file = self._file(rows[0])
        others = [str(self.numbers[row]) for row in rows[1:3] if self._file(row) == file]
        places = ", ".join([self.place(rows[0]), *others]) + (", ..." if len(rows) > 1 + len(others) else "")
        return f"{what}: {len(rows)} ({places})"

    def _file(self, row: int) -> str:
        return next(name for start, name in reversed(self.files) if start <= row)


def joined(parts: Sequence[Table]) -> Table:
    """Tables one behind the other."""
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    starts = [0, *accumulate(map(len, parts))]

    def column(name: str) -> Iterator[Any]:
        for part in parts:
            yield from part.column(name) if name in part.columns else repeat(MISSING, len(part))

    numbers = array("q", (number for part in parts for number in part.numbers))
    files = tuple(
        (start + first, file) for part, start in zip(parts, starts, strict=False) for first, file in part.files
    )
    encoding = ", ".join(dict.fromkeys(part.encoding for part in parts))
    notes = tuple(note for part in parts for note in part.notes)
    return Table(files, parts[0].unit, columns, numbers, column, encoding, notes)


def without(table: Table, rows: Collection[int]) -> Table:
    """The table without some of its rows, which keep their places."""
    gone = frozenset(rows)
    kept = [row for row in range(len(table)) if row not in gone]
    keep = [row not in gone for row in range(len(table))]
    files = tuple((start - sum(row < start for row in gone), name) for start, name in table.files)
    numbers = array("q", (table.numbers[row] for row in kept))

    def column(name: str) -> Iterator[Any]:
        return compress(table.column(name), keep)

    return replace(table, files=files, numbers=numbers, column=column)
