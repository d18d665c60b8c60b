"""From a reward source's scores to the batch that PPO learns from."""

import math

import pytest
import torch
from torch import tensor

from appliance.config.ppo import Kl, Ppo, Scores
from appliance.errors import ApplianceError
from appliance.ppo.advantages import Moments
from appliance.ppo.memory import ChunkSize
from appliance.ppo.scoring import Shaped, make_batch, score, shape_scores
from appliance.ppo.types import Prompts, Responses, Rollout

RAW, ENDED = tensor([1.0, -2.0, 4.0]), tensor([True, False, True])


def shape(raw=RAW, ended=ENDED, moments=None, **options):
    return shape_scores(raw, ended, Scores(**options), moments or Moments())


def rollout_of(lengths, width, logprobs, ref_logprobs, values):
    count = len(lengths)
    prompts = Prompts(["p"] * count, torch.zeros(count, 1, dtype=torch.long), torch.ones(count, dtype=torch.long))
    zeros = torch.zeros(count, width)
    responses = Responses(zeros.long(), tensor(lengths), torch.ones(count, dtype=torch.bool), zeros, ["r"] * count)
    return Rollout(prompts, responses, tensor(logprobs), tensor(ref_logprobs), tensor(values), zeros)


# the source's scores


def texts(prompts, responses):
    ids, ones = torch.zeros(len(prompts), 1, dtype=torch.long), torch.ones(len(prompts), dtype=torch.long)
    return Prompts(prompts, ids, ones), Responses(ids, ones, ones.bool(), ids.float(), responses)


def test_scores_come_back_in_the_order_of_the_responses_whatever_the_chunks():
    prompts, responses = texts(["a", "bb", "a", ""], ["xxxx", "y", "", "zz"])
    asked = []

    def source(some_prompts, some_responses):
        asked.extend(zip(some_prompts, some_responses, strict=True))
        return tensor([10.0 * len(p) + len(r) for p, r in zip(some_prompts, some_responses, strict=True)]).double()

    for size in (1, 3, 4):
        asked.clear()
        found = score(source, prompts, responses, chunk=ChunkSize("scoring", size, lambda _: None))
        assert found.total.dtype == torch.float32
        assert found.total.tolist() == [14.0, 21.0, 10.0, 2.0]
        assert found.parts is None
        assert asked == [("a", "xxxx"), ("bb", "y"), ("", "zz"), ("a", "")]  # lengths 5, 3, 2, 1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_names_its_text(broken):
    prompts, responses = texts(["a", "b"], ["x", "yy"])
    with pytest.raises(ApplianceError, match=r"for 1 of 2 texts, first 'byy'"):
        score(lambda p, r: tensor([broken, 1.0]), prompts, responses, chunk=ChunkSize("scoring", 2, lambda _: None))


def test_a_composite_is_scored_part_by_part_in_chunks_and_combined_once():
    class Doubled:
        names = ("prompt", "response")

        def __call__(self, prompts, responses):
            raise AssertionError("the parts are asked instead")

        def parts(self, prompts, responses):
            return tensor([[float(len(p)), float(len(r))] for p, r in zip(prompts, responses, strict=True)])

        def normalized(self, parts):
            return parts

        def added(self, parts):
            return parts

        def combine(self, parts):
            return 10 * parts[:, 0] + parts[:, 1]

    prompts, responses = texts(["a", "bb", "a", ""], ["xxxx", "y", "", "zz"])
    for size in (1, 3, 4):
        found = score(Doubled(), prompts, responses, chunk=ChunkSize("scoring", size, lambda _: None))
        assert found.parts.tolist() == [[1.0, 4.0], [2.0, 1.0], [1.0, 0.0], [0.0, 2.0]]
        assert found.total.tolist() == [14.0, 21.0, 10.0, 2.0]


# shaping


def test_by_default_scores_stay_as_they_are():
    shaped = shape()
    assert torch.equal(shaped.scores, RAW)
    assert shaped.trained.tolist() == [True] * 3
    assert shaped.saturated == 0.0


