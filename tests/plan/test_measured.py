"""The plan against what torch allocates: the real engine on a CPU, every storage counted (see conftest.py).

Compared is what moves: cache, gradients, activations and logits, without the weights and the optimizer's state, which
would hide an error. Sizes are small, but large enough that a row of ids does not count.
"""

import gc

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from trl.trainer.utils import add_fused_lm_head

from appliance.config import SftConfig
from appliance.engines._choice import make_engine
from appliance.models.attention import attending
from appliance.models.build import build_policy
from appliance.models.loading import load_policy_model
from appliance.models.packing import pack
from appliance.models.precision import Precision
from appliance.plan import activations as act
from appliance.plan.files import find
from appliance.plan.ppo import Ppo
from appliance.plan.trl import Training
from appliance.ppo.memory import ChunkSize
from appliance.ppo.probe import longest_batch
from appliance.ppo.rollout import evaluate, sample
from appliance.ppo.update import accumulate, make_learner

TOLERANCE = 0.15
"""Of the measured bytes."""

USUAL = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 512}
GROUPED = USUAL | {"intermediate_size": 344, "num_key_value_heads": 2}
KINDS = [[["global", "local"], 2]]
NEO = {"hidden_size": 128, "num_layers": 4, "num_heads": 4, "attention_types": KINDS, "max_position_embeddings": 512}
T5 = {"d_model": 128, "d_kv": 32, "d_ff": 344, "num_layers": 4, "num_heads": 4, "feed_forward_proj": "gated-gelu"}
T5 |= {"tie_word_embeddings": False, "decoder_start_token_id": 0, "eos_token_id": 1}
IDS = {"bos_token_id": 0, "eos_token_id": 0}


def model_of(family, vocab):
    sizes = {"vocab_size": vocab} | IDS
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**sizes, n_positions=512, n_embd=128, n_layer=4, n_head=4))
    if family == "opt":
        return OPTForCausalLM(OPTConfig(**USUAL, **sizes, ffn_dim=512, word_embed_proj_dim=128, pad_token_id=1))
    if family == "gpt_neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**USUAL, **sizes, intermediate_size=512))
    if family == "gpt_neo":
        return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **NEO))
    if family == "t5":
        return T5ForConditionalGeneration(T5Config(vocab_size=vocab, **T5))
    return LlamaForCausalLM(LlamaConfig(**GROUPED, **sizes))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tokenizer):
    """folders("opt", 500): the folder of such a model; a vocabulary of 500 keeps logits small, 8000 makes them most."""
    root = tmp_path_factory.mktemp("plan")

    def made(family, vocab):
        folder = root / f"{family}-{vocab}"
        if not folder.exists():
            torch.manual_seed(1)
            model_of(family, vocab).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    return made


@pytest.fixture
def run_of(folders, ppo_config):
    """A policy of the config on the CPU, its plan, and a batch of the longest sequences."""

    def made(family, vocab, train, prompt, response, *, rollout=8, microbatch=4, **policy):
        batch = {"rollout": rollout, "microbatch": microbatch}
        lengths = {"response_tokens": [response, response], "stop_at_eos": False}
        config = ppo_config(folders(family, vocab), policy={"train": train} | policy, batch=batch, sampling=lengths)
        built, _ = build_policy(config, Precision(torch.device("cpu"), "fp32"))
        if family == "gpt_neo":
            built.use_padding()
        shape = find(config.policy.model).shape
        return built, config, Ppo(config, shape, cuda=False, bf16=False, prompt=prompt)

    return made


def moving(phase):
    return sum(phase.bytes.get(part, 0.0) for part in ("cache", "gradients", "activations", "logits"))


def chunk(size):
    return ChunkSize("the test", size, lambda _: None)


def updated(built, config, planned, live_bytes, microbatch):
    learner = make_learner(built, config)
    rows = config.batch.minibatch
    batch = longest_batch(learner, rows, planned.prompt, planned.response)
    with live_bytes(built.model.lm, built.critic) as counted:
        accumulate(
            learner,
            batch,
            torch.arange(rows),
            rows * planned.response,
            kl_coef=1.0,
            chunk=chunk(microbatch),
            stop=lambda: False,
        )
    return counted.peak


LENGTHS = [(24, 24), (40, 120)]
"""Prompt and response: up to 128 tokens attention is multiplied out, above it is the fused kernel."""


SHORT, LONG = LENGTHS
LAST = {"lora": {"last_layers": 2}}
UPDATES = [
    *(("gpt2", 500, "full", {}, SHORT), ("gpt2", 8000, "full", {}, LONG), ("gpt2", 500, "lora", {}, LONG)),
    *(("opt", 500, "full", {}, LONG), ("opt", 500, "lora", LAST, SHORT), ("opt", 8000, "lora", {}, LONG)),
    *(("llama", 500, "full", {}, LONG), ("llama", 8000, "lora", {}, SHORT), ("llama", 500, "top_layers", {}, LONG)),
    *(("gpt_neox", 500, "full", {}, SHORT), ("gpt_neox", 500, "lora", LAST, LONG)),
    *(("gpt_neo", 500, "full", {}, LONG), ("gpt_neo", 8000, "lora", {}, SHORT)),
    *(("t5", 500, "full", {}, LONG), ("t5", 500, "lora", {}, SHORT), ("t5", 8000, "lora", LAST, LONG)),
]


