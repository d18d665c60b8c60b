"""Prompts, demonstrations and preferences: what is kept, what is dropped and counted, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.config.ppo import Prompts
from appliance.config.reward import Preferences
from appliance.config.sft import Demonstrations
from appliance.data.demonstrations import Demonstration, read_demonstrations
from appliance.data.preferences import Preference, Ranking, pairs, read_preferences
from appliance.data.prompts import first_words, read_prompt_file, read_prompts
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
    keys = r'data.jsonl line 1: no "prompt" or "text" key; the keys are: title, name, id, and 2 of them hold texts'
    with pytest.raises(DataError, match=keys):
        read_prompts(Prompts(source=jsonl({"title": "a", "name": "b", "id": 1})))
    with pytest.raises(DataError, match="and none of them holds texts"):
        read_prompts(Prompts(source=jsonl({"id": 1})))
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
    with pytest.raises(DataError, match=r'no "text" key; the keys are: title, story'):
        read_demonstrations(Demonstrations(source=jsonl({"title": "a", "story": 1, "end": "b"})))
    source = jsonl({"body": "a"})
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
    assert found.rows == [Ranking("p", ("a", "b"), (1, 2)), Ranking("", ("c", "d"), (1, 2))]
    assert found.notes == [
        "format pairs taken: it has the columns prompt, chosen, rejected",
        "pairs with a blank side dropped: 1 (data.jsonl line 3)",
        "pairs with two equal sides dropped: 1 (data.jsonl line 2)",
    ]
    assert read_preferences(Preferences(source=source, limit=1)).rows == [Ranking("p", ("a", "b"), (1, 2))]


def test_preferences_without_a_prompt_stay_whole(jsonl):
    source = jsonl({"chosen": "The film is good", "rejected": "The film is bad"})
    assert read_preferences(Preferences(source=source)).rows == [
        Ranking("", ("The film is good", "The film is bad"), (1, 2))
    ]


def test_ties_and_repetitions_are_kept_and_counted(jsonl):
    tie = {"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}
    found = read_preferences(Preferences(source=jsonl(tie, tie, {"prompt": "q", "responses": ["a", "b", "c"]})))
    assert found.rows == [Ranking("p", ("a", "b"), (1, 1))] * 2 + [Ranking("q", ("a", "b", "c"), (1, 2, 3))]
    assert found.notes[1:] == [
        "rankings whose responses all tie kept, though they make no pair: 2 (data.jsonl line 1, 2)",
        "repeated rankings kept: 1 (data.jsonl line 2)",
    ]


def test_pairs_of_a_ranking_are_all_that_are_no_ties():
    assert pairs(Ranking("p", ("a", "b", "c"), (2, 1, 2))) == [Preference("p", "b", "a"), Preference("p", "b", "c")]


def test_mixed_columns_of_preferences_are_refused_with_their_line(jsonl):
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    other = [talk[0], {"role": "assistant", "content": "b"}]
    pair, chat = {"chosen": "a", "rejected": "b"}, {"chosen": talk, "rejected": other}
    for rows, what in (
        ((pair, chat), 'line 2: "chosen" is a list of messages; only plain text is read'),
        ((chat, pair), "line 2: \"chosen\" is 'a' .str., not a list of messages as in the first row"),
        ((chat, chat | {"rejected": None}), 'line 2: "rejected" is null, not a list of messages'),
        (
            (chat | {"chosen": [{"role": "bot", "content": "a"}]},),
            "message 1 has the role 'bot'; known are user, assist",
        ),
        (
            (chat | {"chosen": [{"role": "user", "content": 3}]},),
            "message 1 has the content '3' .int.; it must be a text",
        ),
        (({"prompt": "p", **pair}, {"prompt": 5, **pair}), "line 2: \"prompt\" is '5' .int.; it must be a text"),
    ):
        with pytest.raises(DataError, match=what):
            read_preferences(Preferences(source=jsonl(*rows)))


def test_other_columns_are_refused(jsonl):
    with pytest.raises(DataError, match=r'no "rejected" key; the keys are: chosen, worse') as caught:
        read_preferences(Preferences(source=jsonl({"chosen": "a", "worse": "b"})))
    assert "nemo: good and bad lines of whole texts in turn" in caught.value.fix
    pair = {"chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match='line 2: no "prompt" key'):
        read_preferences(Preferences(source=jsonl({"prompt": "p", **pair}, pair)))
    with pytest.raises(DataError, match=r"no pair is left; pairs with two equal"):
        read_preferences(Preferences(source=jsonl({"chosen": "a", "rejected": "a"})))


def test_a_column_is_guessed_and_said(jsonl):
    row = {"id": "d1", "dialogue": "Hello", "summary": "greets"}
    found = read_prompts(Prompts(source=jsonl(row)))
    assert found == (["Hello"], ['column "dialogue" taken: its name is a likely one'])
    found = read_prompts(Prompts(source=jsonl({"n": 1, "zeile": "Hallo"})))
    assert found == (["Hallo"], ['column "zeile" taken: it is the only one that holds texts'])
    found = read_prompts(Prompts(source=jsonl(row), template="{summary}?"))
    assert found == (["greets?"], ['column "summary" taken: the template names it'])
    assert read_prompts(Prompts(source=jsonl(row), column="summary")) == (["greets"], [])


def test_numbers_in_a_csv_are_no_texts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,score,zeile\n1,0.5,Hallo\n2,,Welt\n")
    assert read_prompts(Prompts(source=str(path))).texts == ["Hallo", "Welt"]


def test_lengths_count_on_the_text_before_words_are_cut_and_the_template_is_filled(jsonl):
    source = jsonl(
        {"text": "one  two three", "by": "A {text}"},
        {"text": "one  two four", "by": "A {text}"},  # the same prompt once it is cut
        {"text": " short", "by": "A"},
        {"text": "one two three four five", "by": "A"},
    )
    found = read_prompts(
        Prompts(
            source=source, first_words=2, min_characters=8, max_characters=14, template="{by}: {text}{}", column="text"
        )
    )
    assert found.texts == ["A {text}: one  two{}"]
    assert found.notes == [
        "prompts under 8 characters dropped: 1 (data.jsonl line 3)",
        "prompts over 14 characters dropped: 1 (data.jsonl line 4)",
        "repeated prompts dropped: 1 (data.jsonl line 2)",
    ]


def test_first_words_leave_white_space_between_them_and_short_texts_alone():
    assert first_words(["  a b\nc d", "a ", "a\u3000b c"], 2) == ["  a b", "a ", "a\u3000b"]


def test_a_template_gives_demonstrations_and_preferences_their_prompt(jsonl):
    source = jsonl({"text": "a", "question": "q", "chosen": "c", "rejected": "d", "prompt": "p"})
    found = read_demonstrations(Demonstrations(source=source, template="Q: {question}\nA:"))
    assert found.rows == [Demonstration("Q: q\nA:", "a")]
    read = read_preferences(Preferences(source=source, template="{prompt} {question}"))
    assert read.rows == [Ranking("p q", ("c", "d"), (1, 2))]


def test_a_template_with_an_unknown_name_lists_the_columns(jsonl):
    source = jsonl({"text": "a", "id": 7, "note": None})
    with pytest.raises(DataError, match=r"the template names \{dialog\}.*; the columns are: text, id, note"):
        read_prompts(Prompts(source=source, template="{text} {dialog}"))
    with pytest.raises(DataError, match=r'line 1: "note" is null, and the template needs a text there'):
        read_prompts(Prompts(source=source, template="{text} {note}", column="text"))
    found = read_prompts(Prompts(source=source, template='{"text": {text}} {id} {1}', column="text"))
    assert found.texts == ['{"text": a} 7 {1}']
