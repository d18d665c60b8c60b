"""Prompts, demonstrations and preferences: what is kept, what is dropped and counted, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.config.sft import Demonstrations
from appliance.data.demonstrations import Demonstration, read_demonstrations
from appliance.data.preferences import Preference, read_preferences
from appliance.data.prompts import read_prompt_file, read_prompts
from appliance.errors import DataError


@pytest.fixture
def jsonl(tmp_path: Path):
    """jsonl(row, ...) -> the path of data.jsonl with these rows."""

    def put(*rows: Any) -> str:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return put


def test_prompts_lose_blank_short_and_repeated_rows_and_each_is_counted_with_its_lines(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("The film\n\nIn it\nThe film\n \t\nA\n\n  \nThe film\nThe film \n")
    found = read_prompts(Prompts(source=str(path), min_characters=5))
    assert found.texts == ["The film", "In it", "The film "]  # white space is part of a prompt
    assert found.notes == [
        "blank rows dropped: 4 (prompts.txt line 2, 5, 7, ...)",
        "prompts under 5 characters dropped: 1 (prompts.txt line 6)",
        "repeated prompts dropped: 2 (prompts.txt line 4, 9)",
    ]


def test_the_limit_counts_what_is_left(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\na\na\nb\nc\n")
    assert read_prompts(Prompts(source=str(path), limit=2)).texts == ["a", "b"]


@pytest.mark.parametrize("column", ["text", "prompt"])
def test_the_column_of_prompts_is_guessed(jsonl, column):
    assert read_prompts(Prompts(source=jsonl({"id": 1, column: "a"}))).texts == ["a"]


def test_the_column_of_prompts_can_be_named(jsonl):
    assert read_prompts(Prompts(source=jsonl({"text": "a", "title": "b"}), column="title")).texts == ["b"]


def test_two_columns_that_could_be_meant_are_refused(jsonl):
    with pytest.raises(DataError, match="has the columns text and prompt"):
        read_prompts(Prompts(source=jsonl({"text": "a", "prompt": "b"})))


def test_an_absent_column_is_refused_with_the_keys_there_are(jsonl):
    with pytest.raises(DataError, match=r'data.jsonl line 1: no "text" or "prompt" key; the keys are: title, id'):
        read_prompts(Prompts(source=jsonl({"title": "a", "id": 1})))
    with pytest.raises(DataError, match=r'data.jsonl line 2: no "prompt" key; the keys are: text, id'):
        read_prompts(Prompts(source=jsonl({"prompt": "a"}, {"text": "b", "id": 1}), column="prompt"))


def test_no_prompt_left_is_refused_with_the_counts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\nab\n")
    with pytest.raises(
        DataError, match=r"no prompt is left; blank rows dropped: 1 .prompts.txt line 1.; prompts under 5"
    ):
        read_prompts(Prompts(source=str(path), min_characters=5))


def test_a_prompt_file_is_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\n")
    assert read_prompt_file(str(path)).texts == ["one", "two"]
    with pytest.raises(DataError, match="there is no file owner/prompts"):
        read_prompt_file("owner/prompts")


def test_demonstrations_are_whole_texts_or_follow_a_prompt(jsonl):
    source = jsonl({"text": "a", "answer": "b", "question": "q"}, {"text": "c", "answer": " ", "question": "r"})
    assert read_demonstrations(Demonstrations(source=source)).rows == [
        Demonstration(None, "a"),
        Demonstration(None, "c"),
    ]
    found = read_demonstrations(Demonstrations(source=source, column="answer", prompt_column="question"))
    assert found.rows == [Demonstration("q", "b")]
    assert found.notes == ["blank texts dropped: 1 (data.jsonl line 2)"]
    assert read_demonstrations(Demonstrations(source=source, limit=1)).rows == [Demonstration(None, "a")]


def test_demonstrations_without_their_columns_are_refused(jsonl):
    source = jsonl({"body": "a"})
    with pytest.raises(DataError, match=r'no "text" key; the keys are: body'):
        read_demonstrations(Demonstrations(source=source))
    with pytest.raises(DataError, match=r'no "question" key; the keys are: body'):
        read_demonstrations(Demonstrations(source=source, column="body", prompt_column="question"))
    with pytest.raises(DataError, match=r"no demonstration is left; blank texts"):
        read_demonstrations(Demonstrations(source=jsonl({"text": " "})))


def test_preferences_keep_pairs_that_differ(jsonl):
    source = jsonl(
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "a", "rejected": "a"},
        {"prompt": "p", "chosen": "", "rejected": "b"},
        {"prompt": "", "chosen": "c", "rejected": "d"},
    )
    found = read_preferences(Preferences(source=source))
    assert found.rows == [Preference("p", "a", "b"), Preference("", "c", "d")]
    assert found.notes == [
        "pairs with a blank side dropped: 1 (data.jsonl line 3)",
        "pairs with two equal sides dropped: 1 (data.jsonl line 2)",
    ]
    assert read_preferences(Preferences(source=source, limit=1)).rows == [Preference("p", "a", "b")]


def test_preferences_without_a_prompt_stay_whole(jsonl):
    source = jsonl({"chosen": "The film is good", "rejected": "The film is bad"})
    assert read_preferences(Preferences(source=source)).rows == [Preference("", "The film is good", "The film is bad")]


def test_conversations_and_other_columns_are_refused(jsonl):
    with pytest.raises(DataError, match=r'data.jsonl line 1: "chosen" is a list of messages; only plain text is read'):
        read_preferences(Preferences(source=jsonl({"chosen": [{"role": "user"}], "rejected": [{"role": "user"}]})))
    with pytest.raises(DataError, match=r'no "rejected" key; the keys are: chosen, worse'):
        read_preferences(Preferences(source=jsonl({"chosen": "a", "worse": "b"})))
    pair = {"chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match='line 2: no "prompt" key'):
        read_preferences(Preferences(source=jsonl({"prompt": "p", **pair}, pair)))
    with pytest.raises(DataError, match=r"no pair is left; pairs with two equal"):
        read_preferences(Preferences(source=jsonl({"chosen": "a", "rejected": "a"})))