@pytest.mark.parametrize(("family", "vocab", "train", "options", "lengths"), UPDATES)
def test_an_update_takes_what_is_planned(run_of, live_bytes, family, vocab, train, options, lengths):
    built, config, planned = run_of(family, vocab, train, *lengths, **options)
    measured = updated(built, config, planned, live_bytes, 4)
    assert moving(planned.update(4)) == pytest.approx(measured, rel=TOLERANCE)


def generated(built, config, planned, live_bytes):
    rows = config.batch.rollout
    batch = longest_batch(make_learner(built, config), rows, planned.prompt, planned.response)
    engine = make_engine(built, config.sampling, ())
    limits, uniforms = torch.full((rows,), planned.response), torch.rand(rows, planned.response)
    with torch.no_grad(), live_bytes(built.model.lm, built.critic) as counted:
        engine_peak(engine, batch.rollout.prompts, limits, uniforms)
    return counted.peak


def engine_peak(engine, prompts, limits, uniforms):
    return sample(engine, prompts, limits, uniforms, decode=lambda p, r: [""] * len(r), chunk=chunk(len(prompts)))


def evaluated(built, config, planned, live_bytes):
    rows = config.batch.rollout
    batch = longest_batch(make_learner(built, config), rows, planned.prompt, planned.response)
    with live_bytes(built.model.lm, built.critic) as counted:
        evaluate(built, batch.rollout.prompts, batch.rollout.responses, temperature=1.0, chunk=chunk(rows))
    return counted.peak


FORWARDS = [
    *(("gpt2", 500, SHORT), ("gpt2", 8000, LONG), ("opt", 500, LONG), ("gpt_neox", 500, SHORT), ("llama", 500, LONG)),
    *(("llama", 8000, SHORT), ("gpt_neo", 500, LONG), ("t5", 500, LONG), ("t5", 500, SHORT), ("t5", 8000, SHORT)),
]


@pytest.mark.parametrize(("family", "vocab", "lengths"), FORWARDS)
def test_generation_takes_what_is_planned(run_of, live_bytes, family, vocab, lengths):
    built, config, planned = run_of(family, vocab, "lora", *lengths)
    measured = generated(built, config, planned, live_bytes)
    assert moving(planned.generate()) == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize(("family", "vocab", "lengths"), FORWARDS)
def test_reading_takes_what_is_planned(run_of, live_bytes, family, vocab, lengths):
    train = "top_layers" if family == "gpt2" else "lora"  # the one keeps its trunk's output
    built, config, planned = run_of(family, vocab, train, *lengths)
    measured = evaluated(built, config, planned, live_bytes)
    assert moving(planned.evaluate()) == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "gpt_neox"])
@pytest.mark.parametrize("train", ["full", "lora"])
def test_what_autocast_keeps_is_planned(family, train, folders, ppo_config, live_bytes):
    """A GPU in bf16 is autocast over the same operations; a CPU's autocast differs in its norms, which stay as they are."""
    config = ppo_config(folders(family, 500), policy={"train": train}, batch={"rollout": 4})
    built, _ = build_policy(config, Precision(torch.device("cpu"), "fp32"))
    if train == "lora":  # the base in bf16, the adapters in fp32
        for name, parameter in built.model.lm.named_parameters():
            if "lora_" not in name:
                parameter.data = parameter.data.bfloat16()
    shape = find(config.policy.model).shape
    size = act.Size(4, 159, 120)
    batch = longest_batch(make_learner(built, config), 4, 40, 120).rollout
    packed = pack(batch.prompts, batch.responses)
    with (
        live_bytes(built.model.lm) as counted,
        torch.autocast("cpu", torch.bfloat16),
        attending(built.model.lm, packed.layout),
    ):
        output = built.model.body(input_ids=packed.ids[None], position_ids=packed.positions[None], use_cache=False)
        measured = counted.now
    assert output.last_hidden_state.requires_grad
    narrow = train == "lora"
    numbers = act.Numbers(2, 2 if narrow else 4, 2 if narrow and not shape.kind.rms else 4, cast=True, cpu=True)
    trained = act.Trained(4, not narrow, shape.kind.lora if narrow else ())
    saved = act.saved_by_blocks(shape, size, trained, numbers, packed=True)
    ends = 2 * size.tokens * shape.hidden * numbers.norm
    casts = 0 if narrow else 2 * shape.matrix_weights
    assert saved + ends + casts == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
@pytest.mark.parametrize("width", [64, 160])
def test_fine_tuning_takes_what_is_planned(family, width, folders, live_bytes):
    folder = str(folders(family, 500))
    model = load_policy_model(folder, None).model.train()
    add_fused_lm_head(model)
    ids = torch.randint(2, 500, (4, width))

    def learn():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True, use_cache=False)
        (-out.log_probs).sum().backward()

    learn()  # so that gradients are there, as in a second micro-batch
    gc.collect()  # TRL's head leaves a circle
    with live_bytes(model) as counted:
        learn()
    training = {"batch": 8, "microbatch": 4, "max_length_tokens": width}
    values = {"policy": {"model": folder}, "data": {"source": "texts.txt"}, "training": training}
    planned = Training(SftConfig.model_validate(values), find(folder).shape, cuda=False, bf16=False)
    gradients = sum(4 * p.numel() for p in model.parameters())
    assert moving(planned.update(4)) == pytest.approx(counted.peak + gradients, rel=TOLERANCE)
