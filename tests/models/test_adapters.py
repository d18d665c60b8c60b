"""Which modules get adapters, with which dropout, and going on from an adapter with a frozen copy as the reference."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from appliance.config import PpoConfig
from appliance.config.ppo import Lora
from appliance.errors import ModelError
from appliance.models.adapters import with_adapters
from appliance.models.loading import load_policy_model
from appliance.models.seq2seq import token_model
from appliance.models.start import adapter_folder, load_start

PROMPTS, RESPONSES = [7, 1, 3, 5], [9, 4, 1, 6]


def adapted_modules(policy) -> set[str]:
    """Names of the modules that have adapters, without what is in them."""
    names = [name.removeprefix("policy.") for name in policy.trainable() if ".lora_A." in name]
    return {name.partition(".lora_A.")[0] for name in names}


LAST = {
    "gpt2": {"transformer.h.1.attn.c_attn"},
    "opt": {"model.decoder.layers.1.self_attn.q_proj", "model.decoder.layers.1.self_attn.v_proj"},
    "gpt_neox": {"gpt_neox.layers.1.attention.query_key_value"},
    "llama": {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"},
    "qwen2": {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"},
    # the decoder's last block, not the encoder's
    "t5": {f"decoder.block.2.layer.{part}.{m}" for part in ("0.SelfAttention", "1.EncDecAttention") for m in "qv"},
    "bart": {
        f"model.decoder.layers.1.{part}.{m}" for part in ("self_attn", "encoder_attn") for m in ("q_proj", "v_proj")
    },
}
"""Of blocks numbered from 0: two each, three in T5's decoder."""


@pytest.mark.parametrize("name", LAST)
def test_adapters_on_the_last_block_alone(name, folder_of, make_policy):
    assert adapted_modules(make_policy(folder_of(name), "lora", lora={"last_layers": 1})) == LAST[name]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bart"])
def test_all_blocks_counted_from_the_last_are_all_blocks(name, folder_of, make_policy):
    everywhere = adapted_modules(make_policy(folder_of(name), "lora"))
    counted = adapted_modules(make_policy(folder_of(name), "lora", lora={"last_layers": 2}))
    assert counted == {module for module in everywhere if "encoder.layers" not in module}


def test_targets_and_last_blocks_together(folder_of, make_policy):
    lora = {"last_layers": 2, "targets": ["o", "wi_0"]}
    assert adapted_modules(make_policy(folder_of("t5"), "lora", lora=lora)) == {
        f"decoder.block.{block}.layer.{module}"
        for block in (1, 2)
        for module in ("0.SelfAttention.o", "1.EncDecAttention.o", "2.DenseReluDense.wi_0")
    }
    lora = {"last_layers": 1, "targets": ["mlp.c_proj"]}
    assert adapted_modules(make_policy(folder_of("gpt2"), "lora", lora=lora)) == {"transformer.h.1.mlp.c_proj"}


def test_with_ten_blocks_block_1_is_not_block_10(precision):
    lm = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_positions=8, n_embd=4, n_layer=11, n_head=1))
    adapted = with_adapters(lm, Lora(last_layers=1))
    names = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert names
    assert all(".h.10." in name for name in names)


@pytest.mark.parametrize(("name", "count"), [("gpt2", 2), ("t5", 3)])
def test_more_last_blocks_than_there_are_is_refused(name, count, folder_of, make_policy):
    with pytest.raises(ModelError) as caught:
        make_policy(folder_of(name), "lora", lora={"last_layers": count + 1})
    assert caught.value.what == f"lora.last_layers is {count + 1}, but the model has {count} blocks"
    assert caught.value.fix == f"set last_layers to at most {count}, or leave it out for all"


def test_targets_that_no_module_of_an_encoder_decoder_has_are_refused(encoder_decoder, make_policy):
    for lora in ({"targets": ["nothing"]}, {"targets": ["nothing"], "last_layers": 1}):
        with pytest.raises(ModelError, match="LoRA does not fit"):
            make_policy(encoder_decoder, "lora", lora=lora)


def test_dropout_is_of_fine_tuning_alone(folder_of, make_policy):
    policy = make_policy(folder_of("llama"), "lora", lora={"dropout": 0.3})
    inside = [m for n, m in policy.model.lm.named_modules() if "lora_dropout" in n and isinstance(m, nn.Dropout)]
    assert inside == []
    lm = load_policy_model(str(folder_of("llama")), None).model
    tuned = with_adapters(lm, Lora(dropout=0.3), dropout=0.3)
    found = [m.p for n, m in tuned.named_modules() if "lora_dropout" in n and isinstance(m, nn.Dropout)]
    assert set(found) == {0.3}


# --- going on from an adapter


@pytest.fixture(params=["gpt2", "llama", "t5"])
def started(request, folder_of, tmp_path) -> tuple[Path, Path]:
    """(base folder, adapter folder): an adapter with dropout that says something very different from its base."""
    base, folder = folder_of(request.param), tmp_path / "adapter"
    lm = load_policy_model(str(base), None).model
    kind = "SEQ_2_SEQ_LM" if lm.config.is_encoder_decoder else "CAUSAL_LM"
    with warnings.catch_warnings():  # peft asks transformers under a name that it gave up
        warnings.simplefilter("ignore")
        adapted = get_peft_model(lm, LoraConfig(task_type=kind, r=3, lora_alpha=6, lora_dropout=0.2))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        adapted.save_pretrained(folder)
    return base, folder


