"""The recorded numbers on which TRL 0.11, verl, OpenRLHF and (pre-masked) torchtune agree, through our functions."""

import torch

from appliance.ppo.advantages import gae, masked_mean, masked_var, token_rewards, whiten
from appliance.ppo.losses import policy_loss, value_loss

TOLERANCE = 1e-6


def same(found, expected):
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_rewards_with_the_kl_folded_in(golden):
    # the recording's KL at flat position i of [3, 6] is cos(0.7 i), its scores 1, -0.5 and 2, its price 0.05;
    # it prices padding too, so only kept positions are compared
    kl = torch.cos(0.7 * torch.arange(18, dtype=torch.float64)).view(3, 6)
    scores = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    rewards = token_rewards(scores, kl, golden["mask"], kl_coef=0.05)
    same(rewards, torch.where(golden["mask"], golden["rewards"], 0.0))


def test_advantages_and_returns(golden):
    # the recording's values and rewards are not zero under the mask
    advantages, returns = gae(
        golden["rewards"], golden["values"], golden["mask"], gamma=golden["gamma"], lam=golden["lam"]
    )
    same(advantages, golden["advantages_raw"])
    same(returns, golden["returns"])


def test_whitened_advantages(golden):
    same(whiten(golden["advantages_raw"], golden["mask"], shift_mean=True), golden["adv_whitened_unbiased"])
    same(masked_mean(golden["adv_whitened_unbiased"], golden["mask"]), torch.tensor(0.0, dtype=torch.float64))
    same(masked_var(golden["adv_whitened_unbiased"], golden["mask"]), torch.tensor(1.0, dtype=torch.float64))


def test_policy_loss_as_a_token_mean(golden):
    loss = policy_loss(
        golden["logprobs"], golden["old_logprobs"], golden["adv_whitened_unbiased"], golden["mask"], clip=0.2
    ).loss
    assert abs(float(loss) / 12 - golden["pg_loss_token_mean_clip0p2"]) < TOLERANCE
    assert abs(golden["pg_loss_token_mean_clip0p2"] - 0.04793708) < 1e-8


def test_value_loss_as_a_token_mean(golden):
    loss = value_loss(golden["new_values"], golden["values"], golden["returns"], golden["mask"], clip=0.2).loss
    assert abs(float(loss) / 12 - golden["vf_loss_clip0p2"]) < TOLERANCE
    assert abs(golden["vf_loss_clip0p2"] - 1.10049634) < 1e-8


def test_the_same_in_float32(golden):
    narrow = {k: v.float() if k != "mask" and isinstance(v, torch.Tensor) else v for k, v in golden.items()}
    mask = narrow["mask"]
    advantages, _ = gae(narrow["rewards"], narrow["values"], mask, gamma=1.0, lam=0.95)
    white = whiten(advantages, mask, shift_mean=True)
    same(white, narrow["adv_whitened_unbiased"])
    loss = policy_loss(narrow["logprobs"], narrow["old_logprobs"], white, mask, clip=0.2).loss
    assert abs(float(loss) / 12 - golden["pg_loss_token_mean_clip0p2"]) < TOLERANCE
