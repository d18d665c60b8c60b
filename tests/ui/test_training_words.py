"""The Training tab's sentences: how it goes, by rules; results, failures, events."""

import pytest

from appliance.store.schema import Event, Run
from appliance.ui import training_cards as cards
from appliance.ui import training_words as words
from appliance.ui.training import Now

LIMITS = words.Limits(answers=100, test_answers=50)


def series(*values):
    return list(enumerate(values))


def points(**changed):
    """A quiet training of eight steps; by default the score does not move."""
    steady = {
        "score_mean": series(*[1.0] * 8),
        "score_std": series(*[1.0] * 8),
        "kl": series(*[2.0] * 8),
        "entropy": series(*[1.0] * 8),
        "length_mean": series(*[20.0] * 8),
        "ratio_mean": series(*[1.0] * 8),
        "score_length_correlation": series(*[0.0] * 8),
        "saturated_share": series(*[0.0] * 8),
    }
    return steady | changed


def kind(**changed):
    return words.ppo_headline(points(**changed), LIMITS).kind


def test_a_rise_on_the_test_prompts_is_going_well():
    # chance: 1 * sqrt(2 / 50) = .2, so that a rise of .8 is clear and one of .3 is not
    found = words.ppo_headline(points(eval_score_mean=[(0, 0.1), (8, 0.9)]), LIMITS)
    assert found == words.Headline(
        "well",
        "Going well: the score on the test prompts rose by 0.80 since the start (0.10 to 0.90). "
        "Drift is normal (2.00 nats per answer, the limit is 20).",
    )
    assert kind(eval_score_mean=[(0, 0.1), (8, 0.4)]) == "unclear"
    assert kind(eval_score_mean=[(0, 0.9), (8, 0.1)]) == "worse"


def test_the_test_prompts_count_more_than_the_practice_prompts():
    rising = series(0, 0, 0, 0, 5, 5, 5, 5)
    assert kind(score_mean=rising) == "well"
    assert kind(score_mean=rising, eval_score_mean=[(0, 1.0), (8, 1.0)]) == "unclear"


def test_without_test_prompts_the_first_steps_are_compared_with_the_last():
    # four steps of 100 answers on each side: chance 1 * sqrt(2 / 400) = .071, clear above .141
    assert kind(score_mean=series(1, 1, 1, 1, 1.15, 1.15, 1.15, 1.15)) == "well"
    assert kind(score_mean=series(1, 1, 1, 1, 1.13, 1.13, 1.13, 1.13)) == "unclear"


def test_it_is_too_early_before_the_first_steps():
    assert words.ppo_headline({}, LIMITS).kind == "early"
    assert words.ppo_headline({"kl": [(1, 0.0)], "score_mean": [(1, 0.3)]}, LIMITS).kind == "early"


def test_drift_over_the_limit_is_said_before_any_gain():
    found = words.ppo_headline(points(kl=series(0, 5, 25, 25, 25), eval_score_mean=[(0, 0.0), (8, 9.0)]), LIMITS)
    assert found.kind == "drifting"
    assert "25.00 nats per answer, the limit is 20" in found.text
    assert "Drift is high" in words.ppo_headline(points(kl=series(11, 11, 11)), LIMITS).text


def test_a_gain_that_may_not_be_one_is_said_carefully():
    gain = {"eval_score_mean": [(0, 0.0), (8, 2.0)]}
    longer = {"length_mean": series(20, 22, 30, 30, 30), "score_length_correlation": series(*[0.6] * 5)}
    found = words.ppo_headline(points(**gain, **longer), LIMITS)
    assert found.kind == "careful"
    assert found.text.startswith("Careful: the score on the test prompts rose by 2.00")
    assert "pay for length" in found.text
    assert kind(**gain, length_mean=series(20, 22, 30, 30, 30)) == "well"
    assert kind(**gain, entropy=series(1, 0.2, 0.2, 0.2)) == "careful"
    assert kind(**gain, saturated_share=series(0.9, 0.9, 0.9)) == "careful"
    assert kind(**gain, ratio_mean=series(1, 3, 3, 3)) == "careful"


def test_numbers_that_are_not_finite_are_said_first():
    assert words.ppo_headline(points(), LIMITS, broken=True).kind == "broken"


