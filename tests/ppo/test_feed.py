"""Prompts in a seeded order and the random numbers of each step."""

import pytest
import torch

from appliance.config.base import TokenRange
from appliance.ppo.feed import Dice, PromptFeed, draw_responses, prompts_from_ids, seed_for, trimmed

RANGE = TokenRange(low=2, high=5)


@pytest.fixture
def prompts():
    """Ten prompts of 1 to 5 tokens; each token says which prompt it belongs to."""
    return prompts_from_ids([[i + 1] * (i % 5 + 1) for i in range(10)], [f"p{i}" for i in range(10)])


def test_prompts_from_ids_pads_on_the_right(prompts):
    assert prompts.ids.shape == (10, 5)
    assert prompts.lengths.tolist() == [1, 2, 3, 4, 5] * 2
    assert prompts.ids[2].tolist() == [3, 3, 3, 0, 0]


def test_every_prompt_comes_once_per_epoch_and_epochs_differ_in_order(prompts):
    feed = PromptFeed(prompts, seed=4)
    epochs = [[text for _ in range(5) for text in feed.take(2).texts] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(prompts.texts)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert feed.state() == {"epoch": 3, "cursor": 0}


def test_the_order_does_not_depend_on_the_batch_size(prompts):
    small, large = PromptFeed(prompts, seed=4), PromptFeed(prompts, seed=4)
    assert [t for _ in range(7) for t in small.take(3).texts] == large.take(21).texts


def test_a_batch_may_be_larger_than_the_data(prompts):
    taken = PromptFeed(prompts, seed=4).take(25)
    assert sorted(taken.texts[:10]) == sorted(taken.texts[10:20]) == sorted(prompts.texts)


def test_texts_ids_and_lengths_stay_together_and_no_column_is_wasted(prompts):
    taken = PromptFeed(prompts, seed=4).take(4)
    for text, row, length in zip(taken.texts, taken.ids, taken.lengths.tolist(), strict=True):
        number = int(text[1:])
        assert length == number % 5 + 1
        assert row.tolist() == [number + 1] * length + [0] * (taken.ids.shape[1] - length)
    assert taken.ids.shape[1] == int(taken.lengths.max())
    assert trimmed(prompts.rows(torch.tensor([0, 1]))).ids.shape == (2, 2)


def test_another_seed_gives_another_order(prompts):
    assert PromptFeed(prompts, seed=4).take(10).texts != PromptFeed(prompts, seed=5).take(10).texts


def test_a_restored_feed_goes_on_bit_equal(prompts):
    feed = PromptFeed(prompts, seed=4)
    feed.take(13)
    again = PromptFeed(prompts, seed=4)
    again.restore(feed.state())
    for _ in range(3):
        left, right = feed.take(4), again.take(4)
        assert left.texts == right.texts
        assert torch.equal(left.ids, right.ids)
        assert torch.equal(left.lengths, right.lengths)


def test_seeds_differ_by_purpose_and_stay_the_same():
    made = [seed_for(1), seed_for(2), seed_for(1, "a"), seed_for(1, "b"), seed_for(1, "a", 0), seed_for(1, "a", 1)]
    assert len(set(made)) == len(made)
    assert all(0 <= seed < 2**63 for seed in made)
    assert seed_for(1, "a") == made[2]
    # sha256 of "(1, 'a')", its first 8 bytes big-endian, shifted right by one: a new release keeps old runs repeatable
    assert made[2] == SEED_OF_1_A


# recorded with: printf "(1, 'a')" | sha256sum | cut -c1-16
SEED_OF_1_A = int("2a123b2622700355", 16) >> 1


def test_limits_and_uniforms_fill_their_ranges():
    limits, uniforms = draw_responses(400, RANGE, torch.Generator().manual_seed(0))
    assert sorted(set(limits.tolist())) == [2, 3, 4, 5]
    assert uniforms.shape == (400, 5)
    assert float(uniforms.min()) >= 0.0
    assert float(uniforms.max()) < 1.0
    assert abs(float(uniforms.mean()) - 0.5) < 0.03  # 2000 draws: std of the mean .0065


def test_sampling_does_not_depend_on_how_many_plans_were_made():
    few, many = Dice(1), Dice(1)
    few.plan(8, 4, 1)
    for _ in range(5):
        many.plan(8, 4, 3)
    for left, right in zip(few.responses(6, RANGE), many.responses(6, RANGE), strict=True):
        assert torch.equal(left, right)


def test_plans_do_not_depend_on_how_much_was_sampled():
    few, many = Dice(1), Dice(1)
    many.responses(100, RANGE)
    assert torch.equal(few.plan(8, 4, 2), many.plan(8, 4, 2))


def test_the_two_streams_and_other_seeds_differ():
    dice = Dice(1)
    assert not torch.equal(dice.sampling.get_state(), dice.minibatches.get_state())
    assert not torch.equal(Dice(2).responses(6, RANGE)[1], Dice(1).responses(6, RANGE)[1])


def test_a_plan_visits_every_row_once_in_every_epoch():
    plan = Dice(1).plan(12, 4, 3)
    assert plan.shape == (9, 4)
    epochs = plan.view(3, 12)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3


def test_restored_dice_fall_the_same():
    dice = Dice(1)
    dice.responses(3, RANGE)
    dice.plan(8, 8, 1)
    again = Dice(7)
    again.restore(dice.state())
    for left, right in zip(dice.responses(5, RANGE), again.responses(5, RANGE), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(dice.plan(8, 4, 2), again.plan(8, 4, 2))
