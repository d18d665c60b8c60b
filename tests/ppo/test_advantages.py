"""Token rewards, generalized advantages, whitening and running moments."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from appliance.ppo.advantages import Moments, gae, last_token, masked_mean, masked_var, token_rewards, whiten
from appliance.ppo.types import mask_from_lengths

FAST = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def all_kept(rows, columns):
    return torch.ones(rows, columns, dtype=torch.bool)


def close(found, expected, tolerance=1e-6):
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@st.composite
def ragged(draw):
    """(lengths, width, noise, garbage): up to five rows and two kinds of seeded numbers, the second for the padding."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5).filter(lambda found: sum(found) > 1))
    width = max(lengths) + draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (3, len(lengths), width)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.tensor(lengths), width, noise, torch.randn(shape, generator=generator, dtype=torch.float64) * 1e4


# whitening


def test_mean_and_variance_are_those_of_the_kept_values():
    # TRL v0.11.4 tests/test_core.py: [1, 2, 3, 4] under [0, 1, 1, 0] is [2, 3]: mean 2.5, variance .25 * 2 / 1
    values, mask = tensor([1.0, 2.0, 3.0, 4.0]), tensor([False, True, True, False])
    assert float(masked_mean(values, mask)) == 2.5
    assert float(masked_var(values, mask)) == 0.5
    close(whiten(values, mask, shift_mean=True), [0.0, -0.7071068, 0.7071068, 0.0])  # .5 / sqrt(.5)


def test_nan_outside_the_mask_does_not_count():
    # verl tests/utils/test_torch_functional.py: 2.5
    values, mask = tensor([float("nan"), 2.0, 3.0, float("inf")]), tensor([False, True, True, False])
    assert float(masked_mean(values, mask)) == 2.5
    assert float(masked_var(values, mask)) == 0.5
    close(whiten(values, mask, shift_mean=False), [0.0, 2.5 - 0.7071068, 2.5 + 0.7071068, 0.0])


def test_whitening_that_keeps_the_mean_nine_points():
    # 1.2, 1.3 ... 2.0: mean 1.6, sum of squares .01 * 60, variance .6 / 8 = .075, std .273861.
    # first: -.4 / .273861 + 1.6 = .139391; step .1 / .273861 = .365148. (Biased: .0508 ... 3.1492; ours is not.)
    values = torch.arange(12, 21) / 10
    expected = [0.139391 + 0.365148 * i for i in range(9)]
    close(whiten(values, all_kept(1, 9)[0], shift_mean=False), expected, 1e-4)
    close(whiten(values, all_kept(1, 9)[0], shift_mean=False)[-1], 3.0606, 1e-4)


def test_whitening_that_shifts_the_mean_nine_points():
    values = torch.arange(12, 21) / 10
    white = whiten(values, all_kept(1, 9)[0], shift_mean=True)
    close(white, [-1.460593 + 0.365148 * i for i in range(9)], 1e-4)
    close(white.mean(), 0.0)
    close(white.var(), 1.0, 1e-5)


def test_whitening_of_one_or_no_value_or_equal_values_is_finite():
    one = tensor([False, True, False])
    assert whiten(tensor([9.0, 3.0, 9.0]), one, shift_mean=True).tolist() == [0.0, 0.0, 0.0]
    assert whiten(tensor([9.0, 3.0, 9.0]), one & False, shift_mean=True).tolist() == [0.0, 0.0, 0.0]
    assert whiten(torch.full((3,), 2.0), ~(one & False), shift_mean=True).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [0.1, 5.3, 1000.3])
@pytest.mark.parametrize("count", [39, 100, 777])
def test_equal_values_have_nothing_to_learn_from(value, count):
    # an fp32 mean may be one bit off: 6e-5 at 1000, which 1 / sqrt(1e-8) would make .6
    values = torch.full((1, count), value)
    close(whiten(values, all_kept(1, count), shift_mean=True), torch.zeros(1, count))
    close(whiten(values, all_kept(1, count), shift_mean=False), values)


@given(ragged())
@FAST
def test_whitening_does_not_see_the_padding(case):
    lengths, width, noise, garbage = case
    mask = mask_from_lengths(lengths, width)
    for shift_mean in (True, False):
        clean = whiten(torch.where(mask, noise[0], 0.0), mask, shift_mean=shift_mean)
        close(whiten(torch.where(mask, noise[0], garbage[0]), mask, shift_mean=shift_mean), clean, 1e-12)
        assert not clean[~mask].any()
        flat = whiten(noise[0][mask], mask[mask], shift_mean=shift_mean)
        close(clean[mask], flat, 1e-10)


# token rewards


def test_the_score_stands_on_the_last_kept_token_for_every_length():
    # lengths 1, 2 (middle) and 4 (full); price .5, KL .1, -.2, .3, .4 in every row
    kl = tensor([[0.1, -0.2, 0.3, 0.4]]).repeat(3, 1)
    mask = mask_from_lengths(tensor([1, 2, 4]), 4)
    found = token_rewards(tensor([1.0, 2.0, 3.0]), kl, mask, kl_coef=0.5)
    close(found, [[0.95, 0, 0, 0], [-0.05, 2.1, 0, 0], [-0.05, 0.1, -0.15, 2.8]])


def test_torchtune_recorded_rewards():
    # torchtune tests/torchtune/rlhf/test_rewards.py: log-ratios -.1, -.2, -.3 at price .5, scores 1, 2, 3
    kl = tensor([[-0.1], [-0.2], [-0.3]]).repeat(1, 3)
    found = token_rewards(tensor([1.0, 2.0, 3.0]), kl, all_kept(3, 3), kl_coef=0.5)
    close(found, [[0.05, 0.05, 1.05], [0.1, 0.1, 2.1], [0.15, 0.15, 3.15]])


