"""The compiled engine writes what `eager` writes, from one graph whatever the sizes."""

import pytest
import torch
from torch._dynamo.utils import counters

from appliance.engines import compiled, eager
from appliance.engines._sampling import Sampling
from appliance.models.precision import Precision
from appliance.ppo.types import Generation

SAMPLING = Sampling(0.9, 0, 1.0, tuple(range(30)))


def rows(generation: Generation) -> list[list[int]]:
    return [ids[:n] for ids, n in zip(generation.ids.tolist(), generation.lengths.tolist(), strict=True)]


def assert_alike(found: Generation, expected: Generation) -> None:
    assert rows(found) == rows(expected)
    assert torch.equal(found.ended, expected.ended)
    torch.testing.assert_close(found.engine_logprobs, expected.engine_logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("architecture", "train"), [("gpt2", "full"), ("llama", "lora")])
def test_it_writes_what_the_eager_engine_writes(
    architecture, train, folder_of, make_policy, disturb, given, compiler, monkeypatch
):
    """Also when rows leave the batch, for parts of it and single prompts, and after the weights moved; from one graph."""
    monkeypatch.setattr(eager, "ROWS", 2)
    policy = make_policy(folder_of(architecture), train)
    mine, plainly = compiled.make(policy, SAMPLING), eager.make(policy, SAMPLING)
    before = policy.model.lm.config._attn_implementation
    found = mine.generate(*given)
    assert_alike(found, plainly.generate(*given))
    assert not found.engine_logprobs.requires_grad
    assert policy.model.lm.config._attn_implementation == before
    assert all(p.grad is None for p in policy.trainable().values())
    graphs = counters["stats"]["unique_graphs"]
    disturb(policy)
    prompts, limits, uniforms = given
    for chosen in (range(6), [0], [4, 1], [5, 4, 3]):
        index = torch.tensor(list(chosen))
        part = prompts.rows(index), limits[index], uniforms[index]
        assert_alike(mine.generate(*part), plainly.generate(*part))
    mine.warm_up()
    assert rows(mine.generate(*given)) != rows(found)
    assert counters["stats"]["unique_graphs"] == graphs


def test_in_bf16_it_follows_the_weights_and_stays_within_the_tolerance(folder_of, make_policy, given, compiler):
    policy = make_policy(folder_of("qwen2"))
    exact = eager.make(policy, SAMPLING)
    policy.precision = Precision(torch.device("cpu"), "bf16")
    rounded = compiled.make(policy, SAMPLING)
    assert rounded.generate(*given).ids.any()
    with torch.no_grad():
        for parameter in policy.model.lm.parameters():
            parameter.mul_(0.8)
    found, expected = rounded.generate(*given), exact.generate(*given)
    same = (found.ids == expected.ids).long().cumprod(dim=1).bool() & found.mask
    assert same.float().sum() > 0.5 * found.mask.sum()
    gap = float((found.engine_logprobs - expected.engine_logprobs)[same].abs().max())
    assert 1e-5 < gap < policy.precision.tolerance
    assert all(p.dtype == torch.float32 for p in policy.model.lm.parameters())
