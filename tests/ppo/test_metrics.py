"""Every metric by hand on two responses of three and one tokens; what stands in the padding is 1000 and must not count."""

import math

import pytest
import torch
from torch import tensor

from appliance.data.ngrams import distinct
from appliance.ppo.metrics import METRICS, correlation, response_kl, std, step_metrics
from appliance.ppo.scoring import Shaped
from appliance.ppo.types import Batch, Prompts, Responses, Rollout
from appliance.ppo.update import Progress

G = 1000.0
RAW = tensor([1.0, 3.0])
EXPECTED = {
    "step": 8,
    "sequences": 16,
    "score_mean": 2.0,
    "score_std": 2**0.5,  # deviations -1, 1 over n - 1 = 1
    "score_shaped_mean": 0.5,  # 2, -1
    "saturated_share": 0.5,
    "objective": 0.525,  # .5 - .2 * -.125
    "kl": -0.125,  # (.5 + 0 - 1) and .25
    "kl_k3": 0.426807,  # (e^-.5 - .5 + 0 + e^1 - 2) = .824812 and e^-.25 - .75 = .028801
    "kl_coef": 0.2,
    "entropy": 2.5,  # 1, 2, 3 | 4
    "length_mean": 2.0,
    "ended_share": 0.5,
    "distinct_1": 0.4,  # a, b of a b a b | b
    "distinct_2": 2 / 3,  # ab, ba of ab ba ab
    "score_length_correlation": -1.0,  # scores 1, 3; lengths 3, 1
    "engine_gap": 0.15,  # .1, .2, 0 | .3
    "reward_mean": 1.0,  # .1 + .2 + 1.7 and 0: the second row is not trained on
    "return_mean": 2.0,  # 1, 2, 3
    "return_std": 1.0,
    "value_mean": 1.5,  # .5, 2, 2
    "explained_variance": 0.75,  # R - V = .5, 0, 1: variance .25; of R: 1
    "policy_loss": 0.5,  # sums over 4 tokens from here
    "value_loss": 1.0,
    "kl_loss": 1.5,
    "entropy_bonus": 2.0,
    "approx_kl": 0.025,
    "clip_share": 0.25,
    "value_clip_share": 0.5,
    "ratio_mean": 1.1,
    "ratio_max": 1.6,
    "grad_norm": 0.7,
    "learning_rate": 1e-4,
    "optimizer_steps": 3,
    "skipped_steps": 1,
    "stopped_early": 1,
    "microbatch": 2,
}


@pytest.fixture
def batch():
    """The second of the two responses was cut off and is not trained on."""
    prompts = Prompts(["p", "p"], torch.zeros(2, 1, dtype=torch.long), torch.ones(2, dtype=torch.long))
    responses = Responses(
        ids=torch.zeros(2, 3, dtype=torch.long),
        lengths=tensor([3, 1]),
        ended=tensor([True, False]),
        engine_logprobs=tensor([[-0.9, -2.2, -3.0], [-0.7, 0.0, 0.0]]),
        texts=["a b a b", "b"],
    )
    rollout = Rollout(
        prompts,
        responses,
        logprobs=tensor([[-1.0, -2.0, -3.0], [-1.0, G, -G]]),
        ref_logprobs=tensor([[-1.5, -2.0, -2.0], [-1.25, -G, G]]),
        values=tensor([[0.5, 2.0, 2.0], [7.0, G, G]]),
        entropy=tensor([[1.0, 2.0, 3.0], [4.0, G, G]]),
    )
    return Batch(
        rollout,
        scores=tensor([2.0, -1.0]),
        rewards=tensor([[0.1, 0.2, 1.7], [0.0, 0.0, 0.0]]),
        advantages=torch.zeros(2, 3),
        returns=tensor([[1.0, 2.0, 3.0], [G, G, G]]),
        mask=tensor([[True, True, True], [False, False, False]]),
    )


@pytest.fixture
def progress():
    """Three optimizer steps over four tokens, one skipped, then stopped."""
    names = ("policy_loss", "value_loss", "kl_loss", "entropy", "approx_kl", "clipped", "value_clipped", "ratio")
    sums = dict(zip(names, (2.0, 4.0, 6.0, 8.0, 0.1, 1.0, 2.0, 4.4), strict=True))
    return Progress(
        minibatch=4,
        steps=3,
        skipped=1,
        stopped_early=True,
        tokens=4,
        sums=sums,
        ratio_max=1.6,
        grad_norm=0.7,
        learning_rate=1e-4,
    )


def measure(batch, progress, raw=RAW, saturated=0.5):
    shaped = Shaped(batch.scores, tensor([True, False]), saturated)
    return step_metrics(batch, raw, shaped, progress, step=7, kl_coef=0.2, microbatch=2)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_by_hand(name, batch, progress):
    assert measure(batch, progress)[name] == pytest.approx(EXPECTED[name], abs=1e-6)


def test_what_is_measured_is_what_is_documented_in_that_order(batch, progress):
    found = measure(batch, progress)
    assert list(found) == list(METRICS) == list(EXPECTED)
    assert all(type(value) in (int, float) for value in found.values())


def test_equal_scores_are_saturated_whatever_the_clip(batch, progress):
    assert measure(batch, progress, tensor([3.0, 3.0]), saturated=0.0)["saturated_share"] == 1.0


def test_a_step_in_which_nothing_was_learned_is_finite(batch):
    found = measure(batch, Progress(skipped=4))
    assert all(map(math.isfinite, found.values()))
    assert found["ratio_mean"] == 1.0


def test_a_batch_of_nothing_but_dropped_rows_is_finite(batch, progress):
    nothing = Batch(**(vars(batch) | {"mask": torch.zeros_like(batch.mask), "returns": torch.zeros(2, 3)}))
    found = measure(nothing, progress)
    assert all(map(math.isfinite, found.values()))
    assert found["explained_variance"] == 0.0


def test_kl_of_a_response_is_the_sum_over_its_tokens():
    # d = 1, 1 | 2: the mean of 2 and 2; the per-token mean would be 4/3
    logprobs, mask = tensor([[1.0, 1.0], [2.0, G]]), tensor([[True, True], [True, False]])
    assert response_kl(logprobs, torch.zeros(2, 2), mask) == 2.0


def test_spread_of_one_value_is_zero():
    assert std(tensor([4.0])) == 0.0
    assert std(tensor([1.0, 2.0, 6.0])) == pytest.approx(7**0.5)  # 4 + 1 + 9 over 2


@pytest.mark.parametrize(
    ("texts", "n", "share"),
    [
        (["a b c"], 1, 1.0),
        (["a a a a"], 1, 0.25),
        (["a b", "a b"], 2, 0.5),
        (["a", "b"], 2, 0.0),  # no pair at all, and none across texts
        (["", " "], 1, 0.0),
    ],
)
def test_distinct_by_hand(texts, n, share):
    assert distinct(texts, n) == share


def test_correlation_by_hand():
    # deviations -1, 0, 1 and -1, 1, 0: 1 / (sqrt 2 * sqrt 2)
    a = tensor([1.0, 2.0, 3.0]).double()
    assert correlation(a, tensor([1.0, 3.0, 2.0]).double()) == pytest.approx(0.5)
    assert correlation(a, -a) == pytest.approx(-1.0)
    assert correlation(a, torch.full((3,), 0.1).double()) == 0.0