@torch.no_grad()
def test_the_policy_begins_as_the_adapter_and_so_does_its_reference(
    started, make_policy, sequences, disturb, precision
):
    base, folder = started
    data = sequences(PROMPTS, RESPONSES)
    policy = make_policy(base, "lora", adapter=str(folder))
    first, reference = policy.read(*data, temperature=0.8).logprobs, policy.read_reference(*data, temperature=0.8)
    assert torch.equal(first, reference)  # KL is exactly 0
    config = PpoConfig.model_validate(
        {"policy": {"model": str(base), "train": "lora", "adapter": str(folder)}}
        | {"reward": {"source": "none"}, "prompts": {"source": "none.txt"}}
    )
    merged = load_start(config.policy, precision)
    start = token_model(merged.model).padded(*data, temperature=0.8, with_entropy=False).logprobs
    torch.testing.assert_close(first[data[1].mask], start, atol=1e-4, rtol=0)
    plain = make_policy(base).read(*data, temperature=0.8).logprobs
    assert (first - plain).abs().max() > 0.1  # the adapter is there
    disturb(policy)
    moved = policy.read(*data, temperature=0.8).logprobs
    assert (moved - first).abs().max() > 0.05
    assert torch.equal(policy.read_reference(*data, temperature=0.8), reference)
    assert torch.equal(policy.read(*data, temperature=0.8).logprobs, moved)


def test_only_the_adapter_that_learns_is_trained_also_after_the_reference_was_read(started, make_policy, sequences):
    base, folder = started
    policy = make_policy(base, "lora", adapter=str(folder), lora={"rank": 7})
    names = list(policy.trainable())
    policy.read_reference(*sequences([3], [4]), temperature=1.0)
    assert list(policy.trainable()) == names
    mine = [name for name in names if name.startswith("policy.")]
    assert mine
    assert all(".default." in name for name in mine)
    ranks = {min(p.shape) for name, p in policy.trainable().items() if ".lora_" in name}
    assert ranks == {3}  # the adapter's own rank rules
    found = policy.read(*sequences([3], [4]), temperature=1.0)
    found.logprobs.sum().backward()
    assert all(p.grad is not None for name, p in policy.trainable().items() if name.startswith("policy."))


def test_the_policy_is_back_when_reading_the_reference_fails(started, make_policy, sequences, disturb):
    base, folder = started
    policy = make_policy(base, "lora", adapter=str(folder))
    disturb(policy)
    data = sequences(PROMPTS, RESPONSES)
    before = policy.read(*data, temperature=1.0).logprobs
    with pytest.raises(RuntimeError), policy.switch():
        raise RuntimeError
    assert torch.equal(policy.read(*data, temperature=1.0).logprobs, before)


def test_what_is_saved_is_the_adapter_that_learned(started, make_policy, disturb, tmp_path):
    base, folder = started
    policy = make_policy(base, "lora", adapter=str(folder))
    disturb(policy)
    policy.adapter.save_pretrained(str(tmp_path / "out"), selected_adapters=["default"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == []
    before, after = (
        load_file(folder / "adapter_model.safetensors"),
        load_file(tmp_path / "out" / "adapter_model.safetensors"),
    )
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def refused(make_policy, base: Path, adapter: Path | str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        make_policy(base, "lora", adapter=str(adapter))
    return caught.value


def test_an_adapter_that_is_none_or_of_another_base_is_refused(folder_of, make_policy, started, tmp_path):
    base, folder = started
    assert refused(make_policy, base, tmp_path / "absent").what.startswith("there is no model folder")
    assert "holds no adapter (no adapter_config.json)" in refused(make_policy, base, base).what
    other = folder_of("opt")
    assert "the adapter does not fit OPTForCausalLM" in refused(make_policy, other, folder).what
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder / "adapter_model.bin")
    assert "only as pickle" in refused(make_policy, base, folder).what


def test_an_adapter_of_a_run_is_found_in_it(started, tmp_path):
    _, folder = started
    assert adapter_folder(str(folder)) == folder
    run = tmp_path / "run"
    shutil.copytree(folder, run / "adapter")
    assert adapter_folder(str(run)) == run / "adapter"


def test_an_adapter_that_is_not_lora_is_refused(started, make_policy):
    base, folder = started
    described = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(described | {"peft_type": "IA3"}))
    assert "adapter" in refused(make_policy, base, folder).what
    del described["peft_type"]
    (folder / "adapter_config.json").write_text(json.dumps(described))
    assert "adapter" in refused(make_policy, base, folder).what


def test_only_adapters_are_gone_on_from(folder_of):
    with pytest.raises(ValueError, match="adapter goes with train: lora"):
        PpoConfig.model_validate(
            {"policy": {"model": "m", "adapter": "a"}, "reward": {"source": "none"}, "prompts": {"source": "p"}}
        )


def test_peft_reads_the_merged_start_alike(started, ppo_config, precision):
    """`load_start` against peft's own reading of base and adapter."""
    base, folder = started
    config = ppo_config(base, policy={"train": "lora", "adapter": str(folder)})
    merged = load_start(config.policy, precision).model
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(load_policy_model(str(base), None).model, str(folder)).eval()
    ids = torch.arange(2, 12)[None]
    more = {"decoder_input_ids": ids} if merged.config.is_encoder_decoder else {}
    with torch.no_grad():
        torch.testing.assert_close(
            merged.eval()(input_ids=ids, **more).logits, adapted(input_ids=ids, **more).logits, atol=1e-4, rtol=0
        )
