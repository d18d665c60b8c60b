"""The held-out side: whole keys, exact counts, and nothing but the seed and the keys decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.data.split import held_out

KEYS = st.lists(st.text(max_size=3), max_size=40)


@given(keys=KEYS, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_equal_keys_stay_together_whatever_their_order(keys, share, seed):
    side = dict(zip(keys, held_out(keys, share, seed=seed), strict=True))
    assert [side[key] for key in keys] == held_out(keys, share, seed=seed)
    turned = keys[::-1] + keys[:3]
    assert held_out(turned, share, seed=seed) == [side[key] for key in turned]


@given(keys=KEYS, share=st.floats(0, 1))
def test_a_share_is_that_part_of_the_keys_and_leaves_both_sides_filled(keys, share):
    distinct = len(set(keys))
    held = len({key for key, out in zip(keys, held_out(keys, share, seed=1), strict=True) if out})
    if share == 0 or distinct < 2:
        assert held == 0
    else:
        assert 1 <= held <= distinct - 1
        assert abs(held - share * distinct) <= 1


@given(keys=KEYS, data=st.data())
def test_a_count_is_exact_in_distinct_keys(keys, data):
    count = data.draw(st.integers(0, len(set(keys))))
    held = {key for key, out in zip(keys, held_out(keys, count=count, seed=1), strict=True) if out}
    assert len(held) == count


def test_another_seed_holds_out_others():
    keys = [str(number) for number in range(100)]
    sides = {seed: held_out(keys, 0.5, seed=seed) for seed in (1, 2)}
    agree = sum(a == b for a, b in zip(sides[1], sides[2], strict=True))
    assert 30 < agree < 70  # two independent halves agree on 50 +- 5


def test_the_choice_is_the_same_in_every_process():
    # recorded: hash() differs between processes, this must not
    found = dict(zip("abcdefgh", held_out(list("abcdefgh"), 0.25, seed=1), strict=True))
    assert [key for key, out in found.items() if out] == ["b", "h"]


@pytest.mark.parametrize("choice", [{}, {"share": 0.5, "count": 1}, {"share": 1.5}, {"count": 3}, {"count": -1}])
def test_choices_that_mean_nothing_are_refused(choice):
    with pytest.raises(ValueError, match=r"give either|not between|to be held out"):
        held_out(["a", "b"], seed=1, **choice)
