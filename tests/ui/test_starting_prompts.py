"""Practice prompts of the Start tab: kept, looked at, cleaned, split."""

import json

import pytest

from appliance.errors import DataError
from appliance.store import datasets, users
from appliance.ui import starting_prompts as prompts

CSV = "id,question\n0,alpha beta\n1,\n2,gamma\n3,alpha beta\n4,delta\n5,{long}\n"


@pytest.fixture
def owner(store):
    return users.add(store, "anna", "correct horse battery", "trainer").id


@pytest.fixture
def kept(store, owner, tmp_path):
    file = tmp_path / "questions.csv"
    file.write_text(CSV.format(long="x" * 21_000))
    return prompts.keep(store, file, "questions.csv", owner)


def look(store, dataset, column=None, template=""):
    return prompts.look(datasets.path_of(store, dataset), column, template)


def test_a_file_is_kept_and_its_column_guessed(store, kept):
    looked = look(store, kept)
    assert (kept.rows, looked.checked.column, looked.checked.usable_rows) == (6, "question", 4)
    assert looked.lengths == (10, 5, 5, 21_000)
    assert looked.bytes == 21_000
    headers, rows = prompts.preview(looked.checked)
    assert headers == ["question (the prompt)", "id"]
    assert rows[0] == ["alpha beta", "0"]


def test_problems_name_their_rows(store, kept):
    said = prompts.problem_lines(look(store, kept).checked)
    assert "**1** row blank, left out: line 3" in said or "row blank, left out: row 3" in said
    assert "repeated" in said
    assert "longer" in said


@pytest.mark.parametrize(("kind", "left"), [("blank", 5), ("repeated", 5), ("long", 5)])
def test_a_cleaned_copy_is_a_data_set_of_its_own(store, kept, owner, kind, left):
    made = prompts.clean(store, kept, "question", "", kind, owner)
    assert (made.rows, made.name) == (left, "questions-cleaned.jsonl")
    rows = [json.loads(line) for line in datasets.path_of(store, made).read_text().splitlines()]
    assert rows[0] == {"id": "0", "question": "alpha beta"}
    assert kind not in {problem.kind for problem in look(store, made, "question").checked.problems}


def test_broken_lines_can_be_dropped(store, owner, tmp_path):
    file = tmp_path / "b.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": \n{"prompt": "two"}\n')
    kept = prompts.keep(store, file, "b.jsonl", owner)
    assert look(store, kept).checked.error is not None
    assert "cannot be used yet" in prompts.problem_lines(look(store, kept).checked)
    made = prompts.clean(store, kept, "prompt", "", "broken", owner)
    assert look(store, made).checked.usable_rows == 2


def test_a_file_of_another_kind_and_an_empty_one_are_refused(store, owner, tmp_path):
    for name, content in (("a.exe", "x"), ("empty.txt", ""), ("b.json", "{")):
        file = tmp_path / name
        file.write_text(content)
        with pytest.raises(DataError):
            prompts.keep(store, file, name, owner)
    with pytest.raises(DataError, match="nothing to take"):
        prompts.keep_text(store, "  \n", "pasted.txt", owner)
    assert datasets.list_datasets(store) == []


def test_pasted_lines_are_prompts(store, owner):
    kept = prompts.keep_text(store, "one\r\ntwo\r\n", "pasted.txt", owner)
    assert (kept.rows, look(store, kept).lengths) == (2, (3, 3))


def test_a_template_surrounds_the_prompts_and_a_wrong_one_is_explained(store, kept):
    # "alpha beta" has 10 characters, "Say: " five more
    assert look(store, kept, "question", "Say: {question}").lengths[0] == 15
    wrong = look(store, kept, "question", "Say: {answer}")
    assert wrong.lengths == ()
    assert "no such column" in prompts.problem_lines(wrong.checked).replace("\\", "")


def test_the_split_keeps_something_to_test_on():
    # 1000: 64 to test; an eighth would be 125, so 30 for the report; 1000 - 94 = 906
    assert prompts.split_of(1000) == prompts.Split(906, 64, 30)
    assert prompts.split_of(1000, report_given=True).sentence == (
        "936 practice prompts, 64 test prompts, 15 for the report"
    )
    assert prompts.split_of(8) == prompts.Split(4, 2, 2)
    with pytest.raises(DataError, match="7 prompts"):
        prompts.split_of(7)


def test_the_histogram_counts_every_prompt_once():
    bars = prompts.histogram((1, 1, 2, 3, 500))
    assert sum(count for _, count in bars) == 5
    assert len(bars) <= prompts.BINS + 1
    assert prompts.histogram((4, 4))[0] == ("4", 2)
    assert prompts.histogram(()) == []
