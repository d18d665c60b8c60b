"""Files of texts in other layouts and kinds, written whole or not at all."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from appliance import parts
from appliance.config.base import TextSource
from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.data import preferences
from appliance.data.formats._rows import Written
from appliance.data.prompts import column_of
from appliance.data.rankings import Ranking
from appliance.data.sources import read_table, texts
from appliance.data.tables import MISSING, Table
from appliance.errors import DataError
from appliance.store.files import explained

Rows = Iterable[dict[str, Any]]


class Converted(NamedTuple):
    """How many rows were written, and a sentence on each thing that was guessed, dropped or could not be held."""

    rows: int
    notes: list[str]


WRITERS: dict[str, Callable[[Iterable[Ranking]], Written]] = {
    name: writer
    for folder in parts.names(preferences.FOLDER)
    for name, writer in parts.load(preferences.FOLDER, folder).WRITERS.items()
}
"""Layouts of preferences."""
TABLES = ("jsonl", "csv", "parquet", "txt")
"""Kinds of file that take the rows as they are."""
TARGETS = (*WRITERS, *TABLES)
FLAT = (".csv", ".tsv")


def convert(
    source: str,
    target: str,
    out: Path,
    *,
    force: bool = False,
    column: str | None = None,
    format: str = "auto",
    template: str | None = None,
) -> Converted:
    """Writes `source` as `target` (one of TARGETS) to `out`. What the target cannot hold is refused or said.

    Raises DataError when the source cannot be used, `out` exists (without force) or its name does not fit the target.
    """
    suffix = out.suffix.lower()
    allowed = [f".{target}"] if target in TABLES else [".jsonl", ".json", ".parquet", *FLAT]
    if suffix not in allowed:
        raise DataError(
            f"--out {out}: {target} is written to {' or '.join(allowed)}", f"name it {out.stem}{allowed[0]}"
        )
    if out.exists() and not force:
        raise DataError(f"{out} exists already", "give another name, or overwrite it with --force")
    if target in WRITERS:
        read = preferences.read_preferences(Preferences(source=source, format=format, template=template))  # type: ignore[arg-type]
        rows_of = f"{target}-rows"  # of a layout with lists, the variant without
        made, notes = WRITERS[rows_of if suffix in FLAT and rows_of in WRITERS else target](read.rows)
        notes = [*read.notes, *notes]
        if not made:
            raise DataError(
                f"nothing is left to write: {'; '.join(notes)}", f"write a layout that holds it, not {target}"
            )
        columns: Sequence[str] = list(made[0])
        rows: Rows = made
        count = len(made)
    else:
        table = read_table(TextSource(source=source))
        notes, count = list(table.notes), len(table)
        columns = [_one_column(table, column, notes)] if target == "txt" else table.columns
        rows = _rows(table, columns)
    _write(out, suffix, columns, rows)
    return Converted(count, notes)


def _one_column(table: Table, column: str | None, notes: list[str]) -> str:
    """The column whose texts go one to a line. Raises DataError for texts of several lines."""
    found = column_of(table, Prompts(source=table.files[0][1], column=column))
    broken = [row for row, text in enumerate(texts(table, found.column)) if "\n" in text or text.endswith("\r")]
    if broken:
        raise DataError(
            table.note(broken, "a .txt holds one text a line, and these hold a line break"), "write a .jsonl instead"
        )
    if len(table.columns) > 1:
        notes.append(f'only the column "{found.column}" was written: a .txt holds one')
    return found.column


def _rows(table: Table, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for values in zip(*(table.column(name) for name in columns), strict=True):
        yield {name: value for name, value in zip(columns, values, strict=True) if value is not MISSING}


def _write(out: Path, suffix: str, columns: Sequence[str], rows: Rows) -> None:
    temporary = out.with_name(f".{out.name}.tmp")
    with explained(out):
        if not out.parent.is_dir():
            raise DataError(f"there is no folder {out.parent}", "make it, or give --out another place")
        try:
            if suffix == ".parquet":
                _write_parquet(temporary, columns, rows)
            else:
                with temporary.open("w", encoding="utf-8", newline="\n") as file:
                    _TEXTS[suffix](file, columns, rows)
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)


def _write_txt(file: TextIO, columns: Sequence[str], rows: Rows) -> None:
    for row in rows:
        file.write(f"{row[columns[0]]}\n")


def _write_jsonl(file: TextIO, columns: Sequence[str], rows: Rows) -> None:
    for row in rows:
        file.write(_json(row) + "\n")


def _write_json(file: TextIO, columns: Sequence[str], rows: Rows) -> None:
    for number, row in enumerate(rows):
        file.write(("[\n" if number == 0 else ",\n") + _json(row))
    file.write("\n]\n")


def _write_csv(file: TextIO, columns: Sequence[str], rows: Rows) -> None:
    _write_separated(file, columns, rows, ",")


def _write_tsv(file: TextIO, columns: Sequence[str], rows: Rows) -> None:
    _write_separated(file, columns, rows, "\t")


def _write_separated(file: TextIO, columns: Sequence[str], rows: Rows, delimiter: str) -> None:
    writer = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator="\n", restval="")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        nested = next((name for name, value in row.items() if isinstance(value, dict | list)), None)
        if nested is not None:
            raise DataError(
                f'row {number}: "{nested}" is a list or an object, which a .csv cannot hold', "write a .jsonl"
            )
        writer.writerow(row)


_TEXTS: dict[str, Callable[[TextIO, Sequence[str], Rows], None]] = {
    ".txt": _write_txt,
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".csv": _write_csv,
    ".tsv": _write_tsv,
}


def _write_parquet(path: Path, columns: Sequence[str], rows: Rows) -> None:
    import pyarrow
    from pyarrow import parquet

    values: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        for name in columns:
            values[name].append(row.get(name))
    arrays = []
    for name in columns:
        try:
            arrays.append(pyarrow.array(values[name]))
        except pyarrow.ArrowException as error:
            raise DataError(f'the column "{name}" holds values of several kinds: {error}', "write a .jsonl") from None
    parquet.write_table(pyarrow.table(arrays, names=list(columns)), path)


def _json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError as error:
        raise DataError(f"a row cannot be written as JSON: {error}: {str(row)[:80]}", "mend that row") from None


def _plain(value: object) -> str:
    """Dates and times, which a Parquet file may hold, as text."""
    if isinstance(value, date | time | timedelta):
        return str(value)
    raise ValueError(f"a value is of the type {type(value).__name__}")
