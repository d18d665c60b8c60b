"""The policy against its reference: the ratio is 1 before any update, the reference never moves, the rest stays frozen."""

import pytest
import torch

from appliance.errors import ModelError
from appliance.models.build import build_policy
from appliance.models.policy import Policy
from appliance.models.precision import Precision
from appliance.models.top_layers import TopLayers, decoder_blocks
from appliance.ppo.rollout import evaluate
from appliance.ppo.update import make_learner

PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]
TRAINED = ["full", "lora", "top_layers"]
EXACT = 1e-6


@pytest.fixture(params=TRAINED)
def train(request: pytest.FixtureRequest) -> str:
    """What of the model is trained, each in turn."""
    return request.param


@pytest.fixture
def policy(model_folder, train, make_policy) -> Policy:
    """A policy of each architecture, trained in each way; one of two blocks where only the top is."""
    return make_policy(model_folder, train, top_layers=1)


def read(policy: Policy, data, **more):
    return policy.read(*data, temperature=0.8, **more)


@torch.no_grad()
def plain_logprobs(lm, prompts, responses, temperature=0.8) -> list[torch.Tensor]:
    """Row by row, from the model alone, without any of the package's code."""
    found = []
    for row, (p, r) in enumerate(zip(prompts.lengths.tolist(), responses.lengths.tolist(), strict=True)):
        ids = torch.cat([prompts.ids[row, :p], responses.ids[row, :r]])[None]
        log_p = (lm(input_ids=ids).logits[0, p - 1 : -1] / temperature).log_softmax(-1)
        found.append(log_p.gather(1, responses.ids[row, :r, None])[:, 0])
    return found


@torch.no_grad()
def test_two_readings_of_the_same_weights_give_ratio_one(policy, sequences, chunk):
    data = sequences(PROMPTS, RESPONSES)
    first, second = read(policy, data), read(policy, data)
    assert torch.equal(first.logprobs, second.logprobs)  # dropout is 0.1 in the configs, and off
    assert torch.equal(first.values, second.values)
    for size in (1, 3, 8):
        rollout = evaluate(policy, *data, temperature=0.8, chunk=chunk(size))
        gap = (rollout.logprobs - first.logprobs).abs().max()
        assert gap <= policy.precision.tolerance
        assert gap <= 1e-5
        torch.testing.assert_close(rollout.values, first.values, atol=1e-5, rtol=0)


def test_reading_leaves_no_module_in_training_mode(policy):
    assert not [name for name, module in policy.model.lm.named_modules() if module.training]
    assert not [name for name, module in policy.reference.lm.named_modules() if module.training]


@pytest.mark.parametrize("packs", [True, False])
def test_the_reference_is_the_starting_model_before_and_after_training(
    model_folder, policy, sequences, disturb, make_policy, packs
):
    if not packs:
        policy.use_padding()
    data = sequences(PROMPTS, RESPONSES)
    start = plain_logprobs(make_policy(model_folder).model.lm, *data)
    before, reference = read(policy, data).logprobs, policy.read_reference(*data, temperature=0.8)
    torch.testing.assert_close(before, reference, atol=EXACT * 10, rtol=0)  # KL 0 at the start
    disturb(policy)
    after = read(policy, data).logprobs
    assert (after - before).abs().max() > 0.05  # the policy has moved
    assert torch.equal(policy.read_reference(*data, temperature=0.8), reference)  # its reference has not, to the bit
    for row, expected in enumerate(start):
        torch.testing.assert_close(reference[row, : len(expected)], expected, atol=1e-5, rtol=0)
    assert torch.equal(read(policy, data).logprobs, after)  # and the policy is back after the reference was read


def test_the_policy_is_back_when_reading_the_reference_fails(policy, sequences, disturb):
    data = sequences(PROMPTS, RESPONSES)
    disturb(policy)
    before = read(policy, data).logprobs
    with pytest.raises(RuntimeError), policy.switch():
        raise RuntimeError
    assert torch.equal(read(policy, data).logprobs, before)


