"""Each alarm sounds when its limit is crossed, once until it has cleared, and not below the limit."""

import json

import pytest

from appliance.config.ppo import Alarms
from appliance.ppo.alarms import Watch

CALM = {
    "kl": 3.0,
    "kl_k3": 3.0,
    "entropy": 4.0,
    "distinct_2": 0.8,
    "length_mean": 20.0,
    "score_length_correlation": 0.9,
    "ratio_mean": 1.0,
    "ended_share": 0.5,
    "saturated_share": 0.0,
    "skipped_steps": 0,
}
CASES = pytest.mark.parametrize(
    ("name", "crossed", "below"),
    [
        ("kl", {"kl": 20.1}, {"kl": 20.0}),
        ("kl", {"kl_k3": 80.1}, {"kl_k3": 79.9}),  # four times the limit
        ("entropy", {"entropy": 1.19}, {"entropy": 1.21}),  # .3 * 4
        ("distinct_2", {"distinct_2": 0.39}, {"distinct_2": 0.41}),  # .5 * .8
        ("length", {"length_mean": 24.1, "score_length_correlation": 0.51}, {"length_mean": 23.9}),  # 1.2 * 20
        ("length", {"length_mean": 30.0}, {"length_mean": 30.0, "score_length_correlation": 0.5}),
        ("ratio", {"ratio_mean": 2.1}, {"ratio_mean": 1.9}),
        ("ratio", {"ratio_mean": 0.49}, {"ratio_mean": 0.51}),
        ("ended", {"ended_share": 0.04}, {"ended_share": 0.05}),
        ("saturated", {"saturated_share": 0.51}, {"saturated_share": 0.5}),
        ("skipped", {"skipped_steps": 1}, {"skipped_steps": 0}),
    ],
)


def begun():
    watch = Watch(Alarms())
    assert watch.look(CALM) == []
    return watch


@CASES
def test_an_alarm_sounds_once_when_its_limit_is_crossed(name, crossed, below):
    watch = begun()
    (alarm,) = watch.look(CALM | crossed)
    assert alarm["name"] == name
    assert alarm.keys() == {"name", "what", "fix"}
    assert any(character.isdigit() for character in alarm["what"])  # says what was measured
    assert alarm["fix"]
    assert watch.look(CALM | crossed) == []


@CASES
def test_it_is_silent_below_its_limit_and_sounds_again_after_it_has_cleared(name, crossed, below):
    watch = begun()
    assert watch.look(CALM | below) == []
    assert len(watch.look(CALM | crossed)) == 1
    assert watch.look(CALM | below) == []
    assert [alarm["name"] for alarm in watch.look(CALM | crossed)] == [name]


def test_several_alarms_sound_together():
    found = begun().look(CALM | {"kl": 50.0, "entropy": 0.1, "skipped_steps": 2})
    assert [alarm["name"] for alarm in found] == ["kl", "entropy", "skipped"]


def test_the_first_step_is_what_later_ones_are_compared_with():
    watch = Watch(Alarms())
    watch.look(CALM | {"entropy": 1.0})
    assert watch.look(CALM | {"entropy": 0.31}) == []
    assert [alarm["name"] for alarm in watch.look(CALM | {"entropy": 0.29})] == ["entropy"]


def test_a_limit_of_zero_turns_the_ended_alarm_off():
    watch = Watch(Alarms(ended_share=0.0))
    assert watch.look(CALM | {"ended_share": 0.0}) == []


def test_the_state_survives_a_checkpoint():
    watch = begun()
    watch.look(CALM | {"kl": 50.0})
    again = Watch(Alarms(), **json.loads(json.dumps(watch.state())))
    assert again.state() == watch.state()
    assert again.look(CALM | {"kl": 50.0}) == []
    (alarm,) = again.look(CALM | {"kl": 50.0, "entropy": 1.19})  # compared with the first step of the first session
    assert alarm["name"] == "entropy"


def test_a_state_that_was_taken_does_not_change_with_the_watch():
    watch = begun()
    state = watch.state()
    watch.look(CALM | {"kl": 50.0})
    assert state["sounding"] == []
