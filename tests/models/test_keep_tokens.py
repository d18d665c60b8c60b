"""Prompts outside a range of tokens are left out, before any is cut."""

from appliance.config.base import TokenRange
from appliance.models.tokens import tokenize_prompts

TEXTS = [" ".join(f"w{i}" for i in range(count)) for count in (6, 1, 3, 9)]


def test_prompts_outside_the_range_are_left_out_and_counted(tokenizer):
    made = tokenize_prompts(tokenizer, TEXTS, length=None, seed=1, keep=TokenRange(low=3, high=6))
    assert made.texts == [TEXTS[0], TEXTS[2]]
    assert made.notes == ["2 prompts of fewer than 3 or more than 6 tokens were left out"]


def test_the_range_counts_whole_prompts_and_the_others_are_cut_as_before(tokenizer):
    length = TokenRange(low=2, high=2)
    made = tokenize_prompts(tokenizer, TEXTS, length=length, seed=1, keep=TokenRange(low=6, high=9))
    assert made.texts == ["w0 w1", "w0 w1"]
    assert [len(ids) for ids in made.ids] == [2, 2]
