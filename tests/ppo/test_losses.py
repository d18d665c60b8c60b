"""The clipped policy loss and the value loss: sums over kept tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from appliance.ppo.losses import policy_loss, value_loss
from appliance.ppo.types import mask_from_lengths


def policy(ratios, advantages, mask=None, **options):
    """The policy loss of one row with these probability ratios; the rollout's log-probabilities are -1."""
    advantages = tensor([advantages])
    logprobs = torch.full_like(advantages, -1.0)
    new = (logprobs + tensor([ratios]).log()).requires_grad_()
    mask = torch.ones_like(advantages, dtype=torch.bool) if mask is None else tensor([mask])
    return policy_loss(new, logprobs, advantages, mask, **({"clip": 0.2} | options)), new


def values(new, old, returns, clip):
    new = tensor([new], requires_grad=True)
    mask = torch.ones_like(new, dtype=torch.bool)
    return value_loss(new, tensor([old]), tensor([returns]), mask, clip=clip), new


def test_policy_loss_nemo_rl_numbers():
    # A 1, -1, 2 and ratios .5, 1, 1.5: max(-.5, -.8) = -.5; 1; max(-3, -2.4) = -2.4; mean -.6333
    found, _ = policy([0.5, 1.0, 1.5], [1.0, -1.0, 2.0])
    assert float(found.loss.detach()) / 3 == pytest.approx(-0.6333, abs=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, 0),
        (1.5, 2.0, -2.4, 0.0, 1),  # enough gained: -2 * 1.2, and no gradient
        (0.5, 2.0, -1.0, -1.0, 0),  # may come back: -2 * .5
        (0.5, -2.0, 1.6, 0.0, 1),  # enough lost: 2 * .8
        (1.5, -2.0, 3.0, 3.0, 0),
    ],
)
def test_policy_loss_and_gradient_on_every_side_of_the_clip(ratio, advantage, loss, slope, clipped):
    # d(-A ratio) / d new_logprob = -A ratio where it is not clipped
    found, new = policy([ratio], [advantage])
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(loss, abs=1e-5)
    assert float(new.grad) == pytest.approx(slope, abs=1e-5)
    assert int(found.clipped) == clipped


def test_dual_clip_by_hand():
    # NeMo-RL: A 1, -1, -4, ratios .5, 1, 10, c 3: -.5; 1; min(40, 12) = 12; mean 4.1667
    found, new = policy([0.5, 1.0, 10.0], [1.0, -1.0, -4.0], dual_clip=3.0)
    assert float(found.loss.detach()) / 3 == pytest.approx(4.1667, abs=1e-4)
    found.loss.backward()
    assert float(new.grad[0, 2]) == 0.0  # the token that lost enough teaches nothing any more


def test_dual_clip_leaves_positive_advantages_alone():
    # ratio 5, A -1: 5 without, 3 with c = 3; A 1: -1.2 with and without
    assert float(policy([5.0], [-1.0])[0].loss.detach()) == pytest.approx(5.0, rel=1e-5)
    assert float(policy([5.0], [-1.0], dual_clip=3.0)[0].loss.detach()) == pytest.approx(3.0, rel=1e-5)
    assert float(policy([5.0], [1.0], dual_clip=3.0)[0].loss.detach()) == pytest.approx(-1.2, rel=1e-5)


def test_what_the_metrics_are_made_of():
    # ratios e^.1, e^-.3, e^.5; the fourth token is padding: approx_kl .005 + .045 + .125
    ratios = tensor([0.1, -0.3, 0.5, 3.0]).exp().tolist()
    found, _ = policy(ratios, [1.0, -1.0, 1.0, 1.0], mask=[True, True, True, False])
    assert float(found.approx_kl) == pytest.approx(0.175, abs=1e-6)
    assert int(found.clipped) == 2  # .741 < .8 with A < 0, 1.649 > 1.2 with A > 0
    assert float(found.ratio) == pytest.approx(sum(ratios[:3]), rel=1e-6)
    assert float(found.ratio_max) == pytest.approx(ratios[2], rel=1e-6)
    assert not found.approx_kl.requires_grad
    assert not found.ratio.requires_grad


