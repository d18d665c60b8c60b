"""Encodings are found, said and read; what is no text, or no line, is refused before it fills the memory."""

import tracemalloc
from pathlib import Path

import pytest

from appliance.config.base import TextSource
from appliance.config.ppo import Prompts
from appliance.data import lines, readers
from appliance.data.prompts import read_prompts
from appliance.data.sources import read_table, texts
from appliance.errors import DataError


@pytest.fixture
def write(tmp_path: Path):
    """write("a.txt", bytes) -> its path as text."""

    def put(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return put


def refused(source: str) -> DataError:
    with pytest.raises(DataError) as caught:
        texts(read_table(TextSource(source=source)), "text")
    return caught.value


@pytest.mark.parametrize(
    ("codec", "name"),
    [("utf-16", "UTF-16"), ("utf-32", "UTF-32"), ("utf-16-be", "UTF-16"), ("utf-32-be", "UTF-32")],
)
def test_wide_encodings_are_known_by_their_mark(write, codec, name):
    mark = "\ufeff" if codec.endswith("be") else ""  # the others write their mark themselves
    found = read_prompts(Prompts(source=write("a.txt", f"{mark}Grüße\nзавтра\n".encode(codec))))
    assert found.texts == ["Grüße", "завтра"]
    assert found.notes == [f"a.txt is not UTF-8: read as {name}, by its mark"]


def test_wide_encodings_hold_tables_too(write):
    assert read_prompts(Prompts(source=write("a.csv", 'text,id\n"a\nü",1\n'.encode("utf-16")))).texts == ["a\nü"]
    assert read_prompts(Prompts(source=write("a.json", '["ü"]'.encode("utf-16")))).texts == ["ü"]


def test_a_utf_8_mark_is_left_out_without_a_word(write):
    found = read_prompts(Prompts(source=write("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n')))
    assert found == (["a"], [])


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv"])
def test_western_text_is_read_as_windows_1252_and_said(write, name):
    content = "text\nDas Mädchen sagte: „Schön“ – naïve 5 €\nplain\n"
    found = read_prompts(Prompts(source=write(name, content.encode("cp1252"))))
    assert found.texts[-2:] == ["Das Mädchen sagte: „Schön“ – naïve 5 €", "plain"]
    assert found.notes == [
        f"{name} is not UTF-8 (line 2, byte 6 is 0xe4): read as Windows-1252, Western European; look at its accents"
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            "a\nдоброе утро\n".encode("cp1251"),
            "line 2: byte 1 is 0xe4, which is not UTF-8, nor does the file read like",
        ),
        ("да\n".encode("cp1251"), "nor does the file read like Windows-1252"),
        ("这部电影很好看\n".encode("gbk"), "nor does the file read like Windows-1252"),
        ("すばらしい映画\n".encode("shift-jis"), "nor does the file read like Windows-1252"),
        (b"caf\xc3\xa9\nna\xefve\n", "line 2: byte 3 is 0xef, which is not UTF-8; 1 other lines are"),
        ("é\nü".encode()[:-1], "line 2: byte 1 is 0xc3, which is not UTF-8; 1 other lines are"),  # cut off
        (b"a\x81b\n", "nor does the file read like Windows-1252"),  # undefined there
        (b"a\nb\x00c\n", "line 2: a byte 0x00, so this is no text, or UTF-16 without a mark"),
        ("ab".encode("utf-16") + b"\x00", "by its first bytes it is UTF-16, but near line 1 it is not"),
    ],
)
def test_what_is_no_known_encoding_is_refused_with_its_line(write, content, what):
    error = refused(write("a.txt", content))
    assert what in error.what
    assert "save the file as UTF-8" in error.fix


def test_a_line_of_200_mb_is_refused_before_it_is_in_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "fine"}\n{"text": "')
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    error = refused(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.what == "a.jsonl line 2: the line is longer than 16,777,216 characters, the limit of one line"
    assert peak < 60e6  # a few copies of the limit, not of the line


def test_long_texts_are_refused_where_there_are_no_lines(write, monkeypatch):
    monkeypatch.setattr("appliance.data.sources.LINE_LIMIT", 20)
    source = write("a.json", b'["fine",\n"' + b"x" * 21 + b'"]')
    assert refused(source).what == 'a.json entry 2: "text" has 21 characters; the limit of one text is 20'
    monkeypatch.setattr(readers, "JSON_LIMIT", 30)
    assert refused(source).what == "a.json has 33 bytes, and a .json file is read as a whole: the limit is 30"


def test_an_open_quote_does_not_swallow_the_rest_of_a_csv(write, monkeypatch):
    monkeypatch.setattr(readers, "LINE_LIMIT", 50)
    error = refused(write("a.csv", b'text\n"open\n' + b"more\n" * 20))
    assert "a.csv line 2: the record that begins here is broken: field larger than field limit (50)" in error.what


def test_lines_of_the_limit_are_read(write, monkeypatch):
    monkeypatch.setattr(lines, "LINE_LIMIT", 5)
    assert read_prompts(Prompts(source=write("a.txt", b"four\nabcd"))).texts == ["four", "abcd"]
    assert "line 2: the line is longer than 5 char" in refused(write("a.txt", b"four\nabcdef")).what
