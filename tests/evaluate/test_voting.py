"""Win rate, agreement and what sways raters, from votes whose numbers are counted by hand."""

from typing import Any

import pytest

from appliance.evaluate.voting import agreement, first_side, krippendorff_alpha, longer, raters, win_rate
from appliance.store.vote_records import VoteRecord, rankings, ranks


def record(item: int, user: int, choice: str, **more: Any) -> VoteRecord:
    order = more.pop("order", [0, 1])
    ranking = more.pop("ranking", None)
    values = {
        "vote_id": 0,
        "batch_id": 1,
        "item_id": item,
        "prompt": f"prompt {item}",
        "responses": ["short", "rather longer"],
        "origins": ["before", "after"],
        "user_id": user,
        "user_name": f"rater {user}",
        "order": order,
        "is_repeat": False,
        "choice": choice,
        "ranks": ranks(choice, ranking, order),
        "reason": "",
        "seconds": 4.0,
        "created": 0.0,
        "excluded": False,
    }
    return VoteRecord(**(values | more))


def test_ranks_are_those_of_the_responses_and_not_of_the_places():
    assert ranks("a", None, [0, 1]) == (1, 2)
    assert ranks("a", None, [1, 0]) == (2, 1)  # the second response stood first
    assert ranks("b", None, [1, 0]) == (1, 2)
    assert ranks("same", None, [1, 0]) == ranks("both_bad", None, [1, 0]) == (1, 1)
    assert ranks("skip", None, [0, 1]) is None
    # places best first: 2, 0, 3, 1; they showed the responses 3, 1, 0, 2 -> 0, 3, 2, 1 from best to worst
    assert ranks("ranked", [2, 0, 3, 1], [3, 1, 0, 2]) == (1, 4, 3, 2)


def test_the_win_rate_counts_ties_half_and_is_a_mean_over_prompts():
    # prompt 1: win, win -> 1; prompt 2: tie -> .5; prompt 3: loss, win -> .5; prompt 4: loss -> 0: mean .5
    votes = [record(1, 1, "b"), record(1, 2, "b"), record(2, 1, "same"), record(3, 1, "a"), record(3, 2, "b")]
    found = win_rate([*votes, record(4, 1, "a")])
    assert found is not None
    assert (found.wins, found.losses, found.ties, found.prompts) == (3, 2, 1, 4)
    assert found.rate == pytest.approx(0.5)
    assert found.p_value == 1.0  # one prompt above one half, one below
    assert found.ci95 is not None
    assert found.ci95[0] < 0.5 < found.ci95[1]


def test_repeats_skips_and_excluded_raters_do_not_count():
    votes = [
        record(1, 1, "b"),
        record(1, 1, "a", is_repeat=True),
        record(2, 1, "skip"),
        record(3, 2, "a", excluded=True),
    ]
    found = win_rate(votes)
    assert found is not None
    assert (found.wins, found.losses, found.ties) == (1, 0, 0)
    assert [ranking.ranks for ranking in rankings(votes)] == [(2, 1)]
    assert win_rate([record(1, 1, "skip")]) is None


def test_alpha_of_a_table_by_hand():
    # units aa, ab, bb: totals a 3, b 3, n 6; observed: 2 unequal ordered pairs / (2 - 1) = 2; expected 36 - 18 = 18
    # alpha = 1 - 5 * 2 / 18
    assert krippendorff_alpha(["aa", "ab", "bb"]) == pytest.approx(1 - 10 / 18)


def test_alpha_of_the_published_example():
    # Krippendorff 2011, section C: 4 observers, 12 units, nominal data with missing values: alpha = 0.743
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_leaves_out_what_one_rater_judged_and_needs_something_to_disagree_on():
    assert krippendorff_alpha(["a", "b"]) is None
    assert krippendorff_alpha(["aa", "aa"]) is None
    assert krippendorff_alpha(["ab", "ba"]) == pytest.approx(-0.5)  # 1 - 3 * 4 / 8


def test_agreement_is_over_items_with_two_votes_alone():
    found = agreement([record(1, 1, "a"), record(1, 2, "a"), record(2, 1, "a"), record(2, 2, "b"), record(3, 1, "a")])
    assert (found.items, found.share) == (2, 0.5)


def test_a_rater_is_compared_with_themselves_and_with_others():
    votes = [
        record(1, 1, "a"),
        record(1, 1, "b", is_repeat=True, order=[1, 0]),  # the same answer from the other side: consistent
        record(2, 1, "a"),
        record(2, 1, "a", is_repeat=True, order=[1, 0]),  # the same side, so the other answer: not consistent
        record(1, 2, "b"),
        record(3, 1, "skip", seconds=60.0),
    ]
    mine, other = raters(votes)
    assert (mine.votes, mine.skipped, mine.median_seconds) == (5, 1, 4.0)
    assert (mine.repeats.count, mine.repeats.n) == (1, 2)
    assert (mine.first_side.count, mine.first_side.n) == (3, 4)
    assert (mine.with_others.count, mine.with_others.n) == (0, 1)
    assert other.repeats.value is None


def test_the_pull_of_side_and_length():
    votes = [record(i, 1, "a") for i in range(10)]
    side, length = first_side(votes), longer(votes)
    assert (side.count, side.n) == (10, 10)
    assert side.p_value == pytest.approx(2 / 2**10)
    assert (length.count, length.n) == (0, 10)  # the first response is the shorter one
    assert longer([record(1, 1, "a", responses=["xx", "yy"])]).n == 0
