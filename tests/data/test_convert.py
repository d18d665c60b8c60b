"""Files of one kind written as another: whole or not at all, and nothing lost without a word."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.config.base import TextSource
from appliance.data.convert import TARGETS, convert
from appliance.data.sources import read_table
from appliance.errors import DataError

ROWS = [{"text": 'Grüße, "Welt"', "id": "a1"}, {"text": "plain", "id": "a2"}]


@pytest.fixture
def jsonl(tmp_path: Path):
    """jsonl(row, ...) -> the path of data.jsonl with these rows."""

    def put(*rows: Any) -> str:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return put


def rows_of(path: Path) -> list[dict[str, Any]]:
    table = read_table(TextSource(source=str(path)))
    columns = {name: list(table.column(name)) for name in table.columns}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(table))]


@pytest.mark.parametrize("target", ["jsonl", "csv", "parquet"])
def test_rows_come_back_from_each_kind_of_file(jsonl, tmp_path, target):
    out = tmp_path / f"out.{target}"
    assert convert(jsonl(*ROWS), target, out) == (2, [])
    assert rows_of(out) == ROWS
    assert not list(tmp_path.glob(".*"))  # nothing half-made


def test_a_txt_takes_one_column_and_no_line_breaks(jsonl, tmp_path):
    out = tmp_path / "out.txt"
    done = convert(jsonl(*ROWS), "txt", out, column="text")
    assert done.notes == ['only the column "text" was written: a .txt holds one']
    assert out.read_text() == 'Grüße, "Welt"\nplain\n'
    with pytest.raises(DataError, match=r"these hold a line break: 1 .data.jsonl line 2."):
        convert(jsonl("a", "b\nc"), "txt", tmp_path / "other.txt")


def test_an_other_encoding_is_said_and_written_as_utf_8(tmp_path):
    (tmp_path / "a.txt").write_bytes("Grüße\n".encode("cp1252"))
    done = convert(str(tmp_path / "a.txt"), "jsonl", tmp_path / "out.jsonl")
    assert "read as Windows-1252" in done.notes[0]
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"text": "Grüße"}\n'


def test_what_a_kind_of_file_cannot_hold_is_refused_and_nothing_is_written(jsonl, tmp_path):
    for target, row, what in (
        ("csv", {"text": ["a"]}, 'row 1: "text" is a list or an object, which a .csv cannot hold'),
        ("parquet", {"text": 3}, 'the column "text" holds values of several kinds'),
        ("jsonl", {"text": float("nan")}, "cannot be written as JSON"),
    ):
        with pytest.raises(DataError, match=what):
            convert(jsonl(row, {"text": "a"}), target, tmp_path / f"out.{target}")
    assert not list(tmp_path.glob("*out*"))


def test_a_file_that_is_there_stays_unless_forced(jsonl, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        convert(jsonl(*ROWS), "csv", out)
    assert out.read_text() == "mine"
    assert convert(jsonl(*ROWS), "csv", out, force=True).rows == 2


def test_a_file_may_be_written_over_itself(jsonl):
    source = jsonl(*ROWS)
    convert(source, "jsonl", Path(source), force=True)
    assert rows_of(Path(source)) == ROWS


def test_names_that_do_not_fit_are_refused(jsonl, tmp_path):
    with pytest.raises(DataError, match=r"csv is written to .csv") as caught:
        convert(jsonl(*ROWS), "csv", tmp_path / "out.jsonl")
    assert caught.value.fix == "name it out.csv"
    with pytest.raises(DataError, match=r"pairs is written to .jsonl or .json or .parquet or .csv or .tsv"):
        convert(jsonl(*ROWS), "pairs", tmp_path / "out.txt")
    with pytest.raises(DataError, match="there is no folder"):
        convert(jsonl(*ROWS), "csv", tmp_path / "none" / "out.csv")


def test_the_targets_are_those_that_are_promised():
    promised = {"pairs", "pairs-chat", "hh", "nemo", "ranked", "jsonl", "csv", "parquet", "txt"}
    assert promised <= set(TARGETS)
