"""Base weights in 8 or 4 bits: refused where they cannot be had, and asked for in the right words where they can."""

import importlib.metadata

import pytest
import torch

from appliance.config import PpoConfig
from appliance.engines._choice import engine_name
from appliance.errors import ModelError
from appliance.models import loading, quantized
from appliance.models.build import build_policy
from appliance.models.loading import load_policy_model
from appliance.models.precision import Precision
from appliance.models.quantized import quantization
from appliance.models.start import frozen_dtype, load_start


@pytest.fixture
def with_gpu(monkeypatch):
    """As on a machine with a GPU and bitsandbytes, as far as one can tell from outside."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(quantized, "find_spec", lambda name: name)
    plain = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.49.0" if name == "bitsandbytes" else plain(name))


def test_without_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        quantization("4bit")
    assert caught.value.what == "policy.quantize is 4bit, but torch sees no CUDA GPU"
    assert "policy.quantize: none" in caught.value.fix


def test_without_bitsandbytes_it_is_refused(with_gpu, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        quantization("8bit")
    assert caught.value.what == "policy.quantize is 8bit, but bitsandbytes is not installed"
    assert "pip install bitsandbytes" in caught.value.fix


def test_what_transformers_is_told(with_gpu):
    four = quantization("4bit")
    assert four["device_map"] == {"": 0}
    config = four["quantization_config"]
    assert (config.load_in_4bit, config.load_in_8bit) == (True, False)
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert config.bnb_4bit_use_double_quant
    eight = quantization("8bit")["quantization_config"]
    assert (eight.load_in_4bit, eight.load_in_8bit) == (False, True)


@pytest.fixture
def loaded_with(with_gpu, monkeypatch) -> list[dict]:
    """What from_pretrained was told, call by call; the model that comes is in full bits and says that it is not."""
    calls: list[dict] = []
    plain = loading.AutoModelForCausalLM.from_pretrained.__func__

    def tell(cls, *args, **options):
        calls.append(dict(options))
        quantized_weights = options.pop("quantization_config", None) is not None
        options.pop("device_map", None)
        model, info = plain(cls, *args, **options)
        model.is_quantized = quantized_weights
        return model, info

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", classmethod(tell))
    return calls


def test_a_policy_asks_for_its_base_in_4_bits_and_the_rest_in_bf16(loaded_with, folder_of, ppo_config, monkeypatch):
    config = ppo_config(folder_of("llama"), policy={"train": "lora", "quantize": "4bit"})
    moved = []
    plain = torch.nn.Module.to

    def to(self, *args, **more):
        if args == (torch.device("cuda"),) and not more:
            moved.append(type(self).__name__)
            return self
        return plain(self, *args, **more)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    policy, _ = build_policy(config, Precision(torch.device("cuda"), "bf16"))
    (call,) = loaded_with
    assert call["quantization_config"].load_in_4bit
    assert call["dtype"] == torch.bfloat16
    assert moved == ["ValueHead"]  # weights in few bits are where they belong, and must not be moved
    assert policy.quantized
    assert engine_name(policy, "auto") == engine_name(policy, "cuda_graph") == "eager"
    assert {p.dtype for name, p in policy.trainable().items() if ".lora_" in name} == {torch.float32}


def test_what_the_report_and_the_export_read_is_bf16(loaded_with, folder_of, ppo_config, precision):
    config = ppo_config(folder_of("llama"), policy={"train": "lora", "quantize": "8bit"})
    assert load_start(config.policy, precision).model.dtype == torch.bfloat16
    (call,) = loaded_with
    assert "quantization_config" not in call


def test_on_a_cpu_it_is_refused(folder_of, ppo_config, precision):
    config = ppo_config(folder_of("llama"), policy={"train": "lora", "quantize": "8bit"})
    with pytest.raises(ModelError, match=r"policy\.quantize is 8bit, but the run is on the CPU"):
        build_policy(config, precision)


def test_it_needs_bf16(folder_of, ppo_config):
    config = ppo_config(folder_of("llama"), policy={"train": "lora", "quantize": "8bit"})
    with pytest.raises(ModelError, match="which computes in bf16, but compute is fp32") as caught:
        build_policy(config, Precision(torch.device("cuda"), "fp32"))
    assert "compute: bf16" in caught.value.fix


def test_an_adapter_folder_is_not_merged_into_few_bits(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        load_policy_model(str(tmp_path), None, quantize="4bit")
    assert "cannot be merged into weights of 4bit" in caught.value.what
    assert "policy.adapter" in caught.value.fix


@pytest.mark.parametrize("train", ["full", "top_layers"])
def test_only_adapters_are_trained_on_few_bits(train):
    with pytest.raises(ValueError, match="quantize: 4bit goes with train: lora"):
        PpoConfig.model_validate(
            {"policy": {"model": "m", "train": train, "quantize": "4bit"}}
            | {"reward": {"source": "none"}, "prompts": {"source": "p"}}
        )


def test_frozen_weights_are_bf16_only_under_adapters_on_a_gpu_that_multiplies_in_it(folder_of, ppo_config):
    lora = ppo_config(folder_of("llama"), policy={"train": "lora"}).policy
    full = ppo_config(folder_of("llama")).policy
    gpu, cpu = (Precision(torch.device(name), "bf16") for name in ("cuda", "cpu"))
    assert frozen_dtype(lora, gpu) == torch.bfloat16
    assert frozen_dtype(full, gpu) == frozen_dtype(lora, cpu) == torch.float32
    assert frozen_dtype(lora, Precision(torch.device("cuda"), "fp32")) == torch.float32
