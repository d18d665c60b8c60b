"""Each kind of source is read to the same rows, and each way to be broken is named with its place."""

import builtins
import json
import re
from pathlib import Path

import pytest

from appliance.config.base import TextSource
from appliance.data.sources import read_table, texts
from appliance.data.tables import MISSING, Table, without
from appliance.errors import DataError

ROWS = [{"text": 'Grüße, "Welt"', "id": "1"}, {"text": "two\nlines", "id": "2"}]


def read(source: Path | str, split: str = "train") -> Table:
    return read_table(TextSource(source=str(source), split=split))


def refused(source: Path | str, split: str = "train") -> DataError:
    with pytest.raises(DataError) as caught:
        read(source, split)
    return caught.value


def rows_of(table: Table) -> list[dict[str, object]]:
    columns = {name: list(table.column(name)) for name in table.columns}
    return [{name: column[row] for name, column in columns.items()} for row in range(len(table))]


@pytest.fixture
def write(tmp_path: Path):
    """write("a.txt", "text" or bytes) -> its path."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.csv", 'text,id\n"Grüße, ""Welt""",1\n"two\nlines",2\n', ["line 2", "line 3"]),
        ("a.CSV", 'text,id\r\n"Grüße, ""Welt""",1\r\n\r\n"two\nlines",2', ["line 2", "line 4"]),
        ("a.tsv", 'text\tid\n"Grüße, ""Welt"""\t1\n"two\nlines"\t2\n', ["line 2", "line 3"]),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)), ["line 1", "line 2"]),
        ("a.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), ["line 1", "line 3"]),
        ("a.json", json.dumps(ROWS, indent=1), ["entry 1", "entry 2"]),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_formats_give_the_same_rows_and_their_places(write, name, content, places, mark):
    table = read(write(name, mark + content.encode()))
    assert rows_of(table) == ROWS
    assert [table.place(row) for row in range(len(table))] == [f"{name} {place}" for place in places]


def test_a_text_file_is_one_text_a_line(write):
    table = read(write("a.txt", b"\xef\xbb\xbfone\r\n\r\n  two \x0b\xe2\x80\xa8 still two\n"))
    assert list(table.column("text")) == ["one", "", "  two \x0b\u2028 still two"]
    assert table.place(2) == "a.txt line 3"


def test_strings_in_json_are_texts(write):
    assert list(read(write("a.json", '["a", "b"]')).column("text")) == ["a", "b"]
    assert list(read(write("a.jsonl", '"a"\n"b"\n')).column("text")) == ["a", "b"]


def test_rows_may_differ_in_their_keys(write):
    table = read(write("a.jsonl", '{"a": 1}\n{"b": 2, "a": 3}\n{"b": 4}\n'))
    assert rows_of(table) == [{"a": 1, "b": MISSING}, {"a": 3, "b": 2}, {"a": MISSING, "b": 4}]
    assert table.keys(2) == ["b"]


def test_parquet_and_saved_data_sets_are_read(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_list(ROWS)
    made.to_parquet(tmp_path / "a.parquet")
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=made, test=made.select([1])).save_to_disk(tmp_path / "two")
    for source in ("a.parquet", "one", "two"):
        table = read(tmp_path / source)
        assert rows_of(table) == ROWS
        assert table.place(1) == f"{source} row 2"
    assert rows_of(read(tmp_path / "two", split="test")) == ROWS[1:]
    error = refused(tmp_path / "two", split="dev")
    assert "no split 'dev'" in error.what
    assert error.fix == "set split to one of: train, test"


def test_a_folder_of_files_has_splits_by_name(write, tmp_path):
    write("set/data/train-00001-of-00002.jsonl", '{"text": "c", "n": 1}\n')
    write("set/data/train-00000-of-00002.jsonl", '{"text": "a"}\n\n{"text": "b"}\n')
    write("set/test.txt", "t\n")
    write("set/README.md", "about")
    table = read(tmp_path / "set")
    assert rows_of(table) == [
        {"text": "a", "n": MISSING},
        {"text": "b", "n": MISSING},
        {"text": "c", "n": 1},
    ]
    assert table.place(1) == "train-00000-of-00002.jsonl line 3"
    assert table.place(2) == "train-00001-of-00002.jsonl line 1"
    assert table.note([1, 2], "dropped") == "dropped: 2 (train-00000-of-00002.jsonl line 3, ...)"
    assert table.keys(2) == ["text", "n"]
    assert list(read(tmp_path / "set", split="test").column("text")) == ["t"]
    error = refused(tmp_path / "set", split="dev")
    assert "no file for the split 'dev'; there are: train-00000-of-00002.jsonl, train-" in error.what


def test_rows_keep_their_file_when_others_are_left_out(write, tmp_path):
    write("set/train-00000-of-00002.txt", "a\nb\n")
    write("set/train-00001-of-00002.txt", "c\nd\n")
    table = without(read(tmp_path / "set"), [0, 2])
    assert list(table.column("text")) == ["b", "d"]
    assert [table.place(row) for row in range(2)] == [
        "train-00000-of-00002.txt line 2",
        "train-00001-of-00002.txt line 2",
    ]


def test_a_split_in_two_forms_is_refused(write, tmp_path):
    write("set/train.txt", "a\n")
    write("set/train.csv", "text\na\n")
    write("set/training.csv", "text\na\n")
    assert "the split 'train' in several forms: train.csv, train.txt" in refused(tmp_path / "set").what


def test_the_only_file_of_a_folder_is_its_train_split(write, tmp_path):
    write("set/everything.txt", "a\n")
    assert list(read(tmp_path / "set").column("text")) == ["a"]
    assert "no file for the split 'test'" in refused(tmp_path / "set", split="test").what


@pytest.mark.parametrize(
    ("name", "content", "what", "fix"),
    [
        ("a.txt", b"\xef\xbb\xbfna\xefve\n", "a.txt line 1: byte 3 is 0xef", "save the file as UTF-8"),
        ("a.txt", b"", "is empty", "at least one row"),
        ("a.csv", b"", "is empty", "at least one row"),
        ("a.csv", b"text,id\n", "is empty", "at least one row"),
        ("a.jsonl", b"\n\n", "is empty", "at least one row"),
        ("a.json", b"", "is empty", "at least one row"),
        ("a.json", b"[]", "is empty", "at least one row"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n', "a.jsonl line 3: not JSON: Expecting value at column", "on each line"),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": "b',
            "line 2: not JSON: Unterminated string starting at at column 7; the text is",
            "on",
        ),
        (
            "a.json",
            b'[{"a": 1}, {"a": 2',
            "not JSON: Expecting ',' delimiter at line 1 column 19; the text is cut off",
            "[",
        ),
        ("a.jsonl", b'[\n{"a": 1}\n]\n', "a.jsonl line 1: not JSON", "one JSON list .json"),
        ("a.jsonl", b'{"a": 1}\n3\n', "a.jsonl line 2: a number", "write an object"),
        ("a.jsonl", b'{"a": 1}\n{}\n', "a.jsonl line 2: an object without keys", "write an object"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl line 1: not JSON", "on each line"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "a.json: not JSON: Extra data at line 2 column 1", "named .jsonl"),
        ("a.json", b'{"a": ["b"]}', "a.json holds an object, not a list", "one list"),
        ("a.json", b'["a", null]', "a.json entry 2: null", "write an object"),
        ("a.csv", b'text,id\n"a\nb",1\nc\n', "a.csv line 4: 1 fields; the header has 2: text, id", "double quotes"),
        ("a.csv", b"text,id\nx,y,z\n", "a.csv line 2: 3 fields", "double quotes"),
        ("a.csv", b'text,id\nok,1\n"open,2\nmore,3\n', "a.csv line 3: the record that begins here", "close every"),
        ("a.csv", b'text,id\n"a"b,1\n', "a.csv line 2: the record that begins here", 'as ""'),
        ("a.csv", b"text,text\na,b\n", "the header has the name 'text' twice", "one name of its own"),
        ("a.csv", b"text,\na,b\n", "the header has no name for column 2", "one name of its own"),
        ("a.parquet", b"not parquet at all", "a.parquet is not a Parquet file", ".jsonl"),
        ("a.xlsx", b"PK", "is of a kind that is not read", ".txt, .csv, .tsv, .jsonl, .json, .parquet"),
    ],
)
def test_a_broken_file_is_refused_with_its_place_and_a_fix(write, name, content, what, fix):
    error = refused(write(name, content))
    assert what in error.what
    assert fix in error.fix


def test_a_field_longer_than_the_csv_module_takes_by_default_is_read(write):
    table = read(write("a.csv", "text\n" + "x" * 200_000 + "\n"))
    assert len(next(iter(table.column("text")))) == 200_000


@pytest.mark.parametrize("source", ["nowhere.jsonl", "./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere"])
def test_a_path_with_nothing_there_is_refused_and_the_hub_not_asked(source):
    assert refused(source).what == f"there is no file or folder {source}"


def test_an_empty_folder_and_a_broken_saved_data_set_are_refused(write, tmp_path):
    (tmp_path / "none").mkdir()
    assert "holds no data files" in refused(tmp_path / "none").what
    write("broken/state.json", "{}")
    assert "cannot be read" in refused(tmp_path / "broken").what


def test_a_file_that_may_not_be_read_is_refused(write, monkeypatch):
    path = write("a.txt", "a\n")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refused(path).what == f"{path} cannot be read: Permission denied"


def test_offline_the_hub_is_not_asked(monkeypatch):
    imported, real = [], builtins.__import__

    def watch(name: str, *rest: object, **more: object) -> object:
        imported.append(name)
        return real(name, *rest, **more)

    monkeypatch.setenv("APPLIANCE_OFFLINE", "1")
    monkeypatch.setattr(builtins, "__import__", watch)
    error = refused("owner/reviews")
    assert error.what == "owner/reviews is no file or folder here, and APPLIANCE_OFFLINE is 1"
    assert "datasets" not in imported


def test_hub_data_is_asked_for_by_revision_and_split_and_failures_are_explained(monkeypatch):
    import datasets

    asked = []

    def load(name: str, **options: object) -> datasets.Dataset:
        asked.append((name, options))
        if failures:
            raise failures.pop()
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setenv("APPLIANCE_OFFLINE", "0")
    failures: list[Exception] = []
    table = read_table(TextSource(source="owner/reviews", revision="abc", split="test"))
    assert rows_of(table) == ROWS
    assert table.place(1) == "owner/reviews row 2"
    assert asked == [("owner/reviews", {"revision": "abc", "split": "test"})]
    for failure, what in (
        (datasets.exceptions.DatasetNotFoundError("x"), "no data set of the hub"),
        (ValueError('Unknown split "test"'), 'cannot be used: Unknown split "test"'),
        (ConnectionError("no route"), "the hub does not answer: no route"),
    ):
        failures.append(failure)
        assert what in refused("owner/reviews").what


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"id": 7}', 'a.jsonl line 2: no "text" key; the keys are: id'),
        ('{"text": null}', 'a.jsonl line 2: "text" is null; it must be a text'),
        ('{"text": 5}', "a.jsonl line 2: \"text\" is '5' (int); it must be a text"),
        ('{"text": [{"role": "user", "content": "a"}]}', 'a.jsonl line 2: "text" is a list of messages'),
        ('{"text": "half \\ud83d"}', 'a.jsonl line 2: "text" holds half of a surrogate pair'),
    ],
)
def test_a_value_that_is_no_text_is_refused_with_its_line(write, line, what):
    table = read(write("a.jsonl", f'{{"text": "fine \U0001f600"}}\n{line}\n'))
    with pytest.raises(DataError, match=re.escape(what)):
        texts(table, "text")


def test_a_column_that_is_not_there_is_refused_with_those_there_are(write):
    table = read(write("a.csv", "text,id\na,1\n"))
    with pytest.raises(DataError, match='line 2: no "prompt" key; the keys are: text, id'):
        texts(table, "prompt")
