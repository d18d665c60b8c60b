"""The plan against torch.cuda's own count of what was allocated."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from appliance.engines._choice import make_engine
from appliance.models.build import build_policy
from appliance.models.precision import Precision
from appliance.plan.files import find
from appliance.plan.ppo import Ppo
from appliance.ppo.memory import ChunkSize
from appliance.ppo.probe import longest_batch
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.update import accumulate, make_learner

TOLERANCE = 0.15
PROMPT, RESPONSE, ROWS = 96, 160, 32
IDS = {"bos_token_id": 0, "eos_token_id": 0}
SIZES = {"vocab_size": 8192} | IDS


def model_of(family):
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**SIZES, n_positions=512, n_embd=512, n_layer=6, n_head=8))
    return LlamaForCausalLM(
        LlamaConfig(
            **SIZES,
            hidden_size=512,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            intermediate_size=1376,
            max_position_embeddings=512,
        )
    )


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_torch_allocates_is_planned(family, train, compute, tmp_path, tokenizer, ppo_config):
    torch.manual_seed(1)
    model_of(family).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    lengths = {"response_tokens": [RESPONSE, RESPONSE], "stop_at_eos": False}
    evaluation = {"prompts": ROWS, "samples": 1}
    sizes = {"rollout": ROWS, "microbatch": ROWS // 2}
    config = ppo_config(tmp_path, policy={"train": train}, batch=sizes, sampling=lengths, evaluation=evaluation)
    policy, _ = build_policy(config, Precision(torch.device("cuda"), compute))
    planned = Ppo(config, find(str(tmp_path)).shape, cuda=True, bf16=compute == "bf16", prompt=PROMPT)
    learner = make_learner(policy, config)
    batch = longest_batch(learner, ROWS, PROMPT, RESPONSE)
    chunk = ChunkSize("the test", ROWS, lambda _: None)
    states = [
        torch.empty_like(p) for p in learner.parameters.values() for _ in range(2)
    ]  # the optimizer's, as in `probe`
    engine, uniforms = make_engine(policy, config.sampling, ()), torch.rand(ROWS, RESPONSE)
    limits, prompts = torch.full((ROWS,), RESPONSE), batch.rollout.prompts

    def generate():
        with torch.no_grad(), policy.precision.active():
            sample(engine, prompts, limits, uniforms, decode=lambda p, r: [""] * len(r), chunk=chunk)

    def read():
        evaluate(policy, prompts, batch.rollout.responses, temperature=1.0, chunk=chunk)

    def learn():
        half, rows = ChunkSize("the test", ROWS // 2, lambda _: None), torch.arange(ROWS)
        accumulate(learner, batch, rows, ROWS * RESPONSE, kl_coef=1.0, chunk=half, stop=lambda: False)

    generate()  # graphs are captured the first time
    steps = ((generate, planned.generate()), (read, planned.evaluate()), (learn, planned.update(ROWS // 2)))
    for work, phase in steps:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        measured = torch.cuda.max_memory_allocated() - before
        assert phase.total == pytest.approx(measured, rel=TOLERANCE), phase.name
    assert states