def test_a_loss_that_falls_is_going_well():
    found = words.loss_headline({"loss": series(6, 4, 2, 1), "accuracy": [(4, 0.86)]})
    assert found.text == (
        "Going well: the loss fell from 6.00 to 1.00. It is right in 86% of the comparisons it is trained on."
    )
    assert words.loss_headline({"loss": series(1, 2, 3, 4)}).kind == "unclear"
    assert words.loss_headline({"loss": series(1)}).kind == "early"


GOING = words.Headline("well", "Going well.")


def now(state, **more):
    known = {"place": None, "waits_for": None, "worker": True, "checkpoint": None, "newest": None}
    ours = {name: more.pop(name) for name in list(more) if name in known}
    run = Run(id=3, name="a", stage="ppo", state=state, step=20, steps=40, worker_id="w", **more)
    return Now(run=run, state=state, **ours)


def test_each_state_has_its_words():
    assert "Close it any time" in cards.told(now("running"), GOING)
    queued = cards.told(now("queued", place=2, waits_for="other_run"), GOING)
    assert "place 2" in queued
    assert "other\\_run is at work" in queued
    assert "no worker is running" in cards.told(now("queued", place=1, worker=False), GOING)
    assert "saves" in cards.told(now("stopping"), GOING)
    assert "step 20 of 40" in cards.told(now("stopped", message="stopped by the user"), GOING)
    assert "go on from step 20" in cards.told(now("interrupted", checkpoint=20), GOING)
    assert "memory was not enough" in cards.told(now("failed", cause="memory"), GOING)
    assert cards.told(now("failed"), GOING) == "### Failed: it ended with an error"


def test_a_failure_says_what_happened_and_what_to_do():
    failed = now("failed", message="out of memory <b>", fix="take a smaller model", checkpoint=20)
    card = cards.card(failed, "half as many texts")
    assert "**What happened:** Out of memory \\<b\\>." in card
    assert "**What to do:** Take a smaller model." in card
    assert "**Retry with this fix:** half as many texts" in card
    assert "step 20" in card
    assert cards.card(now("done"), None) == ""


@pytest.mark.parametrize(
    ("stage", "found", "said"),
    [
        (
            "ppo",
            {"verdict": {"word": "better"}, "prompts": 15, "improved": 13, "worse": 1, "difference": 0.9,
             "mean_reward": {"before": 0.0, "after": 0.9}},
            "answers improved on 13 of 15 test prompts",
        ),
        ("ppo", {"verdict": {"word": "no effect"}, "prompts": 9, "improved": 4, "worse": 4}, "No clear effect: 4 of 9"),
        ("reward", {"held_out_accuracy": 0.8645, "held_out_pairs": 561}, "**86%** of 561 comparisons"),
        ("sft", {"held_out_loss": 1.0432}, "**1.04**"),
        ("ppo", None, "Its report is not here"),
    ],
)  # fmt: skip
def test_a_result_is_a_sentence(stage, found, said):
    assert said in cards.result(stage, found)


def test_alarms_say_what_to_do_in_words_and_name_the_setting():
    events = [
        Event(
            number=1,
            step=9,
            at=2.0,
            kind="alarm",
            what="KL is 21",
            fix="lower optimizer.learning_rate, or raise kl.coef",
        ),
        Event(number=0, step=0, at=1.0, kind="notice", what="<img src=x> cpu", fix=None),
    ]
    first, second = cards.event_lines(events).splitlines()
    assert first == (
        "- **Alarm.** Step 9: KL is 21. **What to do:** Lower learning rate (optimizer.learning\\_rate), "
        "or raise price of drift (kl.coef)."
    )
    assert second == "- \\<img src=x\\> cpu."
    assert cards.event_lines([]) == "Nothing out of the ordinary so far."
    assert cards.event_lines(events, most=1).endswith("- and 1 earlier.")


def test_an_alarm_of_many_steps_is_told_once_with_its_latest():
    events = [
        Event(number=n, step=n, at=float(n), kind="alarm", what=f"Only {n}% of the responses end", fix="Look")
        for n in (9, 7, 4)
    ]
    events.insert(1, Event(number=8, step=8, at=8.0, kind="notice", what="checkpoint", fix=None))
    assert cards.event_lines(events).splitlines() == [
        "- **Alarm.** Step 9: Only 9% of the responses end. So at 3 steps since step 4. **What to do:** Look.",
        "- Step 8: checkpoint.",
    ]
