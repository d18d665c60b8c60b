"""Regular expressions on responses, counted by hand; one that would take for ever ends with a message."""

import pytest
import torch
from pydantic import ValidationError

from appliance.errors import ApplianceError
from appliance.rewards import pattern

CPU = torch.device("cpu")


def scores(responses, **options):
    return pattern.make(pattern.Options(**options), CPU)(["p"] * len(responses), responses).tolist()


def test_a_match_counts_once_or_each_time():
    patterns = [{"regex": r"\bthank(s| you)\b", "weight": 1.5}, {"regex": "!", "weight": -0.25}]
    texts = ["thanks! thank you!!", "Thanks", ""]
    assert scores(texts, patterns=patterns) == [1.25, 0.0, 0.0]  # 1.5 - .25
    assert scores(texts, patterns=patterns, count="matches") == [2.25, 0.0, 0.0]  # 2 * 1.5 - 3 * .25


def test_letter_case_and_the_ends_of_the_text():
    assert scores(["YES", "no\nyes", "yes"], patterns=[{"regex": "^yes$", "ignore_case": True}]) == [1.0, 0.0, 1.0]
    assert scores(["no\nyes"], patterns=[{"regex": "(?m)^yes$"}]) == [1.0]


def test_the_prompt_is_not_looked_at_and_a_long_text_not_to_its_end():
    assert pattern.make(pattern.Options(patterns=[{"regex": "p"}]), CPU)(["p"], ["r"]).tolist() == [0.0]
    assert scores(["a" * 9 + "b", "b"], patterns=[{"regex": "b"}], max_characters=9) == [0.0, 1.0]


@pytest.mark.parametrize("count", ["matches", "presence"])
def test_an_expression_that_backtracks_ends_with_a_message(count):
    with pytest.raises(
        ApplianceError, match=r"'\(\?:a\|aa\)\+\$' took longer than 0.05 s on a response of 5001"
    ) as told:
        scores(["a" * 5000 + "b"], patterns=[{"regex": "(?:a|aa)+$"}], timeout_s=0.05, count=count)
    assert "repeats inside repeats" in told.value.fix


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": []}, "patterns is empty"),
        ({"patterns": [{"regex": "("}]}, r"not a regular expression: missing \)"),
        ({"patterns": [{"regex": ""}]}, "at least 1 character"),
        ({"patterns": [{"regex": "a", "weight": float("nan")}]}, "finite"),
    ],
)
def test_what_is_no_expression_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        pattern.Options(**options)
