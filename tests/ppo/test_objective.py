"""What a micro-batch adds to the loss: compiled or not, the same numbers and the same gradient."""

import pytest
import torch

from appliance.ppo.objective import SUMS, Objective
from appliance.ppo.types import TokenStats

EVERYTHING = {"ppo": {"entropy_coef": 0.02, "dual_clip": 3.0}, "kl": {"placement": "loss", "estimator": "k3"}}


def given(learner, batch, *, entropy):
    """The batch read anew with weights that have moved since: log-probabilities and values that need a gradient."""
    rollout = batch.rollout
    step = torch.linspace(-0.5, 0.5, batch.mask.numel()).view_as(batch.mask)
    moved = [torch.where(batch.mask, x + step, 0.0).requires_grad_() for x in (rollout.logprobs, rollout.values)]
    read = rollout.entropy.clone().requires_grad_() if entropy else None
    return TokenStats(logprobs=moved[0], values=moved[1], entropy=read)


@pytest.mark.parametrize(("sections", "entropy"), [({}, False), (EVERYTHING, True)])
def test_compiled_it_is_the_same(sections, entropy, make_gpt2_learner, eight, compiler):
    learner = make_gpt2_learner(**sections)
    batch = eight(learner)
    objectives = [Objective(learner.config, compiled=compiled) for compiled in (False, True)]
    for part, coefficient in (
        (batch, 0.1),
        (batch.rows(torch.tensor([3, 1])), 0.3),
        (batch.rows(torch.tensor([0])), 0.3),
    ):
        told, gradients = [], []
        for objective in objectives:
            read = given(learner, part, entropy=entropy)
            loss, sums, largest = objective(read, part, 39, kl_coef=coefficient)
            loss.backward()
            told.append(torch.cat([loss.detach()[None], sums, largest[None]]))
            gradients.append([x.grad for x in (read.logprobs, read.values, read.entropy) if x is not None])
        assert sums.shape == (len(SUMS),)
        assert not sums.requires_grad
        torch.testing.assert_close(told[1], told[0])
        for mine, theirs in zip(*reversed(gradients), strict=True):
            assert float(theirs.abs().sum()) > 0
            torch.testing.assert_close(mine, theirs)


def test_the_price_of_kl_may_change_without_a_new_graph(make_gpt2_learner, eight, compiler):
    from torch._dynamo.utils import counters

    learner = make_gpt2_learner(kl={"placement": "loss", "estimator": "k2"})
    batch = eight(learner)
    objective, graphs, losses = Objective(learner.config, compiled=True), [], []
    for coefficient, tokens in ((0.1, 39), (0.2, 39), (0.2, 17)):
        loss, _, _ = objective(given(learner, batch, entropy=False), batch, tokens, kl_coef=coefficient)
        losses.append(loss.item())
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] == graphs[2]
    assert len(set(losses)) == 3
