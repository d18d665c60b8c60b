"""Rows of one file, by its suffix: .txt, .csv, .tsv, .jsonl, .json, .parquet."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appliance.data.lines import LINE_LIMIT, Encoding, decoded_lines, detect
from appliance.data.tables import MISSING, Table
from appliance.errors import DataError

JSON_LIMIT = 2**30  # bytes of a .json file, which is read as a whole


class Broken:
    """Lines that could not be read: raised one by one, or, where `keep` is true, kept and left out."""

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep
        self.lines: list[tuple[int, DataError]] = []

    def add(self, number: int, error: DataError) -> None:
        """Raises the error of that line, or keeps it."""
        if not self.keep:
            raise error from None
        self.lines.append((number, error))


def read_file(path: Path, broken: Broken | None = None) -> Table:
    """The rows of one file, read by its suffix. Raises DataError that names the file, the line and the fix.

    With `broken`, lines of .jsonl, .csv and .tsv that are wrong by themselves go there.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is of a kind that is not read", f"give one of: {', '.join(READERS)}")
    broken = broken or Broken()
    try:
        table = reader(path, broken)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "give a file that you may read") from None
    if not len(table):
        if broken.lines:
            raise broken.lines[0][1]
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

    def table(self, name: str, unit: str, encoding: Encoding) -> Table:
        return _table(name, unit, self.values, self.numbers, encoding)


def _table(name: str, unit: str, values: dict[str, list[Any]], numbers: array[int], encoding: Encoding) -> Table:
    notes = () if encoding.note is None else (encoding.note,)
    return Table(((0, name),), unit, tuple(values), numbers, values.__getitem__, encoding.name, notes)


def _read_txt(path: Path, broken: Broken) -> Table:
    encoding = detect(path)
    texts = [line.rstrip("\r\n") for line in decoded_lines(path, encoding)]
    return _table(path.name, "line", {"text": texts}, array("q", range(1, len(texts) + 1)), encoding)


def _read_jsonl(path: Path, broken: Broken) -> Table:
    rows, encoding = _Columns(), detect(path)
    for number, line in enumerate(decoded_lines(path, encoding), start=1):
        if not line.strip():
            continue
        place = f"{path.name} line {number}"
        try:
            rows.add(number, _row(json.loads(line), place))
        except DataError as error:
            broken.add(number, error)
        except (ValueError, RecursionError) as error:
            hint = "; name a file that is one JSON list .json" if line.lstrip().startswith("[") else ""
            broken.add(
                number,
                DataError(
                    f"{place}: not JSON: {_reason(error, len(line.rstrip()), line=False)}",
                    f"write one whole JSON object on each line{hint}",
                ),
            )
    return rows.table(path.name, "line", encoding)


def _reason(error: Exception, length: int, *, line: bool) -> str:
    """What json says, and whether the text ends too early (`length` is its own, without the white space behind it)."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    cut = error.pos >= length or error.msg.startswith("Unterminated string")
    where = f"line {error.lineno} column {error.colno}" if line else f"column {error.colno}"
    return f"{error.msg} at {where}{'; the text is cut off' if cut and length else ''}"


def _read_json(path: Path, broken: Broken) -> Table:
    size = path.stat().st_size
    if size > JSON_LIMIT:
        raise DataError(
            f"{path.name} has {size:,} bytes, and a .json file is read as a whole: the limit is {JSON_LIMIT:,}",
            "write one object a line, and name it .jsonl",
        )
    encoding = detect(path)
    content = path.read_text(encoding=encoding.codec)
    try:
        value = json.loads(content) if content.strip() else []
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name}: not JSON: {_reason(error, len(content.rstrip()), line=True)}",
            "write one list, [...]; a file of one object a line is named .jsonl",
        ) from None
    if not isinstance(value, list):
        raise DataError(f"{path.name} holds {_kind(value)}, not a list", "write one list of objects or strings, [...]")
    rows = _Columns()
    for number, entry in enumerate(value, start=1):
        try:
            rows.add(number, _row(entry, f"{path.name} entry {number}"))
        except DataError as error:
            broken.add(number, error)
    return rows.table(path.name, "entry", encoding)


def _row(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and value:
        return value
    found = "an object without keys" if value == {} else _kind(value)
    raise DataError(f"{place}: {found}", 'write an object such as {"text": "..."}, or a string')


def _read_csv(path: Path, broken: Broken) -> Table:
    return _read_separated(path, ",", broken)


def _read_tsv(path: Path, broken: Broken) -> Table:
    return _read_separated(path, "\t", broken)


def _read_separated(path: Path, delimiter: str, broken: Broken) -> Table:
    encoding = detect(path)
    numbered = _numbered_records(path, delimiter, encoding)
    _, header = next(numbered, (1, []))
    for index, name in enumerate(header):
        if not name.strip() or name in header[:index]:
            what = f"the name {name!r} twice" if name.strip() else f"no name for column {index + 1}"
            raise DataError(f"{path.name} line 1: the header has {what}", "give each column one name of its own")
    values: list[list[str]] = [[] for _ in header]
    numbers = array("q")
    for number, record in numbered:
        if len(record) != len(header):
            what = f"{len(record)} fields; the header has {len(header)}: {', '.join(header)}"
            fix = (
                f'put a field that holds {delimiter!r}, a line break or " in double quotes, and double the quotes in it'
            )
            broken.add(number, DataError(f"{path.name} line {number}: {what}", fix))
            continue
        numbers.append(number)
        for column, value in zip(values, record, strict=True):
            column.append(value)
    return _table(path.name, "line", dict(zip(header, values, strict=True)), numbers, encoding)


def _numbered_records(path: Path, delimiter: str, encoding: Encoding) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of each record that is not a blank line."""
    csv.field_size_limit(LINE_LIMIT)  # the csv module's own limit is 128 KiB
    reader = csv.reader(decoded_lines(path, encoding), delimiter=delimiter, strict=True)
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


def _read_parquet(path: Path, broken: Broken) -> Table:
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


READERS: dict[str, Callable[[Path, Broken], Table]] = {
    ".txt": _read_txt,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
"""What reads each kind of file."""
