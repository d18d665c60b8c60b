"""A uniform number picks a token by the cumulative distribution; cuts leave what is trained untouched."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engines._sampling import Sampling, draw

PROBS = [0.1, 0.2, 0.3, 0.4]
ALMOST_ONE = 1 - 2**-24
"""The largest number that torch.rand can give in fp32."""


def drawn(uniforms: list[float], probs: list[float] = PROBS, **options: float) -> tuple[list[int], torch.Tensor]:
    sampling = Sampling(**({"temperature": 1.0, "top_k": 0, "top_p": 1.0, "stop_ids": ()} | options))
    logits = torch.tensor(probs).log().expand(len(uniforms), -1)
    tokens, logprobs = draw(logits, torch.tensor(uniforms), sampling)
    return tokens.tolist(), logprobs


def test_the_cumulative_distribution_is_inverted():
    # sums .1 .3 .6 1: the first that exceeds the number
    tokens, logprobs = drawn([0.0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, ALMOST_ONE])
    assert tokens == [0, 0, 1, 1, 2, 2, 3, 3]
    expected = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]).log()
    torch.testing.assert_close(logprobs, expected, atol=1e-6, rtol=0)


def test_temperature_divides_the_logits():
    # temperature 1/2 squares: .01 .04 .09 .16, in all .3; sums .033 .167 .467 1
    tokens, logprobs = drawn([0.03, 0.04, 0.16, 0.17, 0.46, 0.47], temperature=0.5)
    assert tokens == [0, 1, 1, 2, 2, 3]
    torch.testing.assert_close(logprobs[:2], torch.tensor([0.01 / 0.3, 0.04 / 0.3]).log(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "border"),
    [
        ({"top_k": 2}, 3 / 7),
        ({"top_p": 0.5}, 3 / 7),
        ({"top_k": 3, "top_p": 0.5}, 3 / 7),
        ({"top_k": 2, "top_p": 0.9}, 3 / 7),
    ],
)
def test_a_cut_leaves_the_likeliest_and_rescales_the_number_but_not_the_logprob(options, border):
    # .3 and .4 are left, in the order of the vocabulary: token 2 below 3/7
    tokens, logprobs = drawn([0.0, border - 0.01, border + 0.01, ALMOST_ONE], **options)
    assert tokens == [2, 2, 3, 3]
    torch.testing.assert_close(logprobs, torch.tensor([0.3, 0.3, 0.4, 0.4]).log(), atol=1e-6, rtol=0)


def test_the_token_that_passes_top_p_stays_and_one_always_does():
    assert drawn([0.0, ALMOST_ONE], top_p=0.39)[0] == [3, 3]
    assert drawn([0.0, ALMOST_ONE], top_p=1e-9)[0] == [3, 3]
    assert drawn([0.0], top_p=0.41)[0] == [2]


def test_of_equal_tokens_the_first_ones_stay():
    assert drawn([0.0, 0.49, 0.51, ALMOST_ONE], [0.25] * 4, top_k=2)[0] == [0, 0, 1, 1]
    assert drawn([ALMOST_ONE], [0.25] * 4, top_k=1)[0] == [0]
    assert drawn([ALMOST_ONE], top_k=9)[0] == [3]  # more than there are: no cut


def test_evenly_spread_numbers_give_each_token_its_share():
    count = 10_000
    tokens, _ = drawn([(i + 0.5) / count for i in range(count)], [0.001, 0.5, 0.0, 0.25, 0.249])
    assert [tokens.count(i) for i in range(5)] == pytest.approx([10, 5000, 0, 2500, 2490], abs=1)


NUMBERS = st.one_of(st.just(0.0), st.just(ALMOST_ONE), st.floats(0, ALMOST_ONE, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.just(-math.inf), st.floats(-60, 20, width=32)), min_size=2, max_size=30), NUMBERS)
def test_a_token_without_probability_is_never_drawn(logits, number):
    if max(logits) == -math.inf:
        logits[0] = 0.0
    row = torch.tensor([logits])
    for top_k, top_p in ((0, 1.0), (3, 1.0), (0, 0.5)):
        tokens, logprobs = draw(row, torch.tensor([number]), Sampling(1.0, top_k, top_p, ()))
        assert row.softmax(-1)[0, tokens[0]] > 0
        assert torch.isfinite(logprobs).all()


def test_numbers_are_exact_in_fp32_whatever_the_logits_are():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    numbers = torch.tensor([0.1, 0.5, 0.9])
    whole, single = (
        draw(logits, numbers, Sampling(0.7, 0, 1.0, ())),
        draw(logits.float(), numbers, Sampling(0.7, 0, 1.0, ())),
    )
    assert torch.equal(whole[0], single[0])
    assert whole[1].dtype == torch.float32
    assert torch.equal(whole[1], single[1])
