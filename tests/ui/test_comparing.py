"""The Compare tab's words, orders and table, without a browser."""

import csv
import io
import json
from dataclasses import replace

import pytest

from appliance.errors import ApplianceError
from appliance.evaluate.records import Answers, Comparison
from appliance.store.schema import Question, Run
from appliance.ui import comparing


def side(texts, scores, tokens=None):
    rows = len(texts)
    flat = [[0.0] * len(texts[0])] * rows
    whole = tokens or [[2] * len(texts[0])] * rows
    return Answers(texts, scores, whole, [[True] * len(texts[0])] * rows, flat, flat)


@pytest.fixture
def comparison():
    before = side([["a cat sat", "b"], ["c", "d"]], [[0.0, 1.0], [2.0, 3.0]])
    after = side([["a dog sat", "B"], ["C", "=D"]], [[0.5, 4.0], [1.0, 3.0]], [[2, 9], [3, 4]])
    return Comparison(["p", "q"], before, after)


def test_answers_come_in_the_order_that_was_asked_for(comparison):
    # changes: .5, 3, -1, 0
    assert comparing.places(comparison, "gain") == [(0, 1), (0, 0), (1, 1), (1, 0)]
    assert comparing.places(comparison, "loss") == [(1, 0), (1, 1), (0, 0), (0, 1)]
    assert comparing.places(comparison, "longest")[0] == (0, 1)
    mixed = comparing.places(comparison, "random")
    assert sorted(mixed) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert mixed == comparing.places(comparison, "random")


def test_only_words_that_differ_are_marked():
    left, right = comparing.word_diff("a cat sat", "a dog sat")
    assert left == [("a ", None), ("cat", "removed"), (" sat", None)]
    assert right == [("a ", None), ("dog", "added"), (" sat", None)]
    assert comparing.word_diff("", "new") == ([], [("new", "added")])


def test_both_texts_survive_the_marking():
    before, after = "One, two.\n\nThree!", "One two;\tthree?"
    left, right = comparing.word_diff(before, after)
    assert "".join(text for text, _ in left) == before
    assert "".join(text for text, _ in right) == after


REPORT = {
    "verdict": {"word": "better", "warnings": ["longer answers score <better>"]},
    "improved": 12,
    "worse": 3,
    "prompts": 15,
    "samples": 8,
    "mean_reward": {"before": 0.1, "after": 0.9},
    "difference": 0.8,
    "difference_ci95": [0.6, 1.0],
    "p_value": 0.004,
    "kl": 1.5,
    "second_opinion": {"agrees": False, "difference": -0.2},
}


def test_the_headline_says_the_verdict_its_numbers_and_what_speaks_against_it():
    said = comparing.headline(REPORT)
    assert said.startswith("### Better: answers improved on 12 of 15 test prompts.")
    assert "+0.80 (95 % interval [0.60, 1.00]), p = 0.004" in said
    assert "**disagrees**: -0.20" in said
    assert "- longer answers score \\<better\\>" in said


def test_no_effect_is_said_as_plainly():
    said = comparing.headline(REPORT | {"verdict": {"word": "no effect", "warnings": []}, "difference_ci95": None})
    assert said.startswith("### No clear effect: 12 of 15 test prompts improved, 3 got worse.")
    assert "interval" not in said


def test_the_table_holds_every_answer_and_no_formula(comparison):
    rows = list(csv.DictReader(io.StringIO(comparing.answers_csv(comparison))))
    assert len(rows) == 4
    assert [rows[1][name] for name in ("prompt", "sample", "before", "after", "change")] == ["p", "2", "b", "B", "3.0"]
    assert rows[3]["after"] == "'=D"


def test_a_report_that_is_missing_or_damaged_is_said_so(tmp_path):
    run = Run(name="mine", folder=str(tmp_path))
    with pytest.raises(ApplianceError, match="mine has no comparison yet"):
        comparing.read(run)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("{")
    (tmp_path / "report" / "samples.json").write_text("{}")
    with pytest.raises(ApplianceError, match="cannot be read"):
        comparing.read(run)


def test_a_report_is_read_back(tmp_path, comparison):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(REPORT))
    (tmp_path / "report" / "samples.json").write_text(json.dumps(comparison.to_json()))
    assert comparing.read(Run(name="mine", folder=str(tmp_path))).comparison == comparison


def test_the_lines_beside_a_pair(comparison):
    assert comparing.position_line(2, 4, (1, 0), comparison) == "3 of 4 · answer 1 of 2 to this prompt"
    assert "Score 1.00 before, 4.00 after (+3.00). Length 2 tokens before, 9 after." in comparing.score_line(
        comparison, 0, 1
    )
    tied = replace(comparison, after=comparison.before)
    assert "(0)" in comparing.score_line(tied, 0, 0)


def test_a_question_says_where_it_stands():
    asked = Question(state="queued", message="a training needs the memory", answer=None)
    assert comparing.question_state(asked) == ("a training needs the memory", "", "")
    done = Question(state="done", answer={"before": {"text": "x"}, "after": {"text": "y"}})
    assert comparing.question_state(done) == ("", "x", "y")
    partial = Question(state="answering", answer={"before": {"text": "x"}})
    assert comparing.question_state(partial) == ("Both models are writing.", "x", "")
