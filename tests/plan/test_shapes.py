"""Weights by formula against the models themselves, and what a folder says."""

import json
import struct

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from appliance.config.ppo import Lora
from appliance.models.adapters import with_adapters
from appliance.plan.files import find, weights
from appliance.plan.known import KNOWN
from appliance.plan.shapes import FAMILIES, from_config, lora_weights

IDS = {"bos_token_id": 0, "eos_token_id": 0}
USUAL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = USUAL | {"num_key_value_heads": 2} | IDS
OPT = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 48} | IDS
T5 = {"vocab_size": 97, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4}
NEO = {"vocab_size": 97, "hidden_size": 32, "num_layers": 2, "num_heads": 4} | IDS

MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=3, n_head=4, **IDS)),
    "gpt_neo": lambda: GPTNeoForCausalLM(GPTNeoConfig(**NEO, attention_types=[[["global", "local"], 1]])),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**USUAL, **IDS)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**OPT, word_embed_proj_dim=32)),
    "opt, narrow embeddings": lambda: OPTForCausalLM(
        OPTConfig(**OPT, word_embed_proj_dim=16, do_layer_norm_before=False)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "llama, tied": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5)),
    "t5 1.1": lambda: T5ForConditionalGeneration(
        T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "bert": lambda: BertModel(BertConfig(**USUAL)),
    "roberta": lambda: RobertaModel(RobertaConfig(**USUAL), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=97, dim=32, n_layers=3, hidden_dim=48, n_heads=4)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_formula_counts_the_weights(name):
    with torch.device("meta"):
        model = MODELS[name]()
    shape = from_config(model.config.to_dict())
    assert shape.formula == sum(parameter.numel() for parameter in model.parameters())
    assert {FAMILIES[shape.family]} == {shape.kind}


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_neo", "gpt_neox", "llama", "qwen2", "t5", "t5 1.1"])
@pytest.mark.parametrize("last", [None, 1])
def test_the_formula_counts_the_adapters(name, last):
    model = MODELS[name]()
    shape = from_config(model.config.to_dict())
    adapted = with_adapters(model, Lora(rank=4, last_layers=last))
    assert lora_weights(shape, 4, None, last) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("model", "published"),
    [  # as the libraries and the model cards give them
        ("gpt2", 124_439_808),
        ("facebook/opt-1.3b", 1_315_758_080),
        ("google/flan-t5-base", 247_577_856),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("EleutherAI/pythia-410m", 405_334_016),
        ("EleutherAI/pythia-2.8b", 2_775_208_960),
    ],
)
def test_well_known_models_have_their_published_size(model, published):
    assert KNOWN[model].parameters == published
    assert find(model).source == "shape from the built-in table, not measured on disk"


def test_a_folder_is_measured(folder_of):
    found = find(str(folder_of("llama")))
    assert found.source == "measured on disk"
    assert found.weights == found.shape.formula


def tensors(folder, name, sizes):
    header = json.dumps({key: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for key, shape in sizes.items()})
    (folder / name).write_bytes(struct.pack("<Q", len(header)) + header.encode())


def test_shards_add_up_without_buffers_and_a_head_that_is_there_twice(tmp_path):
    config = {"model_type": "gpt2", "n_embd": 4, "n_head": 1, "n_layer": 1, "vocab_size": 10, "n_positions": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors(tmp_path, "model-00001-of-00002.safetensors", {"wte.weight": [10, 4], "h.0.attn.bias": [1, 1, 8, 8]})
    tensors(tmp_path, "model-00002-of-00002.safetensors", {"wpe.weight": [8, 4], "lm_head.weight": [10, 4]})
    assert find(str(tmp_path)).weights == 10 * 4 + 8 * 4


def test_what_cannot_be_read_says_what_to_do(tmp_path):
    assert "stage the model" in find("someone/unheard-of").source
    assert "no config.json" in find(str(tmp_path)).source
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    assert "'mamba' has no formula" in find(str(tmp_path)).source
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "lacks 'n_embd'" in find(str(tmp_path)).source
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    assert weights(tmp_path) is None
