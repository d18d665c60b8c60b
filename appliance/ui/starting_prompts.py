"""Practice prompts, from a file to what is shown of it: table, lengths, problems, cleaned copy, split."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from appliance.config.base import TextSource
from appliance.config.ppo import Prompts
from appliance.data import prompts
from appliance.data.check import Checked, Problem, check
from appliance.data.check_kinds import in_prompts
from appliance.data.readers import READERS, Broken
from appliance.data.sources import read_table
from appliance.data.tables import MISSING, Table
from appliance.errors import ApplianceError, DataError
from appliance.store import datasets
from appliance.store.db import Store
from appliance.store.schema import Dataset
from appliance.ui.markdown import plain

ENDINGS = tuple(READERS)
MOST_ROWS, MOST_CHARACTERS = 1_000_000, 2_000_000
BINS = 12
NUMBERS_SHOWN = 12

FIXES = {
    "blank": "Drop blank rows",
    "repeated": "Drop repeated rows",
    "long": "Drop over-long rows",
    "broken": "Drop rows that cannot be read",
}
"""Problems that a cleaned copy mends, and what the button says."""


@dataclass(frozen=True)
class Looked:
    """What a data set holds, read once. `bytes` is the longest prompt's length in UTF-8; `lengths` are in characters."""

    checked: Checked
    lengths: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Split:
    """How many prompts are practised on, scored during training, and kept for the report."""

    practice: int
    test: int
    report: int

    @property
    def sentence(self) -> str:
        """936 practice prompts, 64 test prompts, 15 for the report."""
        return f"{self.practice:,} practice prompts, {self.test} test prompts, {self.report} for the report"


def keep(store: Store, source: Path, name: str, owner_id: int) -> Dataset:
    """The file in the store. Raises DataError for a kind that is not read, a file that cannot be read, or too many rows."""
    if Path(name).suffix.lower() not in ENDINGS:
        raise DataError(f"{name} is of a kind that is not read", f"give one of: {', '.join(ENDINGS)}")
    with _named(source, name) as file:
        found = check(str(file), kind="prompts")
        if found.error is not None and not found.rows:
            raise DataError(*found.error)
        if found.rows > MOST_ROWS:
            raise DataError(f"{name} has {found.rows:,} rows; the limit is {MOST_ROWS:,}", "upload a part of it")
        return datasets.add(
            store, name=name, kind="prompts", source=file, rows=found.rows, owner_id=owner_id, move=False
        )


def keep_text(store: Store, text: str, name: str, owner_id: int) -> Dataset:
    """Pasted prompts, one a line, in the store. Raises DataError for none or too much."""
    if not text.strip():
        raise DataError("there is nothing to take", "write or paste prompts, one a line")
    if len(text) > MOST_CHARACTERS:
        raise DataError(f"this has {len(text):,} characters; the limit is {MOST_CHARACTERS:,}", "upload it as a file")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(text.replace("\r\n", "\n"), encoding="utf-8", errors="replace")
        return keep(store, file, name, owner_id)


@contextmanager
def _named(source: Path, name: str) -> Iterator[Path]:
    """The file under a name with the right ending: messages name it."""
    if source.name == name:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / datasets.safe_name(name)
        linked.symlink_to(source.resolve())
        yield linked


def look(path: Path, column: str | None, template: str) -> Looked:
    """What is in a data set; read again only when the file or the choices changed."""
    return _look(str(path), path.stat().st_mtime_ns, column, template or None)


@lru_cache(maxsize=16)
def _look(path: str, changed: int, column: str | None, template: str | None) -> Looked:
    checked = check(path, kind="prompts", column=column, template=template)
    texts: list[str] = []
    if checked.usable:
        try:
            texts = prompts.read_prompts(Prompts(source=path, column=checked.column, template=template)).texts
        except DataError:  # `checked.error` says it, or the next look does
            texts = []
    longest = max((len(text.encode(errors="replace")) for text in texts), default=0)
    return Looked(checked, tuple(map(len, texts)), longest)