def test_an_absurd_log_ratio_stays_finite():
    mask = torch.ones(1, 2, dtype=torch.bool)
    new = tensor([[0.0, -900.0]], requires_grad=True)
    found = policy_loss(new, tensor([[-900.0, 0.0]]), tensor([[-1.0, -1.0]]), mask, clip=0.2)
    found.loss.backward()
    assert found.loss.isfinite()
    assert new.grad.isfinite().all()


@pytest.mark.parametrize(
    ("new", "old", "target", "loss", "slope", "clipped"),
    [
        (1.0, 1.0, 3.0, 2.0, -2.0, 0),  # (1 - 3)^2 / 2
        (2.0, 1.0, 3.0, 1.62, 0.0, 1),  # kept at 1.2: (1.2 - 3)^2 / 2 is the larger
        (0.0, 1.0, 3.0, 4.5, -3.0, 0),  # kept at .8: 2.42; moved away, so (0 - 3)^2 / 2
        (1.1, 1.0, 3.0, 1.805, -1.9, 0),  # inside
    ],
)
def test_value_loss_and_gradient_by_hand(new, old, target, loss, slope, clipped):
    found, prediction = values([new], [old], [target], 0.2)
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(loss, abs=1e-5)
    assert float(prediction.grad) == pytest.approx(slope, abs=1e-5)
    assert int(found.clipped) == clipped


def test_value_loss_without_a_clip_is_half_the_squared_error():
    found, prediction = values([2.0, 0.0], [1.0, 1.0], [3.0, 3.0], None)
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(0.5 * (1 + 9))
    assert prediction.grad.tolist() == [[-1.0, -3.0]]
    assert int(found.clipped) == 0


@st.composite
def ragged_inputs(draw):
    lengths = torch.tensor(draw(st.lists(st.integers(0, 6), min_size=1, max_size=4)))
    width = 6 + draw(st.integers(0, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (4, len(lengths), width)
    return (
        mask_from_lengths(lengths, width),
        torch.randn(shape, generator=generator, dtype=torch.float64),
        torch.randn(shape, generator=generator, dtype=torch.float64) * 1e3,
    )


def all_numbers(inputs, mask, dual_clip):
    inputs = inputs.clone().requires_grad_()
    first = policy_loss(inputs[0], inputs[1], inputs[2], mask, clip=0.2, dual_clip=dual_clip)
    second = value_loss(inputs[0], inputs[1], inputs[3], mask, clip=0.2)
    (first.loss + second.loss).backward()
    numbers = [first.loss, first.approx_kl, first.clipped, first.ratio, first.ratio_max, second.loss, second.clipped]
    return torch.stack([x.detach().double() for x in numbers]), inputs.grad[0]


@given(ragged_inputs(), st.sampled_from([None, 2.0]))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_losses_do_not_see_the_padding_and_add_up_over_any_split(case, dual_clip):
    mask, noise, garbage = case
    clean, gradient = all_numbers(torch.where(mask, noise, 0.0), mask, dual_clip)
    dirty, dirty_gradient = all_numbers(torch.where(mask, noise, garbage), mask, dual_clip)
    torch.testing.assert_close(dirty, clean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(dirty_gradient, gradient, atol=1e-12, rtol=1e-12)
    assert not dirty_gradient[~mask].any()
    rows = [all_numbers(noise[:, i : i + 1], mask[i : i + 1], dual_clip)[0] for i in range(len(mask))]
    together = torch.stack(rows).sum(0)
    together[4] = torch.stack(rows)[:, 4].amax()  # ratio_max
    torch.testing.assert_close(together, clean, atol=1e-9, rtol=1e-9)
