"""KL estimates at a token and the controller of their price."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ppo.kl import ESTIMATORS, kl_per_token, next_kl_coef

LOGPROBS, REF = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.3, -1.2, -0.5])  # d = .3, -.8, 0


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [0.3, -0.8, 0.0]),
        ("k2", [0.045, 0.32, 0.0]),  # d^2 / 2
        ("k3", [0.040818, 0.425541, 0.0]),  # e^-.3 - 1 + .3 = .740818 - .7; e^.8 - 1 - .8 = 2.225541 - 1.8
        ("abs", [0.3, 0.8, 0.0]),
    ],
)
def test_every_estimator_by_hand(estimator, expected):
    found = kl_per_token(LOGPROBS, REF, estimator=estimator)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


def test_no_estimator_is_without_numbers_of_its_own():
    assert set(ESTIMATORS) == {"k1", "k2", "k3", "abs"}


def test_trl_0_11_recorded_penalties():
    # TRL v0.11.4 tests/test_ppo_trainer.py: its "kl" is our k1, its "mse" our k2
    logprobs = torch.tensor([[0.5, 0.2, 0.1], [0.6, 0.2, 0.1]])
    ref = torch.tensor([[0.4, 0.3, 0.0], [0.7, 0.1, 0.3]])
    for estimator, expected in (
        ("k1", [[0.1, -0.1, 0.1], [-0.1, 0.1, -0.2]]),
        ("abs", [[0.1, 0.1, 0.1], [0.1, 0.1, 0.2]]),
        ("k2", [[0.005, 0.005, 0.005], [0.005, 0.005, 0.02]]),
    ):
        found = kl_per_token(logprobs, ref, estimator=estimator)
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_unbiased_estimators_average_to_the_kl(estimator):
    # p = (.7, .2, .1), q = (.4, .4, .2): sum_x p(x) k(x) must be sum p log(p / q)
    p, q = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.4, 0.4, 0.2]).log()
    average = (p.exp() * kl_per_token(p, q, estimator=estimator)).sum()
    # .7 log 1.75 + .2 log .5 + .1 log .5 = .391731 - .207944
    torch.testing.assert_close(average, torch.tensor(0.183787), atol=1e-5, rtol=0)


def test_a_huge_log_ratio_stays_finite_and_keeps_its_sign():
    logprobs, ref = torch.tensor([-500.0, 0.0]), torch.tensor([0.0, -500.0])
    assert kl_per_token(logprobs, ref, estimator="k1").tolist() == [-20.0, 20.0]
    assert kl_per_token(logprobs, ref, estimator="k3").isfinite().all()


@given(st.lists(st.floats(-15, 15), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_only_k1_may_be_negative(log_ratios):
    logprobs = torch.tensor(log_ratios, dtype=torch.float64)
    for estimator in ("k2", "k3", "abs"):
        assert (kl_per_token(logprobs, torch.zeros_like(logprobs), estimator=estimator) >= -1e-12).all()


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.2),  # on target
        (6.6, 0.2 * (1 + 0.1 * 0.0256)),  # 10 % over: error .1, n / horizon = 256 / 10000
        (60.0, 0.2 * (1 + 0.2 * 0.0256)),  # clipped to .2
        (0.0, 0.2 * (1 - 0.2 * 0.0256)),  # -1 clipped to -.2
        (-3.0, 0.2 * (1 - 0.2 * 0.0256)),  # a negative estimate asks for a lower price, no more
        (5.4, 0.2 * (1 - 0.1 * 0.0256)),
    ],
)
def test_the_controller_by_hand(kl, expected):
    found = next_kl_coef(0.2, kl, target=6.0, sequences=256, horizon=10_000)
    assert found == pytest.approx(expected, rel=1e-12)
