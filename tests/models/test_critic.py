"""The critic: a head that starts at zero, or a model of its own that values every token like its source scores the last."""

import json
import shutil

import pytest
import torch

from appliance.errors import ModelError
from appliance.models.build import build_policy
from appliance.models.critic import SeparateCritic, ValueHead
from appliance.models.loading import load_classifier

PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]


def test_a_new_value_head_says_zero(folder_of, ppo_config, precision, sequences):
    policy, _ = build_policy(ppo_config(folder_of("gpt2")), precision)
    assert isinstance(policy.critic, ValueHead)
    assert not policy.read(*sequences(PROMPTS, RESPONSES), temperature=1.0).values.any()


def test_a_value_is_the_weighted_sum_of_a_hidden_state():
    head = ValueHead(3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        head.bias.fill_(0.5)
    # 1*1 + 2*2 - 3 + .5 = 2.5; 0 + 0 + 0 + .5
    assert head(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])).tolist() == [2.5, 0.5]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_neox", "llama", "qwen2"])
@torch.no_grad()
def test_a_separate_critic_starts_with_its_reward_model_s_scores(
    name, packs, folder_of, classifier_of, ppo_config, precision, sequences
):
    source = classifier_of(name)
    config = ppo_config(folder_of("gpt2"), critic={"kind": "separate", "model": str(source)})
    policy, _ = build_policy(config, precision)
    assert isinstance(policy.critic, SeparateCritic)
    if not packs:
        policy.use_padding()
    prompts, responses = sequences(PROMPTS, RESPONSES)
    values = policy.read(prompts, responses, temperature=1.0).values
    classifier = load_classifier(str(source)).model
    for row, (p, r) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.cat([prompts.ids[row, :p], responses.ids[row, :r]])
        for t in range(r):  # value t is the score of what stands before token t
            before = ids[None, : p + t]
            score = classifier(input_ids=before, attention_mask=torch.ones_like(before)).logits[0, 0]
            torch.testing.assert_close(values[row, t], score, atol=1e-4, rtol=0)
    assert not values[1, RESPONSES[1] :].any()


def test_a_separate_critic_is_trained_and_shares_nothing_with_the_policy(
    folder_of, classifier_of, make_policy, sequences
):
    policy = make_policy(folder_of("gpt2"), "lora", critic=str(classifier_of("gpt2")))
    names = [name for name in policy.trainable() if name.startswith("critic.body.")]
    assert names
    assert not [name for name, module in policy.critic.body.named_modules() if module.training]
    ours = {p.data_ptr() for p in policy.model.lm.parameters()}
    assert not ours & {p.data_ptr() for p in policy.critic.parameters()}
    found = policy.read(*sequences(PROMPTS, RESPONSES), temperature=1.0)
    found.values.square().sum().backward()
    assert all(p.grad is None for name, p in policy.trainable().items() if name.startswith("policy."))
    assert policy.critic.head.weight.grad.abs().max() > 0
    assert [n for n in names if policy.trainable()[n].grad is not None and policy.trainable()[n].grad.any()]


def test_values_can_be_left_out(folder_of, make_policy, sequences):
    policy = make_policy(folder_of("gpt2"))
    for _ in range(2):
        assert policy.read(*sequences([2], [3]), temperature=1.0, with_values=False).values is None
        policy.use_padding()


def test_a_critic_with_several_scores_is_refused(folder_of, classifier_of, make_policy):
    with pytest.raises(ModelError) as caught:
        make_policy(folder_of("gpt2"), critic=str(classifier_of("gpt2", 2)))
    assert "does not score the last token with one number" in caught.value.what
    assert "kind: value_head" in caught.value.fix


def test_a_critic_with_another_tokenizer_is_refused(folder_of, classifier_of, make_policy, tmp_path):
    copy = tmp_path / "other"
    shutil.copytree(classifier_of("gpt2"), copy)
    saved = json.loads((copy / "tokenizer.json").read_text())
    words = saved["model"]["vocab"]
    words["other"] = words.pop("w3")
    (copy / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(ModelError, match="has another tokenizer than the policy"):
        make_policy(folder_of("gpt2"), critic=str(copy))


def test_a_language_model_as_critic_is_refused(folder_of, make_policy):
    with pytest.raises(ModelError, match="weights are not in its files and would be random: score"):
        make_policy(folder_of("gpt2"), critic=str(folder_of("gpt2")))


def test_a_run_s_folder_is_taken_as_the_critic_and_as_the_policy(
    folder_of, classifier_of, ppo_config, precision, sequences, tmp_path
):
    shutil.copytree(classifier_of("gpt2"), tmp_path / "judge" / "model")
    shutil.copytree(folder_of("gpt2"), tmp_path / "sft" / "model")

    def read(policy, critic):
        config = ppo_config(policy, critic={"kind": "separate", "model": str(critic)})
        return build_policy(config, precision)[0].read(*sequences(PROMPTS, RESPONSES), temperature=1.0)

    with torch.no_grad():
        of_runs, of_models = read(tmp_path / "sft", tmp_path / "judge"), read(folder_of("gpt2"), classifier_of("gpt2"))
    assert torch.equal(of_runs.values, of_models.values)
    assert torch.equal(of_runs.logprobs, of_models.logprobs)


@torch.no_grad()
def test_a_separate_critic_values_in_the_unit_of_its_reward_model_s_normalized_scores(
    folder_of, classifier_of, ppo_config, precision, sequences, tmp_path
):
    scaled = tmp_path / "judge"
    shutil.copytree(classifier_of("gpt2"), scaled)
    (scaled / "reward.json").write_text('{"mean": -3.0, "std": 2.0}')

    def values(critic):
        config = ppo_config(folder_of("gpt2"), critic={"kind": "separate", "model": str(critic)})
        prompts, responses = sequences(PROMPTS, RESPONSES)
        found = build_policy(config, precision)[0].read(prompts, responses, temperature=1.0).values
        return found[responses.mask]

    # what the reward source `trained` gives for a score s is (s + 3) / 2
    torch.testing.assert_close(values(scaled), (values(classifier_of("gpt2")) + 3) / 2)
