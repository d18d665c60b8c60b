"""Rows from a file, a folder or the hub, each with the place it came from, so that an error can name the line."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from pathlib import Path
from typing import Any

from appliance.data.lines import decoded_lines
from appliance.errors import DataError

FIELD_LIMIT = 2**31 - 1  # characters in one CSV field; the csv module's own limit is 128 KiB


class Missing:
    """The value of a key that a row does not have."""

    def __repr__(self) -> str:
        return "missing"


MISSING = Missing()


@dataclass(frozen=True)
class Table:
    """Rows held by column: `column(name)` gives the values, MISSING where a row has no such key.

    The rest is for messages: `files` holds (first row, name) of each file, `unit` is what a file is counted in, and
    `numbers` holds each row's line, entry or row in its file, counted from 1.
    """

    files: tuple[tuple[int, str], ...]
    unit: str
    columns: tuple[str, ...]
    numbers: Sequence[int]
    column: Callable[[str], Iterable[Any]]

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
    return Table(files, parts[0].unit, columns, numbers, column)


def read_file(path: Path) -> Table:
    """The rows of one file, read by its suffix. Raises DataError that names the file, the line and the fix."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is of a kind that is not read", f"give one of: {', '.join(READERS)}")
    try:
        table = reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "give a file that you may read") from None
    if not len(table):
        raise DataError(f"{path} is empty: it holds no rows", "give a file with at least one row")
    return table


class _Columns:
    """Collects rows, which may differ in their keys, into columns."""

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}
        self.numbers = array("q")

    def add(self, number: int, row: dict[str, Any]) -> None:
        before = len(self.numbers)
        self.numbers.append(number)
        for key, value in row.items():
            column = self.values.get(key)
            if column is None:
                column = self.values[key] = [MISSING] * before
            column.append(value)
        if len(row) < len(self.values):
            for key, column in self.values.items():
                if key not in row:
                    column.append(MISSING)

    def table(self, name: str, unit: str) -> Table:
        return Table(((0, name),), unit, tuple(self.values), self.numbers, self.values.__getitem__)


def _read_txt(path: Path) -> Table:
    texts = [line.rstrip("\r\n") for line in decoded_lines(path)]
    return Table(((0, path.name),), "line", ("text",), range(1, len(texts) + 1), {"text": texts}.__getitem__)


def _read_jsonl(path: Path) -> Table:
    rows = _Columns()
    for number, line in enumerate(decoded_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            hint = "; name a file that is one JSON list .json" if line.lstrip().startswith("[") else ""
            reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(
                f"{path.name} line {number}: not JSON: {reason}", f"write one whole JSON object on each line{hint}"
            ) from None
        rows.add(number, _row(value, f"{path.name} line {number}"))
    return rows.table(path.name, "line")


def _read_json(path: Path) -> Table:
    content = "".join(decoded_lines(path))
    try:
        value = json.loads(content) if content.strip() else []
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name}: not JSON: {error}", "write one list, [...]; a file of one object a line is named .jsonl"
        ) from None
    if not isinstance(value, list):
        raise DataError(f"{path.name} holds {_kind(value)}, not a list", "write one list of objects or strings, [...]")
    rows = _Columns()
    for number, entry in enumerate(value, start=1):
        rows.add(number, _row(entry, f"{path.name} entry {number}"))
    return rows.table(path.name, "entry")


def _row(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and value:
        return value
    found = "an object without keys" if value == {} else _kind(value)
    raise DataError(f"{place}: {found}", 'write an object such as {"text": "..."}, or a string')


def _read_csv(path: Path) -> Table:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> Table:
    return _read_separated(path, "\t")


def _read_separated(path: Path, delimiter: str) -> Table:
    numbered = _numbered_records(path, delimiter)
    _, header = next(numbered, (1, []))
    for index, name in enumerate(header):
        if not name.strip() or name in header[:index]:
            what = f"the name {name!r} twice" if name.strip() else f"no name for column {index + 1}"
            raise DataError(f"{path.name} line 1: the header has {what}", "give each column one name of its own")
    values: list[list[str]] = [[] for _ in header]
    numbers = array("q")
    for number, record in numbered:
        if len(record) != len(header):
            raise DataError(
                f"{path.name} line {number}: {len(record)} fields; the header has {len(header)}: {', '.join(header)}",
                f'put a field that holds {delimiter!r}, a line break or " in double quotes, and double the quotes in it',
            )
        numbers.append(number)
        for column, value in zip(values, record, strict=True):
            column.append(value)
    return Table(((0, path.name),), "line", tuple(header), numbers, dict(zip(header, values, strict=True)).__getitem__)


def _numbered_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of each record that is not a blank line."""
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(decoded_lines(path), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path.name} line {number}: the record that begins here is broken: {error}",
                'close every double quote, and write " inside a quoted field as ""',
            ) from None
        if record:
            yield number, record


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        content = parquet.read_table(path, memory_map=True)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path.name} is not a Parquet file: {error}", "write it again, or export it as .jsonl"
        ) from None
    return Table(
        ((0, path.name),),
        "row",
        tuple(content.column_names),
        range(1, content.num_rows + 1),
        lambda name: content.column(name).to_pylist(),
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


READERS: dict[str, Callable[[Path], Table]] = {
    ".txt": _read_txt,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
"""What reads each kind of file."""
