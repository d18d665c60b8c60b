"""Before training the largest micro-batch is tried out; where it does not fit it is halved, and nothing else changes."""

import pytest
import torch
from torch._dynamo.utils import counters

from appliance.errors import ApplianceError
from appliance.ppo import probe as probing
from appliance.ppo import update
from appliance.ppo.probe import longest_batch, probe
from appliance.ppo.rollout import evaluate


@pytest.fixture
def memory_for(monkeypatch):
    """memory_for(3): from now on a forward and backward of more rows runs out of memory; lists what was tried."""
    tried = []
    plain = update._microbatch

    def set_limit(rows: int) -> list[int]:
        def limited(learner, part, tokens, *, kl_coef):
            tried.append(len(part.scores))
            if len(part.scores) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return plain(learner, part, tokens, kl_coef=kl_coef)

        monkeypatch.setattr(update, "_microbatch", limited)
        return tried

    return set_limit


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
def test_nothing_is_changed_by_a_probe_that_fits(train, make_gpt2_learner, chunk, snapshot):
    learner = make_gpt2_learner(train)
    before, random_state, size = snapshot(learner), torch.get_rng_state(), chunk(8)
    probe(learner, 9, 5, chunk=size)
    assert size.size == 8
    after = snapshot(learner)
    assert len(after) == len(before)  # no optimizer state was made
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for p in learner.parameters.values())


def test_a_micro_batch_that_does_not_fit_is_halved_until_it_does(make_gpt2_learner, chunk, memory_for):
    learner, said = make_gpt2_learner(), []
    tried = memory_for(3)
    size = chunk(8, said.append)
    probe(learner, 9, 5, chunk=size)
    assert size.size == 2
    assert tried == [8, 4, 2, 2, 2, 2]
    assert len(said) == 2
    assert all(p.grad is None for p in learner.parameters.values())


def test_one_sequence_that_does_not_fit_ends_the_run(make_gpt2_learner, chunk, memory_for):
    memory_for(0)
    with pytest.raises(ApplianceError) as caught:
        probe(make_gpt2_learner(), 9, 5, chunk=chunk(2))
    assert "memory" in caught.value.what
    assert caught.value.fix


def test_another_error_is_not_taken_for_a_lack_of_memory(make_gpt2_learner, chunk, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(update, "_microbatch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        probe(make_gpt2_learner(), 9, 5, chunk=chunk(2))


def test_the_optimizer_s_two_moments_are_held_while_trying(make_gpt2_learner, chunk, monkeypatch):
    learner = make_gpt2_learner()
    made, plain = [], torch.empty_like

    def count(p, *args, **options):
        made.append(p.numel())
        return plain(p, *args, **options)

    monkeypatch.setattr(probing.torch, "empty_like", count)
    monkeypatch.setattr(probing, "accumulate", lambda *_, **__: None)
    probe(learner, 9, 5, chunk=chunk(2))
    assert sum(made) == 2 * sum(p.numel() for p in learner.parameters.values())


def test_the_longest_batch_is_full_everywhere(make_gpt2_learner):
    batch = longest_batch(make_gpt2_learner(), 3, 9, 5)
    assert batch.rollout.prompts.ids.shape == (3, 9)
    assert batch.rollout.prompts.lengths.tolist() == [9] * 3
    assert batch.rollout.responses.ids.shape == batch.mask.shape == (3, 5)
    assert batch.rollout.responses.lengths.tolist() == [5] * 3
    assert bool(batch.mask.all())


@pytest.mark.parametrize(
    ("rows_read", "most", "expected"),
    [
        ((8, 0, 32, 0), 10**6, [(8, 20)]),  # everything alike
        ((8, 1, 32, 0), 10**6, [(8, 20), (1, 20)]),  # a single row is a graph of its own
        ((8, 0, 32, 16), 400, [(8, 20), (32, 20)]),  # the rollout's logits are too many, a micro-batch's are not
        ((16, 0, 32, 0), 200, [(16, 20), (16, 12)]),  # a micro-batch's are too many, a shorter one's are not
        ((1, 0, 32, 0), 10, [(1, 20), (1, 10), (32, 20), (32, 1)]),
    ],
)
def test_every_kind_of_reading_is_met_once(rows_read, most, expected):
    assert probing.kinds_of_reading(rows_read, 20, most) == expected


def test_after_the_probe_of_a_compiled_policy_no_reading_makes_another_graph(make_gpt2_learner, chunk, compiler):
    learner = make_gpt2_learner()
    learner.policy.compile()
    probe(learner, 9, 5, chunk=chunk(4))
    graphs = counters["stats"]["unique_graphs"]
    for rows, prompt_tokens, response_tokens in ((3, 2, 4), (4, 9, 1), (2, 1, 1)):
        batch = longest_batch(learner, rows, prompt_tokens, response_tokens)
        tokens, whole = rows * response_tokens, torch.arange(rows)
        update.accumulate(learner, batch, whole, tokens, kl_coef=1.0, chunk=chunk(rows), stop=lambda: False)
        evaluate(learner.policy, batch.rollout.prompts, batch.rollout.responses, temperature=1.0, chunk=chunk(rows))
    assert counters["stats"]["unique_graphs"] == graphs
