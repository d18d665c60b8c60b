from dataclasses import replace

import numpy as np
import pytest

from appliance.evaluate import statistics, verdict
from appliance.evaluate.statistics import Side

CALM = Side(
    distinct_1=0.5,
    distinct_2=0.8,
    length_tokens=20.0,
    ended_share=0.9,
    perplexity=12.0,
    variety=1.0,
    score_length_correlation=0.0,
)


def scores_of(comparison):
    return statistics.paired(comparison.before.scores, comparison.after.scores)


def judge(scores, *, before=CALM, after=CALM, kl=4.2, **more):
    return verdict.judge(scores, before, after, kl=kl, **more)


def test_a_clear_improvement_is_better(compare):
    scores = scores_of(compare(1.0))
    found = judge(scores)
    low, high = scores.difference_ci95
    assert (found.word, found.warnings) == ("better", [])
    assert scores.p_value < 0.01
    assert found.sentence == (
        f"better: 15 of 15 prompts improved, mean reward +{scores.difference:.2f} [{low:.2f}, {high:.2f}] "
        "(p = 0.00006), KL 4.20 nats, no sign of reward hacking"
    )


def test_the_mirror_image_is_worse(compare):
    found = judge(scores_of(compare(-1.0)))
    assert found.word == "worse"
    assert found.sentence.startswith("worse: 15 of 15 prompts got worse, mean reward -1.0")
    assert "hacking" not in found.sentence


def test_identical_sides_have_no_effect():
    scores = np.random.default_rng(0).normal(size=(15, 8))
    found = judge(statistics.paired(scores, scores), kl=0.0)
    assert found.word == "no effect"
    assert found.sentence == "no effect: nothing improved, 15 prompts scored the same before and after, KL 0 nats"


def test_constant_scores_have_no_effect():
    found = judge(statistics.paired(np.ones((15, 8)), np.ones((15, 8))))
    assert (found.word, found.warnings) == ("no effect", [])


def test_shuffled_answers_have_no_effect():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(15, 8))
    shuffled = rng.permuted(scores, axis=1)  # the same answers to each prompt in another order
    assert judge(statistics.paired(scores, shuffled)).word == "no effect"
    mixed = rng.permuted(scores.ravel()).reshape(15, 8)
    assert judge(statistics.paired(scores, mixed)).word == "no effect"


def test_nothing_improved_is_said_plainly():
    before = np.ones((15, 2))
    after = before.copy()
    after[:3] -= [[0.1], [0.2], [0.3]]
    assert "nothing improved, 3 of 15 prompts got worse" in judge(statistics.paired(before, after)).sentence


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=(15, 8)),
        lambda rng: rng.standard_t(2, size=(15, 8)),
        lambda rng: rng.integers(0, 2, size=(30, 8)).astype(float),
    ],
    ids=["normal", "heavy tails", "pass or fail"],
)
def test_noise_is_seldom_called_better_or_worse(draw):
    # p < 0.01 on both sides together: of 400 comparisons two of either word are expected
    words, base = [], paired()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        differences = statistics.prompt_differences(draw(rng), draw(rng))
        low, high = statistics.mean_interval(differences)
        p = statistics.wilcoxon_p(differences) if low > 0 or high < 0 else 1.0  # slow, and without effect otherwise
        words.append(verdict.word(replace(base, p_value=p, difference_ci95=(low, high))))
    assert words.count("better") <= 4  # 1%
    assert words.count("worse") <= 4


def paired(**changed):
    scores = np.arange(15.0)[:, None]
    return replace(statistics.paired(scores, scores), **changed)


@pytest.mark.parametrize(
    ("p", "interval", "word"),
    [
        (0.0099, (0.1, 0.2), "better"),
        (0.01, (0.1, 0.2), "no effect"),
        (0.0099, (-0.2, -0.1), "worse"),
        (0.0099, (-0.1, 0.2), "no effect"),
        (0.0099, (0.0, 0.2), "no effect"),
        (0.0099, None, "no effect"),
    ],
)
def test_the_word_needs_both_p_and_interval(p, interval, word):
    assert verdict.word(paired(p_value=p, difference_ci95=interval)) == word


@pytest.mark.parametrize("prompts", [1, 2, 3, 7])
def test_too_few_prompts_cannot_tell(compare, prompts):
    found = judge(scores_of(compare(5.0, prompts=prompts)))
    assert found.word == "no effect"
    assert f"too few prompts to tell ({prompts} of at least 8)" in found.sentence
    assert any("can be told from chance" in warning for warning in found.warnings)
    assert any("no intervals" in warning for warning in found.warnings) == (prompts < 3)