def test_a_row_that_is_not_trained_on_gets_no_reward():
    mask = mask_from_lengths(tensor([0, 2]), 2)
    assert last_token(mask).tolist() == [0, 1]
    assert token_rewards(tensor([5.0, 1.0]), torch.ones(2, 2), mask, kl_coef=0.0).tolist() == [[0, 0], [0, 1]]


# advantages


def test_gae_three_tokens_by_hand():
    # gamma 1, lam .5, V = .5 everywhere, reward 1 on the last token: delta = 0, 0, .5 -> A = .125, .25, .5
    advantages, returns = gae(tensor([[0, 0, 1.0]]), torch.full((1, 3), 0.5), all_kept(1, 3), gamma=1.0, lam=0.5)
    close(advantages, [[0.125, 0.25, 0.5]])
    close(returns, [[0.625, 0.75, 1.0]])


def test_gae_discounts_returns_like_torchtune():
    # V = 0, 0, 0, 1 and reward 1 at the end, gamma .9, lam .95: delta = 0, 0, .9, 0
    # -> A = .855^2 * .9, .855 * .9, .9, 0; returns A + V = g^3 l^2, g^2 l, g, 1
    at_end = tensor([[0, 0, 0, 1.0]])
    advantages, returns = gae(at_end, at_end, all_kept(1, 4), gamma=0.9, lam=0.95)
    close(advantages, [[0.6579225, 0.7695, 0.9, 0.0]])
    close(returns, [[0.6579225, 0.7695, 0.9, 1.0]])


def test_gae_without_lambda_is_the_one_step_error():
    # NeMo-Aligner: gamma .5, V = 0..3, r = 0, 0, 1, 0: .5 - 0, 1 - 1, 1 + 1.5 - 2, 0 - 3
    advantages, _ = gae(tensor([[0, 0, 1.0, 0]]), tensor([[0.0, 1, 2, 3]]), all_kept(1, 4), gamma=0.5, lam=0.0)
    close(advantages, [[0.5, 0.0, 0.5, -3.0]])
    # NeMo-RL: gamma 1, V = 1, 2, 3, r = 5 at the end: 2 - 1, 3 - 2, 5 - 3
    advantages, _ = gae(tensor([[0, 0, 5.0]]), tensor([[1.0, 2, 3]]), all_kept(1, 3), gamma=1.0, lam=0.0)
    close(advantages, [[1.0, 1.0, 2.0]])


def test_gae_with_gamma_and_lambda_one_is_what_is_left_to_come():
    # A_t = (rewards from t on) - V_t: 7 - 1, 5 - 2, 4 - 3
    advantages, returns = gae(tensor([[2.0, 1, 4]]), tensor([[1.0, 2, 3]]), all_kept(1, 3), gamma=1.0, lam=1.0)
    close(advantages, [[6.0, 3.0, 1.0]])
    close(returns, [[7.0, 5.0, 4.0]])


def test_nothing_is_bootstrapped_past_the_last_kept_token():
    # length 2 of 4 with V = 99 in the padding: delta_1 = 1 - .5, delta_0 = .5 - .5; lam .5 -> A = .25, .5
    # (with lam 1 what is bootstrapped cancels out)
    values = tensor([[0.5, 0.5, 99.0, 99.0]])
    advantages, returns = gae(
        tensor([[0, 1.0, 50.0, 50.0]]), values, mask_from_lengths(tensor([2]), 4), gamma=1.0, lam=0.5
    )
    close(advantages, [[0.25, 0.5, 0, 0]])
    close(returns, [[0.75, 1.0, 0, 0]])


@given(ragged(), st.floats(0, 1), st.floats(0, 1))
@FAST
def test_gae_is_row_by_row_the_recursion_and_does_not_see_the_padding(case, gamma, lam):
    lengths, width, noise, garbage = case
    mask = mask_from_lengths(lengths, width)
    dirty = torch.where(mask, noise, garbage)
    advantages, returns = gae(dirty[0], dirty[1], mask, gamma=gamma, lam=lam)
    for row, length in enumerate(lengths.tolist()):
        rewards, values = noise[0, row, :length].tolist(), [*noise[1, row, :length].tolist(), 0.0]
        deltas = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(length)]
        wanted = [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length)) for t in range(length)]
        close(advantages[row, :length], wanted, 1e-9)
        close(returns[row, :length], [a + v for a, v in zip(wanted, values, strict=False)], 1e-9)
    assert not advantages[~mask].any()
    assert not returns[~mask].any()


def test_gae_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match="shapes differ"):
        gae(torch.zeros(2, 3), torch.zeros(2, 4), all_kept(2, 3), gamma=1.0, lam=1.0)


# running moments


def test_running_moments_equal_those_of_the_whole_sample():
    sample = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 3 + 100
    running = Moments()
    for piece in sample.split([1, 7, 30, 12]):
        running.update(piece)
    whole = sample.double()
    assert running.count == 50
    assert running.mean == pytest.approx(float(whole.mean()), rel=1e-12)
    assert running.std == pytest.approx(float(whole.std()), rel=1e-10)


def test_moments_of_nothing_one_value_and_equal_values_divide_by_one():
    assert Moments().std == 1.0
    for values in ([4.0], [4.0, 4.0, 4.0]):
        running = Moments()
        running.update(tensor(values))
        assert (running.mean, running.std) == (4.0, 1.0)


def test_moments_come_back_from_their_state():
    running = Moments()
    running.update(tensor([1.0, 2.0, 6.0]))  # mean 3, squares 4 + 1 + 9
    again = Moments(**running.state())
    assert again.state() == {"count": 3, "mean": 3.0, "squares": 14.0}
    assert again.std == pytest.approx(7.0**0.5)
