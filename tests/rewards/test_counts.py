"""The reward sources that count words."""

import pytest
import torch
from pydantic import ValidationError

from appliance import parts
from appliance.config.load import part_options
from appliance.errors import ConfigError
from appliance.rewards import keyword, length

CPU = torch.device("cpu")


def test_length_counts_the_words_of_the_response_alone():
    score = length.make(length.Options(per_word=0.5), CPU)
    assert score(["a b c", "a", "a"], [" one two\nthree ", "", "1-2"]).tolist() == [1.5, 0.0, 0.5]


def test_length_takes_away_for_each_word_off_the_target():
    score = length.make(length.Options(per_word=2.0, target_words=2), CPU)
    # 1, 2 and 4 words: 1, 0 and 2 off
    assert score(["p"] * 3, ["a", "a b", "a b c d"]).tolist() == [-2.0, 0.0, -4.0]


def test_length_refuses_what_is_no_number():
    with pytest.raises(ValidationError, match="per_word"):
        length.Options(per_word=float("nan"))
    with pytest.raises(ValidationError, match="target_words"):
        length.Options(target_words=-1)


def test_keyword_counts_whole_words_of_the_response_in_any_letter_case():
    score = keyword.make(keyword.Options(positive=["Good", "fine"], negative=["bad"]), CPU)
    responses = [" GOOD, good; fine!", " goodness badly", " bad good bad", ""]
    assert score(["good"] * 4, responses).tolist() == [3.0, 0.0, -1.0, 0.0]


def test_keyword_can_be_divided_by_the_words_there_are():
    score = keyword.make(keyword.Options(positive=["good"], divide_by_words=True), CPU)
    assert score(["p"] * 3, ["good", "a good one, good", ""]).tolist() == [1.0, 0.5, 0.0]


def test_keyword_scores_are_float32():
    assert keyword.make(keyword.Options(negative=["bad"]), CPU)([], []).dtype == torch.float32
    assert length.make(length.Options(), CPU)(["p"], ["a"]).dtype == torch.float32


def test_keyword_refuses_lists_that_cannot_count():
    with pytest.raises(ValidationError, match="both empty"):
        keyword.Options()
    with pytest.raises(ValidationError, match="'so so' is not a single word"):
        keyword.Options(positive=["so so"])
    with pytest.raises(ValidationError, match="'good' is both positive and negative"):
        keyword.Options(positive=["Good"], negative=["good"])


def test_the_sources_are_found_by_name_and_their_options_survive_a_config():
    assert {"classifier", "keyword", "length", "trained"} <= set(parts.names("rewards"))
    section = part_options("rewards", {"source": "keyword", "positive": ["good"]}, where="reward")
    assert part_options("rewards", section, where="reward") == section
    section = part_options("rewards", {"source": "classifier", "model": "m", "label": 1}, where="reward")
    assert part_options("rewards", section, where="reward") == section
    with pytest.raises(ConfigError, match="did you mean label"):
        part_options("rewards", {"source": "classifier", "model": "m", "lable": "x"}, where="reward")
