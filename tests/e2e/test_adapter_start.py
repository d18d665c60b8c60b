"""LoRA that starts from an adapter of an earlier fine-tuning: what is exported is what was trained."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from appliance.models.loading import load_policy_model

WEIGHT = "transformer.h.0.attn.c_attn"


@pytest.fixture(scope="module")
def sft_adapter(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter over the tiny GPT-2 that says something very different."""
    folder = tmp_path_factory.mktemp("adapters") / "sft"
    with warnings.catch_warnings():  # peft asks transformers under a name that it gave up
        warnings.simplefilter("ignore")
        adapted = get_peft_model(
            AutoModelForCausalLM.from_pretrained(folder_of("gpt2")),
            LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["c_attn"], fan_in_fan_out=True),
        )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    adapted.save_pretrained(folder)
    return folder


def logits(folder: Path) -> torch.Tensor:
    """What the model in a folder, an adapter merged, says of a fixed text."""
    with torch.no_grad():
        return load_policy_model(str(folder), None).model.eval()(input_ids=torch.arange(2, 14)[None]).logits


def test_lora_on_an_adapter_exports_what_was_trained(sft_adapter, tiny, finish, folder_of):
    lora: dict[str, Any] = {"rank": 2, "alpha": 8, "targets": ["c_attn"]}
    policy = {"model": str(sft_adapter), "train": "lora", "lora": lora}
    run, _ = finish(tiny(policy=policy, optimizer={"learning_rate": 1e-2}, batch={"steps": 1}))
    base, start = logits(folder_of("gpt2")), logits(sft_adapter)
    assert float((start - base).abs().max()) > 0.5
    assert torch.allclose(logits(run.path / "start"), start, atol=1e-5)
    assert torch.allclose(logits(run.path / "adapter"), logits(run.model), atol=1e-5)
    moved = float((logits(run.model) - start).abs().max())
    assert 1e-4 < moved < 0.5 < float((logits(run.model) - base).abs().max())

    # W = W of the merged start + alpha / r * (B A)', with A and B of the last checkpoint
    trained = load_file(run.checkpoints / "step-000001" / "weights.safetensors")
    (a,) = (value for name, value in trained.items() if f"{WEIGHT}.lora_A" in name)
    (b,) = (value for name, value in trained.items() if f"{WEIGHT}.lora_B" in name)
    first = load_policy_model(str(sft_adapter), None).model.state_dict()[f"{WEIGHT}.weight"]
    last = load_file(run.model / "model.safetensors")[f"{WEIGHT}.weight"]
    assert torch.allclose(last, first + 8 / 2 * (b @ a).T, atol=1e-6)


# --- policy.adapter: the same adapter learns on


def test_an_adapter_that_learns_on_begins_at_itself_and_stands_on_the_original_base(
    sft_adapter, tiny, finish, folder_of
):
    lora: dict[str, Any] = {"dropout": 0.1}
    policy = {"train": "lora", "adapter": str(sft_adapter), "lora": lora}
    run, report = finish(tiny(policy=policy, optimizer={"learning_rate": 1e-3}, batch={"steps": 2}))
    metrics = run.read_log("metrics.jsonl")
    assert metrics[0]["eval_kl"] == metrics[1]["kl"] == 0.0  # the reference is the policy with the adapter, exactly
    assert metrics[2]["kl"] != 0.0
    base, start, result = logits(folder_of("gpt2")), logits(sft_adapter), logits(run.model)
    assert 1e-4 < float((result - start).abs().max()) < 0.5 < float((result - base).abs().max())
    torch.testing.assert_close(logits(run.path / "adapter"), result, atol=1e-5, rtol=0)
    described = json.loads((run.path / "adapter" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == str(folder_of("gpt2"))
    assert not (run.path / "start").exists()
    assert [place.name for place in (run.path / "adapter").iterdir() if place.is_dir()] == []

    # W = W of the base + alpha / r * (B A)', with A and B of the last checkpoint; alpha 8 and r 4 are the adapter's
    trained = load_file(run.checkpoints / "step-000002" / "weights.safetensors")
    assert [name for name in trained if "reference" in name] == []
    (a,) = (value for name, value in trained.items() if f"{WEIGHT}.lora_A" in name)
    (b,) = (value for name, value in trained.items() if f"{WEIGHT}.lora_B" in name)
    first = load_file(folder_of("gpt2") / "model.safetensors")[f"{WEIGHT}.weight"]
    last = load_file(run.model / "model.safetensors")[f"{WEIGHT}.weight"]
    assert torch.allclose(last, first + 8 / 4 * (b @ a).T, atol=1e-6)

    assert abs(report["kl"]) < 0.2  # the report's "before" is the start too: to the base it is more than a nat
    said = [event["what"] for event in run.read_log("events.jsonl")]
    assert any("policy.lora.dropout 0.1 is for supervised fine-tuning" in what for what in said)


def test_a_run_on_an_adapter_that_is_killed_ends_as_if_nothing_had_been(sft_adapter, tiny_values, appliance, tmp_path):
    policy = {"train": "lora", "adapter": str(sft_adapter)}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tiny_values(policy=policy, batch={"steps": 3})))
    begin = ("train", "ppo", "--config", str(config), "--run-dir")
    assert appliance(*begin, str(tmp_path / "whole")).code == 0
    kill = {"function": "appliance.ppo.update:_step", "when": "before", "call": 7, "signals": ["SIGKILL"]}
    assert appliance(*begin, str(tmp_path / "killed"), at=kill).code == -9
    ended = appliance("train", "ppo", "--run-dir", str(tmp_path / "killed"), "--resume")
    assert ended.code == 0, ended.err
    for file in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