def test_an_optimizer_step_moves_the_trainable_weights_and_no_other(model_folder, policy, train, ppo_config, sequences):
    learner = make_learner(policy, ppo_config(model_folder, optimizer={"learning_rate": 0.01}))
    everything = dict(policy.model.lm.named_parameters()) | {
        f"critic.{n}": p for n, p in policy.critic.named_parameters()
    }
    trained = {id(p) for p in policy.trainable().values()}
    before = {name: p.detach().clone() for name, p in everything.items()}
    kept = {name: b.clone() for name, b in policy.model.lm.named_buffers()}
    reference = policy.read_reference(*sequences(PROMPTS, RESPONSES), temperature=0.8)
    found = read(policy, sequences(PROMPTS, RESPONSES))
    (found.logprobs.sum() + found.values.square().sum()).backward()
    learner.optimizer.step()
    moved = {name for name, p in everything.items() if not torch.equal(p, before[name])}
    assert moved <= {name for name, p in everything.items() if id(p) in trained}
    assert {"critic.weight", "critic.bias"} <= moved
    assert [name for name in moved if not name.startswith("critic.")]
    assert (len(trained) < len(everything)) == (train != "full")
    assert all(torch.equal(b, kept[name]) for name, b in policy.model.lm.named_buffers())
    assert torch.equal(policy.read_reference(*sequences(PROMPTS, RESPONSES), temperature=0.8), reference)


def test_what_is_trained(model_folder, make_policy):
    full, lora, top = (make_policy(model_folder, train, top_layers=1) for train in TRAINED)
    assert all(p.requires_grad for p in full.model.lm.parameters())
    assert not [name for name, p in full.reference.lm.named_parameters() if p.requires_grad]
    names = [name for name in lora.trainable() if not name.startswith("critic.")]
    assert names
    assert all(".lora_" in name for name in names)
    assert lora.reference is lora.model  # no second model
    block = {id(p) for p in decoder_blocks(top.model.lm)[-1].parameters()}
    assert {id(p) for n, p in top.trainable().items() if n.startswith("policy.")} == block
    for made in (full, lora, top):
        assert {"critic.weight", "critic.bias"} <= set(made.trainable())


def test_names_of_trainable_weights_are_the_same_in_another_session(model_folder, make_policy, train):
    first, second = (make_policy(model_folder, train, top_layers=1) for _ in range(2))
    assert list(first.trainable()) == list(second.trainable())
    assert all(torch.equal(a, b) for a, b in zip(first.trainable().values(), second.trainable().values(), strict=True))


# --- top layers: the trunk is run once


