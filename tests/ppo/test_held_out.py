"""Held-out prompts: always the same random numbers, both judges, and nothing of the run is moved by measuring."""

from typing import Any

import pytest
import torch

from appliance.engines._choice import make_engine
from appliance.ppo.feed import prompts_from_ids
from appliance.ppo.held_out import measure_held_out
from appliance.ppo.metrics import EVAL_METRICS
from appliance.ppo.pieces import Pieces
from appliance.ppo.state import State, new_state

PROMPTS = [[5, 6, 7], [9], [11, 12]]


def lengths(prompts: list[str], responses: list[str]) -> torch.Tensor:
    """The score of a response is its number of words."""
    return torch.tensor([float(len(text.split())) for text in responses])


def doubled(prompts: list[str], responses: list[str]) -> torch.Tensor:
    """Twice that."""
    return 2 * lengths(prompts, responses)


@pytest.fixture
def held_out(make_gpt2_learner: Any) -> Any:
    """held_out(**sections): pieces over three prompts and a state; opinion=None leaves the second opinion out."""

    def make(opinion: Any = doubled, **sections: Any) -> tuple[Pieces, State]:
        learner = make_gpt2_learner(**sections)
        prompts = prompts_from_ids(PROMPTS, ["a", "b", "c"])
        pieces = Pieces(
            learner=learner,
            engine=make_engine(learner.policy, learner.config.sampling, (0,)),
            source=lengths,
            opinion=opinion,
            held_out=prompts,
            decode=lambda prompts, responses: [" ".join(map(str, row)) for row in responses],
        )
        return pieces, new_state(learner.config, prompts, lambda _: None)

    return make


def test_both_judges_see_the_same_responses(held_out):
    measured, samples = measure_held_out(*held_out(sampling={"response_tokens": [2, 5]}))
    assert measured.keys() == EVAL_METRICS.keys()
    assert [sample["prompt"] for sample in samples] == ["a", "b", "c"]
    words = [len(sample["response"].split()) for sample in samples]
    assert [sample["score"] for sample in samples] == words
    assert all(2 <= count <= 5 for count in words)
    assert measured["eval_score_mean"] == measured["eval_length_mean"] == pytest.approx(sum(words) / 3)
    assert measured["eval_opinion_mean"] == pytest.approx(2 * sum(words) / 3)
    assert abs(measured["eval_kl"]) < 1e-5  # the policy is still the reference


def test_each_prompt_is_answered_as_often_as_asked_with_other_random_numbers(held_out):
    measured, samples = measure_held_out(*held_out(sampling={"response_tokens": [4, 4]}, evaluation={"samples": 3}))
    assert [sample["prompt"] for sample in samples] == ["a", "a", "a", "b", "b", "b", "c", "c", "c"]
    assert len({sample["response"] for sample in samples[:3]}) > 1
    assert measured["eval_score_mean"] == pytest.approx(sum(sample["score"] for sample in samples) / 9)


def test_without_a_second_opinion_there_is_no_number_of_it(held_out):
    measured, _ = measure_held_out(*held_out(opinion=None))
    assert measured.keys() == EVAL_METRICS.keys() - {"eval_opinion_mean"}


def test_the_same_weights_give_the_same_answers_whatever_happened_in_between(held_out):
    pieces, state = held_out()
    first = measure_held_out(pieces, state)
    state.dice.responses(8, pieces.learner.config.sampling.response_tokens)
    torch.rand(3)
    state.step = 7
    assert measure_held_out(pieces, state) == first
    another_seed, other_state = held_out(seed=2)
    assert measure_held_out(another_seed, other_state) != first


def test_measuring_moves_nothing_of_the_run(held_out, snapshot):
    pieces, state = held_out()
    weights, record = snapshot(pieces.learner), state.record()
    dice, everywhere = state.dice.state(), torch.get_rng_state()
    measure_held_out(pieces, state)
    assert state.record() == record
    assert all(torch.equal(value, dice[name]) for name, value in state.dice.state().items())
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert all(torch.equal(a, b) for a, b in zip(weights, snapshot(pieces.learner), strict=True))
    assert all(p.grad is None for p in pieces.learner.parameters.values())


def test_drift_from_the_start_is_measured(held_out):
    pieces, state = held_out()
    with torch.no_grad():
        for parameter in pieces.learner.parameters.values():
            parameter.mul_(1.05)
    measured, _ = measure_held_out(pieces, state)
    assert measured["eval_kl"] > 0.01
