import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from appliance.data.ngrams import distinct
from appliance.evaluate import statistics


def test_wilcoxon_by_hand():
    # ranks 3, 2, 1, -4: W- = 4. Of the 16 sign patterns 7 have a sum of at most 4: {} 1 2 3 4 12 13  ->  2 * 7 / 16
    assert statistics.wilcoxon_p(np.array([3.0, 2.0, 1.0, -4.0])) == pytest.approx(0.875)
    # all of 15 improve: the one most extreme pattern of 2^15, and its mirror
    assert statistics.wilcoxon_p(np.arange(1.0, 16.0)) == pytest.approx(2 / 2**15)


def test_wilcoxon_drops_zeros_and_is_1_without_a_change():
    assert statistics.wilcoxon_p(np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2 / 2**5)
    assert statistics.wilcoxon_p(np.zeros(15)) == 1.0
    assert statistics.wilcoxon_p(np.array([0.7])) == 1.0


def test_wilcoxon_of_equal_differences_is_exact_when_few():
    # five equal differences, all up: 2 of the 2^5 sign patterns are as extreme
    assert statistics.wilcoxon_p(np.ones(5)) == pytest.approx(2 / 2**5)


def test_rounding_errors_make_no_difference():
    before, after = np.array([[0.1, 0.2], [0.3, 0.0]]), np.array([[0.2, 0.1], [0.1 + 0.2, 0.0]])  # .1 + .2 != .3
    assert statistics.prompt_differences(before, after).tolist() == [0.0, 0.0]


def test_sign_test_by_hand():
    # 9 up, 1 down, 2 ties dropped: 2 * (1 + 10) / 2^10
    assert statistics.sign_test_p(np.array([1.0] * 9 + [-1.0] + [0.0] * 2)) == pytest.approx(22 / 1024)
    assert statistics.sign_test_p(np.zeros(4)) == 1.0


def test_counts_and_means_by_hand():
    # prompt means 1 -> 3, 2 -> 1, 5 -> 5
    found = statistics.paired([[0, 2], [2, 2], [4, 6]], [[3, 3], [0, 2], [6, 4]])
    assert (found.prompts, found.improved, found.worse, found.tied) == (3, 1, 1, 1)
    assert (found.mean_before, found.mean_after, found.difference) == (16 / 6, 3.0, pytest.approx(2 / 6))
    # sorted 0 2 2 2 4 6 -> 2, 0 2 3 3 4 6 -> 3
    assert (found.median_before, found.median_after, found.median_difference) == (2.0, 3.0, 1.0)


def test_mean_interval_is_scipys():
    values = np.random.default_rng(1).gamma(2.0, size=15)
    expected = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(statistics.SEED)).confidence_interval
    assert statistics.mean_interval(values) == pytest.approx(tuple(expected), abs=1e-9)


def test_median_interval_is_scipys_paired_one():
    rng = np.random.default_rng(2)
    before = rng.normal(size=15)
    after = before + rng.gamma(1.0, size=15)
    expected = stats.bootstrap(
        (after, before),
        lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        paired=True,
        rng=np.random.default_rng(statistics.SEED),
    ).confidence_interval
    assert statistics.median_interval(before[:, None], after[:, None]) == pytest.approx(tuple(expected), abs=1e-9)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    intervals = [statistics.mean_interval(rng.normal(1.0, 1.0, size=20)) for _ in range(200)]
    covered = sum(low < 1.0 < high for low, high in intervals)
    assert 176 <= covered <= 198  # 95% of 200 is 190; BCa of 20 values covers about 93%, binomial spread 3.5


@pytest.mark.parametrize("shift", [0.0, 0.1, -2.5])
def test_the_same_change_everywhere_gives_a_point(shift):
    before = np.random.default_rng(4).normal(size=(60, 1))
    found = statistics.paired(before, before + shift)
    assert found.difference_ci95 == (pytest.approx(shift), pytest.approx(shift))
    assert found.difference_ci95[0] <= found.difference_ci95[1]
    constant = statistics.paired(np.zeros((9, 2)), np.full((9, 2), shift))
    assert constant.median_difference_ci95 == (shift, shift)


def test_where_bca_is_not_defined_the_interval_is_the_percentiles():
    # the median of 0 0 0 1 1 1 1 1 1 is 1 whichever prompt is left out, so that no prompt has an influence; of the
    # resamples 14% have five zeros or more and the median 0
    after = np.array([0.0] * 3 + [1.0] * 6)[:, None]
    assert statistics.median_interval(np.zeros((9, 1)), after) == (0.0, 1.0)


@pytest.mark.parametrize(("prompts", "samples"), [(1, 1), (2, 1), (2, 4), (3, 1), (4, 2)])
def test_few_prompts_give_numbers_and_no_made_up_intervals(prompts, samples):
    rng = np.random.default_rng(5)
    found = statistics.paired(rng.normal(size=(prompts, samples)), rng.normal(size=(prompts, samples)))
    assert (found.difference_ci95 is None) == (found.median_difference_ci95 is None) == (prompts < 3)
    assert 0.0 < found.p_value <= 1.0


def test_intervals_are_the_same_on_every_call():
    values = np.random.default_rng(6).normal(size=15)
    assert statistics.mean_interval(values) == statistics.mean_interval(values)


def test_distinct_by_hand():
    texts = ["a b a", "a b", ""]
    assert distinct(texts, 1) == 2 / 5  # a, b of five words
    assert distinct(texts, 2) == 2 / 3  # (a b), (b a) of (a b), (b a), (a b); no pair across texts
    assert distinct([""], 2) == 0.0


def test_variety_from_all_alike_to_all_different():
    assert statistics.variety(["x", "x ", "\nx"]) == 0.0
    assert statistics.variety(["x", "y", "z"]) == 1.0
    assert statistics.variety(["x", "x", "y"]) == 0.5
    assert statistics.variety(["x"]) == 1.0


def test_perplexity_weighs_tokens_not_answers():
    assert statistics.perplexity([2.0, 10.0], [1, 5]) == pytest.approx(math.exp(2.0))  # 12 nats over 6 tokens
    assert statistics.perplexity([0.0], [0]) is None
    assert math.isfinite(statistics.perplexity([1e6], [1]))


def test_correlation_by_hand():
    assert statistics.correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert statistics.correlation([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert statistics.correlation([1, 1, 1], [1, 2, 3]) == 0.0
    assert statistics.correlation([1, 2], [1, 2]) == 0.0


def test_middle_is_where_the_median_is():
    assert statistics.middle([5.0, 1.0, 3.0]) == 2
    assert statistics.middle([4.0, 1.0, 3.0, 2.0]) == 3
    assert statistics.middle([7.0]) == 0


def test_side_by_hand(compare):
    answers = replace(
        compare(0.0, prompts=2, samples=2).before,
        texts=[["a b a", "a b"], ["c", "c"]],
        tokens=[[4, 3], [2, 3]],
        ended=[[True, False], [True, True]],
        start_nll=[[6.0, 6.0], [6.0, 6.0]],
        scores=[[4.0, 3.0], [2.0, 3.0]],
    )
    found = statistics.side(answers)
    assert (found.distinct_1, found.distinct_2) == (3 / 7, 2 / 3)
    assert (found.length_tokens, found.ended_share) == (3.0, 0.75)
    assert found.perplexity == pytest.approx(math.exp(2.0))  # 24 nats over 12 tokens
    assert found.variety == pytest.approx(2 / 3)
    assert found.score_length_correlation == pytest.approx(1.0)
