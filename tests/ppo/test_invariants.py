"""What must hold before the first optimizer step: green at a real start, red with its likely cause for each breach."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from appliance.config.ppo import Kl
from appliance.models.precision import Precision
from appliance.ppo.invariants import InvariantError, check_start, packing_problem
from appliance.ppo.scoring import Shaped, make_batch


@pytest.fixture
def started(make_gpt2_learner, eight):
    """started("lora"): a learner and the batch of its first rollout, as `collect` would make it."""

    def start(train="full", **sections):
        learner = make_gpt2_learner(train, **sections)
        rollout = eight(learner).rollout
        exact = replace(rollout, responses=replace(rollout.responses, engine_logprobs=rollout.logprobs))
        shaped = Shaped(torch.linspace(-1, 2, 8), torch.ones(8, dtype=torch.bool), 0.0)
        config = learner.config
        batch = make_batch(exact, shaped, ppo=config.ppo, kl=Kl(), kl_coef=0.1, whiten_rewards=False)
        return learner, batch

    return start


def check(learner, batch, at_reference=True, rows=8):
    check_start(learner.policy, batch, learner.config, at_reference=at_reference, rows=rows)


def with_rollout(batch, **tables):
    return replace(batch, rollout=replace(batch.rollout, **tables))


def shifted(batch, name, by):
    table = getattr(batch.rollout, name)
    return with_rollout(batch, **{name: torch.where(batch.mask, table + by, 0.0)})


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_a_real_start_is_green(train, temperature, started):
    check(*started(train, sampling={"temperature": temperature}))


def test_a_start_in_which_nothing_differs_is_green(started):
    learner, batch = started()
    check(learner, replace(batch, advantages=torch.zeros_like(batch.advantages)))


def test_checking_leaves_no_gradient_behind(started):
    learner, batch = started()
    check(learner, batch)
    assert all(p.grad is None for p in learner.parameters.values())


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama", "gpt_neox", "qwen2"])
def test_dropout_is_named(name, folder_of, make_policy, started):
    learner, batch = started()
    policy = make_policy(folder_of(name))
    learner = replace(learner, policy=policy)
    policy.model.lm.train()
    with pytest.raises(InvariantError, match="the probability ratio is not 1 before any update") as failure:
        check(learner, batch)
    assert "dropout is on" in failure.value.fix


def test_a_reading_that_cannot_be_repeated_is_not_blamed_on_dropout(started):
    learner, batch = started()
    # the rollout's log-probabilities are of other weights
    with pytest.raises(InvariantError, match=r"differ by 0\.01 nats \(tolerance 0\.0001\)") as failure:
        check(learner, shifted(batch, "logprobs", 0.01))
    assert "not deterministic" in failure.value.fix


def test_bf16_is_named_where_it_may_be_the_cause(started):
    learner, batch = started()
    learner.policy.precision = Precision(torch.device("cpu"), "bf16")
    with pytest.raises(InvariantError, match=r"tolerance 0\.05") as failure:
        check(learner, shifted(batch, "logprobs", 0.5))
    assert "compute: fp32" in failure.value.fix


def test_a_forgotten_temperature_is_a_ratio_that_is_not_one(started):
    _, batch = started(sampling={"temperature": 0.7})
    learner, _ = started(sampling={"temperature": 1.0})
    with pytest.raises(InvariantError, match="ratio is not 1"):
        check(learner, batch)


def test_clipped_ratios_at_the_start_are_red(started):
    # 5e-5 nats are within the tolerance, but not within a clip of 1e-5
    learner, batch = started(ppo={"clip": 1e-5})
    with pytest.raises(InvariantError, match="ratios are clipped before any update"):
        check(learner, shifted(batch, "logprobs", 5e-5))


def test_a_reference_that_is_not_the_start_is_red_at_the_start_only(started):
    learner, batch = started()
    drifted = shifted(batch, "ref_logprobs", -0.3)
    with pytest.raises(InvariantError, match=r"KL to the reference is not 0 at the start: .* 0\.3 nats") as failure:
        check(learner, drifted)
    assert "merged SFT model" in failure.value.fix
    check(learner, drifted, at_reference=False)


def test_an_engine_with_other_weights_is_red(started):
    learner, batch = started()
    off = replace(batch.rollout.responses, engine_logprobs=batch.rollout.logprobs + 0.01)
    with pytest.raises(InvariantError, match=r"engine's log-probabilities are 0\.01 nats per token off") as failure:
        check(learner, with_rollout(batch, responses=off))
    assert "sampling.engine: plain" in failure.value.fix


def test_what_the_engine_says_of_padding_does_not_matter(started):
    learner, batch = started()
    dirty = torch.where(batch.mask, batch.rollout.logprobs, 7.0)
    check(learner, with_rollout(batch, responses=replace(batch.rollout.responses, engine_logprobs=dirty)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, _: a + 0.5, "mean 0.5 and variance 1 "),
        (lambda a, _: 2.0 * a, "variance 4 "),
    ],
)
def test_advantages_that_are_not_white_are_red(change, message, started):
    learner, batch = started()
    spoiled = torch.where(batch.mask, change(batch.advantages, batch.mask), 0.0)
    with pytest.raises(InvariantError, match=message):
        check(learner, replace(batch, advantages=spoiled))
    unwhitened, _ = started(ppo={"whiten_advantages": False})
    check(unwhitened, replace(batch, advantages=spoiled))


def test_advantages_that_are_not_numbers_are_red(started):
    learner, batch = started()
    spoiled = batch.advantages.clone()
    spoiled[0, 0] = float("nan")
    with pytest.raises(InvariantError, match="instead of 0 and 1"):
        check(learner, replace(batch, advantages=spoiled))


def test_log_probabilities_that_are_not_numbers_are_red(started):
    learner, batch = started()
    with pytest.raises(InvariantError):
        check(learner, shifted(batch, "logprobs", float("nan")))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_only_so_many_rows_are_read_again(rows, started, monkeypatch):
    learner, batch = started()
    read, seen = learner.policy.read, []

    def watched(prompts, responses, **options):
        seen.append(len(prompts))
        return read(prompts, responses, **options)

    monkeypatch.setattr(learner.policy, "read", watched)
    check(learner, batch, rows=rows)
    assert seen == [min(rows, 8)]


def test_packing_is_trusted_when_it_agrees_with_the_padded_forward(started):
    learner, batch = started()
    assert packing_problem(learner.policy, batch.rollout.prompts, 6) is None
    assert learner.policy.packs


def test_packing_that_gives_other_numbers_is_named(started, monkeypatch):
    learner, batch = started()
    model, padded = learner.policy.model, learner.policy.model.padded

    def wrong(*args, **options):
        reading = padded(*args, **options)
        return replace(reading, logprobs=reading.logprobs + 0.25)

    monkeypatch.setattr(model, "padded", wrong)
    found = packing_problem(learner.policy, batch.rollout.prompts, 6)
    assert found == "its log-probabilities differ by 0.25 nats"
    assert learner.policy.packs


SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
OTHERS = {
    "mistral": SIZES
    | {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64, "sliding_window": 12},
    "falcon": SIZES | {"max_position_embeddings": 64},
    "mpt": {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
}


@pytest.fixture
def policy_of(make_policy, tokenizer, tmp_path):
    """policy_of("falcon"): a policy of one of OTHERS."""

    def make(name):
        torch.manual_seed(2)
        config = AutoConfig.for_model(name, **OTHERS[name], **ENDS)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return make_policy(tmp_path / name)

    return make


def test_a_sliding_window_is_a_problem_only_where_prompt_and_response_pass_it(policy_of, sequences):
    policy = policy_of("mistral")
    prompts, _ = sequences([4, 2, 5, 1], [1])  # the longest has 5, the window 12
    assert packing_problem(policy, prompts, 7) is None
    problem = packing_problem(policy, prompts, 9)  # the comparison goes on to 8 tokens, the run to 9
    assert problem == "MistralAttention sees 12 tokens of 13"  # the last of 14 predicts nothing
    assert policy.packs


@pytest.mark.parametrize("name", ["falcon", "mpt"])
def test_layers_that_raise_are_a_problem_and_padding_takes_over(name, policy_of, sequences):
    policy = policy_of(name)
    prompts, responses = sequences([4, 2, 5, 1], [6, 3, 2, 5])
    assert "its layers do not take it" in packing_problem(policy, prompts, 6)
    policy.use_padding()
    with torch.no_grad():
        together = policy.read(prompts, responses, temperature=1.0).logprobs
        alone = policy.read(*sequences_row(prompts, responses, 1), temperature=1.0).logprobs
    assert together[1, :3].tolist() == pytest.approx(alone[0].tolist(), abs=1e-5)


def sequences_row(prompts, responses, row):
    """One row without its padding."""
    p, r = int(prompts.lengths[row]), int(responses.lengths[row])
    rows = torch.tensor([row])
    made = replace(responses.rows(rows), ids=responses.ids[rows, :r], engine_logprobs=torch.zeros(1, r))
    return replace(prompts.rows(rows), ids=prompts.ids[rows, :p]), made


def test_memory_that_runs_out_is_no_packing_problem(started, monkeypatch):
    learner, batch = started()

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(learner.policy, "read", full)
    with pytest.raises(torch.OutOfMemoryError):
        packing_problem(learner.policy, batch.rollout.prompts, 6)


def tiny_rewards(learner, batch, scale):
    """The batch with scores of about `scale` and values of zero, as a new critic gives."""
    rollout = replace(batch.rollout, values=torch.zeros_like(batch.rollout.values))
    shaped = Shaped(torch.linspace(-1, 2, 8) * scale, torch.ones(8, dtype=torch.bool), 0.0)
    config = learner.config
    return make_batch(rollout, shaped, ppo=config.ppo, kl=Kl(), kl_coef=0.1, whiten_rewards=False)


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 3e-5, 1e-6, 0.0])
def test_tiny_rewards_are_no_contradiction(scale, started):
    # at 1e-4 the raw variance is near the 1e-8 that whitening adds to it, so that it leaves less than 1
    learner, batch = started()
    check(learner, tiny_rewards(learner, batch, scale))


def test_advantages_of_tiny_rewards_that_are_not_white_are_red(started):
    learner, batch = started()
    tiny = tiny_rewards(learner, batch, 1e-4)
    with pytest.raises(InvariantError, match="instead of 0 and 0"):
        check(learner, replace(tiny, advantages=1.5 * tiny.advantages))