def test_running_scale_divides_by_the_spread_of_all_scores_so_far():
    # mean 1, squares 0 + 9 + 9: std 3
    assert shape(scale="running").scores.tolist() == pytest.approx([1 / 3, -2 / 3, 4 / 3])
    # with 7 seen before: mean 2.5, squares 2.25 + 20.25 + 2.25 + 20.25 = 45, std sqrt(15)
    moments = Moments()
    moments.update(tensor([7.0]))
    shaped = shape(scale="running", center=True, moments=moments)
    assert shaped.scores.tolist() == pytest.approx([-1.5 / 15**0.5, -4.5 / 15**0.5, 1.5 / 15**0.5])
    assert moments.count == 4


def test_moments_learn_from_the_raw_scores_even_when_nothing_is_scaled():
    moments = Moments()
    shape(clip=0.5, missing_eos="replace", moments=moments)
    assert (moments.count, moments.mean, moments.std) == (3, 1.0, 3.0)


def test_the_clip_comes_after_the_scale_and_its_share_is_counted():
    # 1/3, -2/3, 4/3 clipped to +- .6: two of three stand at the clip
    shaped = shape(scale="running", clip=0.6)
    assert shaped.scores.tolist() == pytest.approx([1 / 3, -0.6, 0.6])
    assert shaped.saturated == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("choice", "scores", "trained"),
    [
        ("off", [1.0, -1.5, 1.5], [True, True, True]),
        ("replace", [1.0, -3.0, 1.5], [True, True, True]),
        ("subtract", [1.0, -4.5, 1.5], [True, True, True]),
        ("drop", [1.0, -1.5, 1.5], [True, False, True]),
    ],
)
def test_what_happens_to_a_response_without_an_end(choice, scores, trained):
    # clipped to +- 1.5 first; the penalty of 3 comes after it, so no clip weakens it
    shaped = shape(clip=1.5, missing_eos=choice, missing_eos_penalty=3.0)
    assert shaped.scores.tolist() == pytest.approx(scores)
    assert shaped.trained.tolist() == trained


# the batch