def test_eight_prompts_can_tell(compare):
    assert judge(scores_of(compare(5.0, prompts=8))).word == "better"


def test_a_second_opinion_that_does_not_rise_disagrees(compare):
    scores, clear, fall = scores_of(compare(1.0)), scores_of(compare(1.0, seed=1)), scores_of(compare(-1.0))
    flat = replace(clear, difference=0.0)
    assert verdict.agrees(scores, clear)
    assert not verdict.agrees(scores, flat)
    assert not verdict.agrees(scores, fall)
    found = judge(scores, opinion=fall)
    assert found.word == "better"
    assert found.sentence.endswith("but read the 1 warning")
    assert found.warnings[0].startswith(
        "the second opinion disagrees: the reward changed by +0.97, the second opinion by -1.0"
    )


def test_a_second_opinion_may_move_by_chance_where_the_reward_does(compare):
    none, fall, rise = scores_of(compare(0.0)), scores_of(compare(-1.0)), scores_of(compare(1.0))
    slight = replace(none, difference=-0.01, p_value=0.5)
    assert verdict.agrees(none, slight)
    assert not verdict.agrees(none, fall)
    assert verdict.agrees(fall, slight)
    assert not verdict.agrees(fall, rise)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"distinct_2": 0.39}, "distinct word pairs fell from 0.80 to 0.39"),
        ({"variety": 0.25}, "nearly all the same text"),
        ({"variety": 0.0}, "are all the same text"),
        ({"length_tokens": 31.0, "score_length_correlation": 0.6}, "from 20.0 to 31.0 tokens: the reward may pay"),
        ({"length_tokens": 9.0, "score_length_correlation": -0.6}, "shorter answers score better (correlation -0.60)"),
        ({"ended_share": 0.74}, "fewer answers end by themselves: 74%, before 90%"),
        ({"perplexity": 121.0}, "perplexity 121, before 12"),
    ],
)
def test_each_sign_of_reward_hacking_is_told(compare, changed, said):
    found = judge(scores_of(compare(1.0)), after=replace(CALM, **changed))
    assert [said in warning for warning in found.warnings] == [True]
    assert "no sign of reward hacking" not in found.sentence


@pytest.mark.parametrize(
    "changed",
    [
        {"distinct_2": 0.41},
        {"variety": 0.26},
        {"length_tokens": 31.0, "score_length_correlation": 0.4},
        {"length_tokens": 31.0, "score_length_correlation": -0.6},
        {"length_tokens": 29.0, "score_length_correlation": 0.6},
        {"ended_share": 0.76},
        {"perplexity": 119.0},
        {"perplexity": None},
    ],
)
def test_what_stays_within_its_limit_is_no_warning(compare, changed):
    assert judge(scores_of(compare(1.0)), after=replace(CALM, **changed)).warnings == []


def test_a_narrow_task_may_have_few_different_answers(compare):
    few = replace(CALM, variety=0.02)
    assert judge(scores_of(compare(1.0)), before=few, after=few).warnings == []


def test_drift_and_alarms_are_warnings(compare):
    alarm = {"step": 7, "kind": "alarm", "name": "kl", "what": "KL is 21.0", "fix": "lower it"}
    events = [alarm, alarm | {"step": 9}, {"step": 1, "kind": "notice", "what": "only told"}]
    found = judge(scores_of(compare(1.0)), kl=20.5, events=events)
    assert found.warnings == [
        "the result drifted far from the starting policy: KL 20.50 nats per response, over 20",
        "alarm at step 7 (and 1 times more): KL is 21.0",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-12, "0"), (4.2, "4.20"), (-0.0031, "-0.0031"), (12345.6, "12,346"), (0.01, "0.01")],
)
def test_numbers_keep_what_matters(value, text):
    assert verdict.number(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "p = 1.00"), (0.85, "p = 0.85"), (0.0099, "p = 0.0099"), (0.00006, "p = 0.00006"), (1e-9, "p < 0.000001")],
)
def test_p_is_never_rounded_to_zero(p, text):
    assert verdict.p_text(p) == text


def test_signs_and_durations():
    assert [verdict.signed(v) for v in (2.1, -0.3, 0.0, 1e-15)] == ["+2.10", "-0.30", "0", "0"]
    assert [verdict.duration(s) for s in (41.6, 200, 3900)] == ["42 s", "3 min 20 s", "1 h 05 min"]
