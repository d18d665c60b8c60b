"""The records that flow through PPO."""

import pytest
import torch

from appliance.ppo.types import Batch, Generation, Prompts, Responses, Rollout, mask_from_lengths


def test_mask_from_lengths_keeps_the_first_tokens():
    found = mask_from_lengths(torch.tensor([0, 1, 3]), 3)
    assert found.tolist() == [[False] * 3, [True, False, False], [True] * 3]


def test_a_response_is_masked_by_its_length_and_never_by_its_ids():
    # token 0 is the end token and stands inside, at the end and in the padding
    ids = torch.zeros(2, 3, dtype=torch.long)
    made = Generation(ids, torch.tensor([2, 3]), torch.tensor([True, False]), torch.zeros(2, 3))
    assert made.mask.tolist() == [[True, True, False], [True, True, True]]


@pytest.fixture
def batch():
    """Three rows whose every field says which row it is."""
    prompts = Prompts(["p0", "p1", "p2"], torch.arange(3)[:, None].repeat(1, 2), torch.tensor([1, 2, 1]))
    table = torch.arange(3.0)[:, None].repeat(1, 2)
    responses = Responses(
        ids=table.long(),
        lengths=torch.tensor([2, 1, 2]),
        ended=torch.tensor([True, False, True]),
        engine_logprobs=table,
        texts=["r0", "r1", "r2"],
    )
    rollout = Rollout(
        prompts, responses, table, table, table, table, trunk=[torch.full((3, 1), float(i)) for i in "012"]
    )
    return Batch(rollout, torch.arange(3.0), table, table, table, responses.mask)


def test_rows_takes_every_field_in_the_order_asked_for(batch):
    taken = batch.rows(torch.tensor([2, 0]))
    rollout = taken.rollout
    assert rollout.prompts.texts == ["p2", "p0"]
    assert rollout.responses.texts == ["r2", "r0"]
    assert rollout.responses.ended.tolist() == [True, True]
    assert [float(row[0]) for row in rollout.trunk] == [2.0, 0.0]
    for table in (taken.rewards, taken.advantages, taken.returns, rollout.logprobs, rollout.values, rollout.entropy):
        assert table[:, 0].tolist() == [2.0, 0.0]
    assert taken.scores.tolist() == [2.0, 0.0]
    assert rollout.prompts.ids[:, 0].tolist() == [2, 0]
    assert taken.mask.tolist() == [[True, True], [True, True]]
    assert len(rollout.prompts) == 2


def test_to_moves_every_tensor(batch):
    moved = batch.to(torch.device("meta"))
    assert moved.scores.device.type == "meta"
    assert moved.rollout.responses.ids.device.type == "meta"
    assert moved.rollout.prompts.lengths.device.type == "meta"
    assert [row.device.type for row in moved.rollout.trunk] == ["meta"] * 3
    assert moved.rollout.prompts.texts == ["p0", "p1", "p2"]


def test_a_record_cannot_be_changed(batch):
    with pytest.raises(AttributeError):
        batch.scores = torch.zeros(3)
