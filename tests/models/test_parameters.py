"""The table of trainable parameters, counted by hand from the tiny models' sizes."""

import pytest
import torch
from torch import nn

from appliance.models import parameters
from appliance.models.parameters import Row, parameter_table, trainable_line

# GPT-2: width 32, 97 words, 64 positions, two blocks.
EMBEDDINGS = (97 + 64) * 32  # the head is tied
ATTENTION = 2 * (32 * 96 + 96 + 32 * 32 + 32)
MLP = 2 * (32 * 128 + 128 + 128 * 32 + 32)
NORMS = 5 * 64
CRITIC = 33


def test_every_weight_is_counted_once_and_where_it_is(folder_of, make_policy):
    assert parameter_table(make_policy(folder_of("gpt2"))) == [
        Row("embeddings", EMBEDDINGS, EMBEDDINGS),
        Row("attention", ATTENTION, ATTENTION),
        Row("mlp", MLP, MLP),
        Row("norms and others", NORMS, NORMS),
        Row("critic", CRITIC, CRITIC),
    ]


def test_under_lora_the_adapters_and_the_critic_are_trained(folder_of, make_policy):
    policy = make_policy(folder_of("gpt2"), "lora", lora={"rank": 4})
    adapters = 2 * 4 * (32 + 96)  # A [4, 32] and B [96, 4] on c_attn of two blocks
    rows = {row.group: row for row in parameter_table(policy)}
    assert rows["adapters"] == Row("adapters", adapters, adapters)
    assert rows["attention"] == Row("attention", 0, ATTENTION)
    total = EMBEDDINGS + ATTENTION + MLP + NORMS + CRITIC + adapters
    trained = adapters + CRITIC
    share = f"{100 * trained / total:.2f}"
    assert trainable_line(policy) == (
        f"trainable: {trained:,} of {total:,} ({share} %): adapters {adapters:,}, critic {CRITIC}"
    )


@pytest.mark.parametrize("name", ["opt", "gpt_neox", "llama", "qwen2", "t5", "bart"])
def test_every_architecture_adds_up(name, folder_of, make_policy):
    policy = make_policy(folder_of(name))
    rows = {row.group: row for row in parameter_table(policy)}
    everything = sum(p.numel() for m in (policy.model.lm, policy.critic) for p in m.parameters())
    assert sum(row.total for row in rows.values()) == everything
    assert rows.keys() >= {"embeddings", "attention", "mlp", "norms and others", "critic"}
    tied = policy.model.head.weight is policy.model.lm.get_input_embeddings().weight
    assert ("head" in rows) == (not tied)
    assert rows["attention"].total > rows["norms and others"].total


def test_the_frozen_copy_of_an_adapter_is_not_counted(folder_of, make_policy, tmp_path):
    first = make_policy(folder_of("llama"), "lora")
    first.adapter.save_pretrained(str(tmp_path))
    second = make_policy(folder_of("llama"), "lora", adapter=str(tmp_path))
    assert parameter_table(second) == parameter_table(first)


def test_packed_weights_are_counted_and_not_their_bytes():
    class Params4bit(nn.Parameter):
        pass

    packed = Params4bit(torch.zeros(50, 1, dtype=torch.uint8), requires_grad=False)  # 100 weights
    assert parameters._size(packed) == 100
    assert parameters._size(nn.Parameter(torch.zeros(50, 2))) == 100