def test_make_batch_by_hand():
    # lengths 2 and 1; d = lp - ref: .5, -1 | .2; price .1; scores 1, 2
    # rewards -.05, .1 + 1 | -.02 + 2; V = .5, .25 | 1; gamma = lam = 1: A = what is left to come - V
    # 1.05 - .5, 1.1 - .25 | 1.98 - 1 = .55, .85, .98; returns 1.05, 1.1 | 1.98
    rollout = rollout_of([2, 1], 2, [[-1.0, -2.0], [-0.5, 77]], [[-1.5, -1.0], [-0.7, 0]], [[0.5, 0.25], [1.0, 77]])
    shaped = Shaped(tensor([1.0, 2.0]), tensor([True, True]), 0.0)
    batch = make_batch(
        rollout,
        shaped,
        ppo=Ppo(gamma=1.0, lam=1.0, whiten_advantages=False),
        kl=Kl(),
        kl_coef=0.1,
        whiten_rewards=False,
    )
    torch.testing.assert_close(batch.rewards, tensor([[-0.05, 1.1], [1.98, 0.0]]))
    torch.testing.assert_close(batch.advantages, tensor([[0.55, 0.85], [0.98, 0.0]]))
    torch.testing.assert_close(batch.returns, tensor([[1.05, 1.1], [1.98, 0.0]]))
    assert batch.mask.tolist() == [[True, True], [True, False]]
    white = make_batch(rollout, shaped, ppo=Ppo(gamma=1.0, lam=1.0), kl=Kl(), kl_coef=0.1, whiten_rewards=False)
    # mean .793333, deviations -.243333, .056667, .186667, squares .097267, std sqrt(.048633) = .220530
    torch.testing.assert_close(white.advantages, tensor([[-1.10340, 0.25696], [0.84645, 0.0]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.returns, batch.returns)  # what the critic learns is never whitened


def test_the_price_is_not_paid_twice_when_it_is_in_the_loss():
    rollout = rollout_of([2], 2, [[-1.0, -2.0]], [[-1.5, -1.0]], [[0.0, 0.0]])
    kl = Kl(placement="loss", estimator="k3")
    batch = make_batch(
        rollout, Shaped(tensor([1.0]), tensor([True]), 0.0), ppo=Ppo(), kl=kl, kl_coef=0.5, whiten_rewards=False
    )
    assert batch.rewards.tolist() == [[0.0, 1.0]]


def test_the_estimator_is_the_one_asked_for():
    rollout = rollout_of([1], 1, [[-1.0]], [[-1.5]], [[0.0]])
    shaped = Shaped(tensor([0.0]), tensor([True]), 0.0)
    for estimator, kl in (("k1", 0.5), ("k2", 0.125), ("k3", math.exp(-0.5) - 0.5), ("abs", 0.5)):
        batch = make_batch(rollout, shaped, ppo=Ppo(), kl=Kl(estimator=estimator), kl_coef=1.0, whiten_rewards=False)
        assert float(batch.rewards) == pytest.approx(-kl, abs=1e-6)


def test_whitened_rewards_keep_their_mean():
    # rewards 0, 1 | 2: mean 1, std 1: the same again; doubled scores 0, 2 | 4: mean 2, std 2 -> 1, 2, 3
    rollout = rollout_of([2, 1], 2, [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])
    shaped = Shaped(tensor([2.0, 4.0]), tensor([True, True]), 0.0)
    batch = make_batch(rollout, shaped, ppo=Ppo(), kl=Kl(), kl_coef=0.1, whiten_rewards=True)
    torch.testing.assert_close(batch.rewards, tensor([[1.0, 2.0], [3.0, 0.0]]))


def test_a_dropped_row_changes_nothing_for_the_others():
    logprobs, ref = [[-1.0, -2.0], [-0.5, -3.0], [-9.0, -9.0]], [[-1.5, -1.0], [-0.7, -2.0], [-1.0, -1.0]]
    values = [[0.5, 0.25], [1.0, 2.0], [50.0, 50.0]]
    options = {"ppo": Ppo(), "kl": Kl(), "kl_coef": 0.1, "whiten_rewards": True}
    three = rollout_of([2, 2, 2], 2, logprobs, ref, values)
    dropped = make_batch(three, Shaped(tensor([1.0, 2.0, 99.0]), tensor([True, True, False]), 0.0), **options)
    alone = make_batch(three.rows(tensor([0, 1])), Shaped(tensor([1.0, 2.0]), tensor([True, True]), 0.0), **options)
    for name in ("rewards", "advantages", "returns", "mask"):
        torch.testing.assert_close(getattr(dropped, name)[:2], getattr(alone, name))
        assert not getattr(dropped, name)[2].any()


def test_a_batch_of_nothing_but_dropped_rows_is_finite():
    rollout = rollout_of([1, 1], 1, [[-1.0], [-1.0]], [[-1.0], [-1.0]], [[0.0], [0.0]])
    shaped = Shaped(tensor([1.0, 2.0]), tensor([False, False]), 0.0)
    batch = make_batch(rollout, shaped, ppo=Ppo(), kl=Kl(), kl_coef=0.1, whiten_rewards=True)
    for name in ("rewards", "advantages", "returns"):
        assert not getattr(batch, name).any()


def test_the_end_token_is_trained_on_when_it_is_also_the_pad_token():
    # every id is 0, end and pad alike: masks come from lengths, so the score stands on token 1 of 3
    rollout = rollout_of([2], 3, [[0.0] * 3], [[0.0] * 3], [[0.0] * 3])
    assert not rollout.responses.ids.any()
    batch = make_batch(
        rollout, Shaped(tensor([1.0]), tensor([True]), 0.0), ppo=Ppo(), kl=Kl(), kl_coef=0.1, whiten_rewards=False
    )
    assert batch.rewards.tolist() == [[0.0, 1.0, 0.0]]
    assert batch.mask.tolist() == [[True, True, False]]