def split_of(usable: int, *, report_given: bool = False) -> Split:
    """How `usable` distinct prompts are split; `report_given`: the report has prompts of its own (15).

    Raises DataError for fewer than 8.
    """
    if usable < 8:
        raise DataError(
            f"{usable} prompts can be used, and at least 8 are needed: some are kept aside to test on",
            "add more prompts",
        )
    test = min(64, max(2, usable // 8))
    if report_given:
        return Split(usable - test, test, 15)
    report = min(30, max(2, usable // 8))
    return Split(usable - test - report, test, report)


def histogram(lengths: tuple[int, ...], bins: int = BINS) -> list[tuple[str, int]]:
    """(range of lengths in characters, how many prompts); longer than the 99th percentile is the last one's."""
    if not lengths:
        return []
    ordered = sorted(lengths)
    top = max(ordered[(len(ordered) * 99) // 100 - (len(ordered) > 99)], ordered[0] + 1)
    width = max(1, -(-(top - ordered[0] + 1) // bins))
    count = -(-(top - ordered[0] + 1) // width)
    counts = [0] * count
    for length in ordered:
        counts[min(count - 1, (length - ordered[0]) // width)] += 1
    names = [
        f"{ordered[0] + width * at}" if width == 1 else f"{ordered[0] + width * at}-{ordered[0] + width * (at + 1) - 1}"
        for at in range(count)
    ]
    if ordered[-1] > ordered[0] + width * count - 1:
        names[-1] = f"{ordered[0] + width * (count - 1)}+"
    return list(zip(names, counts, strict=True))


def preview(checked: Checked) -> tuple[list[str], list[list[str]]]:
    """Columns and the first rows of the table; the one that is read as the prompt first, and marked."""
    names = [column.name for column in checked.columns]
    names.sort(key=lambda name: name != checked.column)
    headers = [f"{name} (the prompt)" if name == checked.column else name for name in names]
    return headers, [[row.get(name, "") for name in names] for row in checked.preview]


def problem_lines(checked: Checked) -> str:
    """The problems as Markdown, with row numbers; a sentence where there are none."""
    lines = [f"- **{_count(problem)}** {plain(_words(problem))}: {_rows(problem)}" for problem in checked.problems]
    lines += [f"- {plain(note)}" for note in checked.notes]
    if checked.error is not None:
        lines.insert(0, f"**This cannot be used yet.** {plain(checked.error[0])}. *{plain(checked.error[1])}.*\n")
    return "\n".join(lines) if lines else "No problems found."


def _count(problem: Problem) -> str:
    return f"{problem.count:,}"


def _words(problem: Problem) -> str:
    words = {
        "blank": "blank, left out",
        "repeated": "repeated, used once",
        "broken": "that cannot be read: drop or mend them",
        "long": "longer than most models here read",
    }
    return f"row{'s' if problem.count > 1 else ''} {words.get(problem.kind, problem.what)}"


def _rows(problem: Problem) -> str:
    shown = ", ".join(str(number) for number in problem.numbers[:NUMBERS_SHOWN])
    more = problem.count - min(len(problem.numbers), NUMBERS_SHOWN)
    unit = re.search(r" (\w+) \d+$", problem.places[0]) if problem.places else None
    return f"{unit.group(1) if unit else 'row'} {shown}" + (f" and {more:,} more" if more > 0 else "")


def summary(checked: Checked, name: str) -> str:
    """One line: what was read."""
    column = (
        f', the prompts in the column "{plain(checked.column)}"' if checked.column and len(checked.columns) > 1 else ""
    )
    why = f" ({plain(checked.column_why)})" if checked.column_why and column else ""
    return (
        f"**{plain(name)}**: {checked.rows:,} rows{column}{why}; {checked.usable_rows:,} different prompts can be used."
    )


def clean(store: Store, dataset: Dataset, column: str | None, template: str, kind: str, owner_id: int) -> Dataset:
    """A copy of the data set without the rows that have this problem, in the store. Raises DataError."""
    if kind not in FIXES:
        raise DataError(f"{kind!r} is no problem that can be mended here", f"choose one of {', '.join(FIXES)}")
    path = datasets.path_of(store, dataset)
    broken = Broken(keep=True)
    table = read_table(TextSource(source=str(path)), broken)
    try:
        found = in_prompts(table, Prompts(source=str(path), column=column, template=template or None))
        rows = set(_rows_of(kind, found.dropped)) if kind != "broken" else {row for row, _ in found.bad}
    except ApplianceError:
        if kind != "broken" or not broken.lines:
            raise
        rows = set()
    kept = [row for row in range(len(table)) if row not in rows]
    if not kept:
        raise DataError("no row would be left", "give another file, or choose another column")
    stem = re.sub(r"-cleaned$", "", Path(dataset.name).stem)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{stem}-cleaned.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for line in _lines(table, kept):
                out.write(line + "\n")
        return datasets.add(
            store, name=file.name, kind="prompts", source=file, rows=len(kept), owner_id=owner_id, column=column
        )


def _rows_of(kind: str, dropped: dict[str, list[int]]) -> list[int]:
    word = {"blank": "blank", "repeated": "repeated", "long": "over"}[kind]
    return [row for what, rows in dropped.items() if word in what.split() for row in rows]


def _lines(table: Table, rows: list[int]) -> Iterator[str]:
    columns = {name: list(table.column(name)) for name in table.columns}
    for row in rows:
        values = {name: column[row] for name, column in columns.items() if column[row] is not MISSING}
        yield json.dumps(values, ensure_ascii=False, default=str)
