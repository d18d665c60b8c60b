"""Held-out figures of a reward model by hand: accuracy and its interval, both baselines, calibration, ties, the worst."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from appliance.data.preferences import Ranking
from appliance.evaluate.reward_figures import (
    ScoredPair,
    calibration,
    effective_pairs,
    mean_interval,
    measure,
    scored_pairs,
    wilson,
    worst,
)


def pair(margin: float, key: str, chosen: str = "aa", rejected: str = "bb") -> ScoredPair:
    """A pair whose chosen side scores `margin` above the rejected one."""
    return ScoredPair(key, key, chosen, rejected, margin, 0.0)


def test_a_ranking_gives_every_pair_with_the_better_side_first_and_its_ties_apart():
    ranking = Ranking("p", ("a", "b", "c"), (2, 1, 2))
    pairs, ties = scored_pairs([ranking], ["k"], [[0.1, 0.2, 0.3]])
    assert pairs == [ScoredPair("k", "p", "b", "a", 0.2, 0.1), ScoredPair("k", "p", "b", "c", 0.2, 0.3)]
    assert ties == [ScoredPair("k", "p", "a", "c", 0.1, 0.3)]


def test_one_pair_a_prompt_is_wilson_the_binomial_and_mcnemar():
    # 15 of 20 right; the longer is chosen in 9: of the pairs where the two differ the model is right in 10, it in 4
    right = [True] * 15 + [False] * 5
    longer = [True] * 5 + [False] * 10 + [True] * 4 + [False]
    pairs = [
        pair(1.0 if r else -1.0, str(i), *(("aaa", "bb") if long else ("aa", "bbb")))
        for i, (r, long) in enumerate(zip(right, longer, strict=True))
    ]
    found = measure(pairs)
    assert found["held_out_accuracy"] == 0.75
    interval = binomtest(15, 20).proportion_ci(method="wilson")
    assert found["held_out_accuracy_ci95"] == pytest.approx([interval.low, interval.high])
    assert (found["held_out_pairs"], found["held_out_prompts"], found["effective_pairs"]) == (20, 20, 20)
    assert found["chance_p"] == pytest.approx(binomtest(15, 20).pvalue)
    assert found["longer_wins_accuracy"] == 0.45
    assert found["longer_wins_difference"] == pytest.approx(0.3)
    assert found["longer_wins_p"] == pytest.approx(binomtest(10, 14).pvalue)
    # d is 1 in 10, -1 in 4, 0 in 6: sum of squares 14 - 20 * 0.3^2 = 12.2, variance of the mean 12.2 / 19 / 20
    half = 2.093024 * math.sqrt(12.2 / 19 / 20)  # t of 19 degrees of freedom
    assert found["longer_wins_difference_ci95"] == pytest.approx([0.3 - half, 0.3 + half], abs=1e-6)


def test_equal_scores_and_equal_lengths_count_half():
    found = measure([pair(0.0, "a"), pair(1.0, "b", "aaa", "bb")])
    assert found["held_out_accuracy"] == 0.75
    assert found["longer_wins_accuracy"] == 0.75
    assert found["chance_p"] == 1.0  # one prompt is left to count


def test_wilson_at_the_ends_and_with_a_part_of_a_pair():
    for right, n in ((0, 5), (5, 5), (7, 9)):
        interval = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right / n, n) == pytest.approx((interval.low, interval.high))
    low, high = wilson(0.5, 12.5)  # 1.96^2 = 3.8415: centre 0.5, half 1.96 sqrt(0.25 / 12.5 + 3.8415 / 625) / 1.3073
    assert (low, high) == pytest.approx((0.2576, 0.7424), abs=1e-4)


def test_pairs_that_copy_each_other_count_once():
    """Ten prompts with four pairs each, all four right or all four wrong: as much as ten pairs."""
    right = np.repeat([1.0, 1, 1, 1, 1, 1, 1, 0, 0, 0], 4)
    groups = np.repeat(np.arange(10), 4)
    # by group: 7 (4 * 0.3)^2 + 3 (4 * 0.7)^2 = 33.6; by pair: 28 * 0.3^2 + 12 * 0.7^2 = 8.4; 40 * 8.4 / 33.6 = 10
    assert effective_pairs(right, groups) == pytest.approx(10)
    copies = measure([pair(1.0 if r else -1.0, str(g)) for r, g in zip(right, groups, strict=True)])
    low, high = copies["held_out_accuracy_ci95"]
    single = measure([pair(1.0 if r else -1.0, str(g)) for g, r in enumerate(right[::4])])
    assert (low, high) == pytest.approx(single["held_out_accuracy_ci95"])
    assert copies["chance_p"] == single["chance_p"] == pytest.approx(binomtest(7, 10).pvalue)


def test_pairs_of_a_prompt_that_have_nothing_in_common_count_in_full():
    right = np.array([1.0, 0, 0, 1, 1, 0, 0, 1])
    assert effective_pairs(right, np.repeat(np.arange(4), 2)) == 8


def test_where_nothing_varies_every_prompt_counts_as_one_pair():
    assert effective_pairs(np.ones(12), np.repeat(np.arange(4), 3)) == 4
    assert effective_pairs(np.array([1.0, 0, 1]), np.zeros(3, dtype=int)) == 1
    assert mean_interval(np.array([1.0, 0, 1]), np.zeros(3, dtype=int)) is None
    found = measure([pair(1.0, "one"), pair(2.0, "one")])
    low, high = found["held_out_accuracy_ci95"]
    assert (high, found["held_out_prompts"]) == (1.0, 1)
    assert low == pytest.approx(1 / (1 + 3.8415), abs=1e-4)  # Wilson's for one of one


def test_calibration_is_by_how_sure_the_model_is():
    # sigmoid(1) = 0.7311 (bin 0.70-0.75), sigmoid(0.1) = 0.5250 (bin 0.50-0.55), sigmoid(9) = 0.99988 (the last)
    pairs = [pair(1.0, "a"), pair(-1.0, "b"), pair(1.0, "c"), pair(0.1, "d"), pair(9.0, "e")]
    found = measure(pairs)
    assert [(b["low"], b["high"], b["pairs"]) for b in found["calibration"]] == [
        (0.5, 0.55, 1),
        (pytest.approx(0.7), pytest.approx(0.75), 3),
        (0.95, 1.0, 1),
    ]
    middle = found["calibration"][1]
    assert (middle["predicted"], middle["observed"]) == (pytest.approx(0.7310586), pytest.approx(2 / 3))
    # |0.5250 - 1| / 5 + 3 |0.7311 - 0.6667| / 5 + |0.99988 - 1| / 5
    assert found["ece"] == pytest.approx((0.475021 + 3 * 0.064392 + 0.000123) / 5, abs=1e-6)
    # (1 - p)^2 of the chosen: 0.2689^2 twice, 0.7311^2, 0.4750^2, 0.0001^2
    assert found["brier"] == pytest.approx((2 * 0.268941**2 + 0.731059**2 + 0.475021**2 + 0.000123**2) / 5, abs=1e-6)
    losses = [math.log1p(math.exp(-m)) for m in (1, -1, 1, 0.1, 9)]
    assert found["held_out_loss"] == pytest.approx(sum(losses) / 5)


def test_scores_of_any_size_have_finite_figures():
    found = measure([pair(1e6, "a"), pair(-1e6, "b"), pair(1e6, "c")])
    assert found["brier"] == pytest.approx(1 / 3)
    assert found["held_out_loss"] == pytest.approx(1e6 / 3)
    assert calibration(np.array([1.0]), np.array([1.0]))[0]["high"] == 1.0


def test_ties_are_told_apart_from_the_pairs():
    found = measure([pair(2.0, "a"), pair(-4.0, "b")], [pair(0.8, "c"), pair(-1.2, "d")])
    assert found["held_out_pairs"] == 2
    # |0.8| is below log 3 = 1.0986, |1.2| above
    assert found["ties"] == {
        "pairs": 2,
        "mean_gap": 1.0,
        "mean_gap_of_other_pairs": 3.0,
        "told_apart_share": 0.5,
    }
    assert measure([pair(2.0, "a")])["ties"] is None


def test_a_model_that_pays_for_length_is_seen():
    pairs = [
        ScoredPair(str(i), str(i), "x" * (5 + i), "x" * (3 + 2 * (i % 3)), 5.0 + i, 3.0 + 2 * (i % 3)) for i in range(9)
    ]
    found = measure(pairs)
    assert found["score_length_correlation"] == pytest.approx(1)
    assert found["margin_length_correlation"] == pytest.approx(1)


def test_the_worst_are_the_wrong_ones_with_the_largest_margin():
    pairs = [pair(m, str(i)) for i, m in enumerate((-1.0, 2.0, -3.0, 0.0, -2.0))]
    assert [found["margin"] for found in worst(pairs)] == [-3, -2, -1]
    assert [found["prompt"] for found in worst(pairs, 1)] == ["2"]
    assert worst([pair(1.0, "a")]) == []