@torch.no_grad()
def test_a_kept_trunk_gives_the_same_numbers_in_any_rows_and_session(model_folder, make_policy, sequences, disturb):
    data = sequences(PROMPTS, RESPONSES)
    policy = make_policy(model_folder, "top_layers", top_layers=1)
    disturb(policy)
    whole = read(policy, data, keep_trunk=True, with_entropy=True)
    assert [len(row) for row in whole.trunk] == [p + r - 1 for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    later = make_policy(model_folder, "top_layers", top_layers=1)  # a resumed run: it has recorded nothing
    disturb(later)
    index = torch.tensor([2, 0])
    some = tuple(part.rows(index) for part in data)
    for reader in (policy, later):
        found = read(reader, some, trunk=[whole.trunk[i] for i in index], with_entropy=True)
        for name in ("logprobs", "entropy", "values"):
            torch.testing.assert_close(getattr(found, name), getattr(whole, name)[index], atol=1e-5, rtol=0)
    reference = policy.read_reference(*data, temperature=0.8)
    replayed = policy.read_reference(*data, temperature=0.8, trunk=whole.trunk)
    torch.testing.assert_close(replayed, reference, atol=EXACT, rtol=0)


def test_gradients_from_a_kept_trunk_are_those_of_the_whole_model(model_folder, make_policy, sequences):
    data = sequences(PROMPTS, RESPONSES)
    gradients = []
    for keeps in (False, True):
        policy = make_policy(model_folder, "top_layers", top_layers=1)
        with torch.no_grad():
            trunk = read(policy, data, keep_trunk=True).trunk
        found = read(policy, data, trunk=trunk if keeps else None)
        (found.logprobs.sum() + found.values.square().sum()).backward()
        gradients.append({name: p.grad for name, p in policy.trainable().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=2e-4, rtol=1e-4, msg=name)


def test_the_blocks_are_where_they_were_after_every_switch(model_folder, make_policy, sequences):
    policy = make_policy(model_folder, "top_layers", top_layers=1)
    blocks = [id(b) for b in decoder_blocks(policy.model.lm)]
    data = sequences([3], [4])
    trunk = read(policy, data, keep_trunk=True).trunk
    read(policy, data, trunk=trunk)
    policy.read_reference(*data, temperature=1.0, trunk=trunk)
    with pytest.raises(RuntimeError), policy.top.replaying(trunk[0][None]):
        raise RuntimeError
    assert [id(b) for b in decoder_blocks(policy.model.lm)] == blocks


def test_more_top_layers_than_blocks_are_refused(folder_of, make_policy):
    with pytest.raises(ModelError) as caught:
        make_policy(folder_of("gpt2"), "top_layers", top_layers=2)
    assert caught.value.what == "policy.top_layers is 2, but the model has 2 blocks"
    assert caught.value.fix == "set top_layers to at most 1, or train: full"


def test_a_model_without_a_list_of_blocks_is_refused(folder_of, make_policy):
    lm = make_policy(folder_of("gpt2")).model.lm
    lm.config.n_layer = 5
    with pytest.raises(ModelError, match="has no list of 5 blocks"):
        TopLayers(lm, 1)


# --- LoRA


def test_adapters_begin_as_nothing_and_targets_are_followed(folder_of, make_policy):
    policy = make_policy(folder_of("llama"), "lora", lora={"rank": 3, "targets": ["v_proj"]})
    names = [name for name in policy.trainable() if name.startswith("policy.")]
    assert len(names) == 4  # two blocks, A and B each
    assert all("v_proj" in name for name in names)
    assert all(not p.any() for name, p in policy.trainable().items() if "lora_B" in name)
    assert {min(p.shape) for name, p in policy.trainable().items() if "lora_" in name} == {3}


def test_targets_that_no_module_has_are_an_error_for_people(folder_of, make_policy):
    with pytest.raises(ModelError) as caught:
        make_policy(folder_of("llama"), "lora", lora={"targets": ["nothing"]})
    assert "LoRA does not fit LlamaForCausalLM" in caught.value.what
    assert caught.value.fix == "set lora.targets to the names of its modules"


def test_the_seed_gives_the_same_adapters(folder_of, ppo_config, precision):
    def weights(seed: int) -> list[torch.Tensor]:
        config = ppo_config(folder_of("gpt2"), policy={"train": "lora"}, seed=seed)
        return list(build_policy(config, precision)[0].trainable().values())

    assert all(map(torch.equal, weights(1), weights(1)))
    assert not all(map(torch.equal, weights(1), weights(2)))


# --- bf16


def test_values_are_fp32_under_bf16_and_do_not_change_when_the_hidden_states_do_not(folder_of, make_policy):
    if not torch.cpu.get_capabilities().get("avx512_bf16"):
        pytest.skip("this CPU has no bf16 instructions")
    head = make_policy(folder_of("gpt2")).critic
    hidden = torch.randn(50, 32, generator=torch.Generator().manual_seed(2))
    expected = (hidden.double() @ head.weight.double() + head.bias.double()).float()
    for context in (Precision(torch.device("cpu"), "bf16").active(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            found = head(hidden)
            assert head(hidden.bfloat16()).dtype == torch.float32
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bf16_stays_within_its_tolerance(model_folder, make_policy, sequences):
    if not torch.cpu.get_capabilities().get("avx512_bf16"):
        pytest.skip("this CPU has no bf16 instructions")
    policy, data = make_policy(model_folder), sequences(PROMPTS, RESPONSES)
    bf16 = Precision(torch.device("cpu"), "bf16")
    exact = read(policy, data)
    with bf16.active():
        packed = read(policy, data)
        policy.use_padding()
        padded = read(policy, data)
    assert packed.logprobs.dtype == packed.values.dtype == torch.float32
    assert not torch.equal(packed.logprobs, exact.logprobs)  # it is on
    assert (packed.logprobs - padded.logprobs).abs().max() < bf16.tolerance
