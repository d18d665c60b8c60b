"""The update of an encoder-decoder: its gradient is that of PPO's objective over transformers' and peft's own forward."""

import math
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM

from appliance.engines import plain
from appliance.engines._sampling import Sampling
from appliance.ppo.update import Progress, make_learner, update

TEMPERATURE, CLIP, VALUE_COEF = 0.7, 0.2, 0.1
LORA = {"rank": 4, "alpha": 8, "dropout": 0.05, "targets": ["q", "v"]}
PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]  # 20 response tokens


@pytest.fixture
def learner(folder_of, make_policy, ppo_config):
    """learner("lora"): over the tiny T5, one optimizer step of all four rows; adapters already say something."""

    def make(train):
        chosen = {"train": train} | ({"lora": LORA} if train == "lora" else {})
        policy = make_policy(folder_of("t5"), **chosen)
        generator = torch.Generator().manual_seed(21)
        with torch.no_grad():
            for name, parameter in policy.trainable().items():
                if "lora_B" in name:
                    parameter.normal_(0, 0.2, generator=generator)
        config = ppo_config(
            folder_of("t5"),
            policy=chosen,
            sampling={"temperature": TEMPERATURE},
            batch={"steps": 1, "rollout": 4},
            ppo={"clip": CLIP, "value_clip": None, "value_coef": VALUE_COEF},
            optimizer={"learning_rate": 1e-2, "max_grad_norm": 1e9, "schedule": "constant", "weight_decay": 0.0},
        )
        return make_learner(policy, config)

    return make


def by_hand(folder, learner):
    """transformers' model with peft's adapters, with the learner's weights; and its parameters by the learner's names."""
    lm = AutoModelForSeq2SeqLM.from_pretrained(folder)
    if learner.policy.adapter is not None:
        lora = LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q", "v"])
        with warnings.catch_warnings():  # peft asks transformers under a name that it gave up
            warnings.simplefilter("ignore")
            get_peft_model(lm, lora)  # puts them into lm
    named = {f"policy.{name}": p for name, p in lm.named_parameters()}
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            if name.startswith("policy."):
                named[name].copy_(parameter)
    return lm.eval(), {name: named[name] for name in learner.parameters if name.startswith("policy.")}


def objective(lm, critic, batch):
    """PPO's loss, one unpadded row at a time."""
    loss = torch.zeros(())
    rollout = batch.rollout
    for row, (p, r) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = rollout.responses.ids[row, :r]
        asked = torch.tensor([[*rollout.prompts.ids[row, :p].tolist(), 0]])  # 0 is the end token
        given = torch.tensor([[lm.config.decoder_start_token_id, *ids[:-1].tolist()]])
        ones = torch.ones_like(given)
        out = lm(input_ids=asked, decoder_input_ids=given, decoder_attention_mask=ones, output_hidden_states=True)
        new = (out.logits[0] / TEMPERATURE).log_softmax(-1).gather(1, ids[:, None])[:, 0]
        ratio = (new - rollout.logprobs[row, :r]).exp()
        a = batch.advantages[row, :r]
        loss = loss - torch.min(ratio * a, ratio.clamp(1 - CLIP, 1 + CLIP) * a).sum()
        values = (out.decoder_hidden_states[-1][0] * critic.weight.detach()).sum(-1) + critic.bias.detach()
        loss = loss + VALUE_COEF * 0.5 * (values - batch.returns[row, :r]).square().sum()
    return loss / sum(RESPONSES)


@pytest.mark.parametrize("train", ["full", "lora"])
def test_the_gradient_is_that_of_the_objective_over_the_plain_model(
    train, learner, folder_of, sequences, make_batch, chunk
):
    made = learner(train)
    batch = make_batch(made.policy, *sequences(PROMPTS, RESPONSES), temperature=TEMPERATURE)
    batch.rollout.logprobs.add_(0.3 * torch.randn(4, 9, generator=torch.Generator().manual_seed(2)))  # some are clipped
    lm, named = by_hand(folder_of("t5"), made)
    objective(lm, made.policy.critic, batch).backward()
    seen = {}
    made.optimizer.register_step_pre_hook(
        lambda *_: seen.update({name: p.grad.clone() for name, p in made.parameters.items()})
    )
    before = {name: p.detach().clone() for name, p in made.parameters.items()}
    progress = Progress()
    plan, options = torch.arange(4)[None], {"step": 0, "kl_coef": 0.0, "stop": lambda: False}
    update(made, batch, plan, progress, chunk=chunk(3), **options)
    assert progress.sums["clipped"] > 2
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in named.values()))
    gap = math.sqrt(sum(float((seen[name] - p.grad).square().sum()) for name, p in named.items()))
    assert norm > 1e-2
    assert gap <= 1e-5 * norm
    sides = {side for name in named for side in ("encoder", "decoder") if f"policy.{side}." in name}
    assert sides == {"encoder", "decoder"}
    for name, parameter in made.parameters.items():  # Adam's first step: every weight by about the learning rate
        assert float((parameter.detach() - before[name]).abs().median()) > 1e-3, name


def test_a_rewarded_token_becomes_likelier_and_is_sampled_more(learner, sequences, make_batch, chunk):
    """The rows that wrote it have advantage 1, the others -1; the engine samples with the weights as they are now."""
    made = learner("lora")
    prompts, responses = sequences(PROMPTS, RESPONSES)
    mask = responses.mask
    batch = make_batch(made.policy, prompts, responses, temperature=TEMPERATURE)
    good = (responses.ids % 2 == 0) & mask
    batch.advantages.copy_(torch.where(good, 1.0, -1.0) * mask)
    engine = plain.make(made.policy, Sampling(TEMPERATURE, 0, 1.0, ()))
    limits, uniforms = torch.full((4,), 9), torch.rand(4, 9, generator=torch.Generator().manual_seed(3))
    first = engine.generate(prompts, limits, uniforms)
    options = {"step": 0, "kl_coef": 0.0, "stop": lambda: False}
    for _ in range(2):
        update(made, batch, torch.arange(4)[None], Progress(), chunk=chunk(4), **options)
    with torch.no_grad():
        change = made.policy.read(prompts, responses, temperature=TEMPERATURE).logprobs - batch.rollout.logprobs
        assert change[good].mean() > 0.05 > -0.05 > change[mask & ~good].mean()
        then = engine.generate(prompts, limits, uniforms)
        assert float((then.engine_logprobs - first.engine_logprobs).abs().max()) > 0.05
        read = made.policy.read(prompts, then, temperature=TEMPERATURE).logprobs
    torch.testing.assert_close(then.engine_logprobs, read, atol=1e-5, rtol=0)
