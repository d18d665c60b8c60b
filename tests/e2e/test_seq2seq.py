"""Encoder-decoders from the config to the exported model: PPO, fine-tuning, generation, and a run that is killed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Tokenizer

from appliance import parts
from appliance.config import parse
from appliance.data.split import held_out
from appliance.errors import ConfigError, DataError
from appliance.models.loading import load_policy_model
from appliance.stages.generation import generate
from appliance.store import rundir
from appliance.store.rundir import RunDir

TWO = {"batch": {"steps": 2}}

MODES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"policy": {"train": "lora", "lora": {"rank": 4, "last_layers": 2}}, "optimizer": {"learning_rate": 1e-2}},
    "kl in the loss, entropy": {
        "kl": {"placement": "loss", "estimator": "k3", "adaptive": False},
        "ppo": {"entropy_coef": 0.01},
    },
    "temperature and a penalty": {
        "sampling": {"temperature": 0.7},
        "scores": {"missing_eos": "replace", "missing_eos_penalty": 2.0},
    },
    "a graph was asked for": {"sampling": {"engine": "cuda_graph"}},
    "bf16": {"compute": "bf16"},
}


def logits(model: Any) -> torch.Tensor:
    """What an encoder-decoder says of a fixed pair."""
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(2, 14)[None], decoder_input_ids=torch.arange(3, 12)[None]).logits


@pytest.fixture
def tiny_t5(tiny: Callable[..., Any], folder_of: Callable[[str], Path]) -> Callable[..., Any]:
    """tiny_t5(section={...}): as `tiny`, with the tiny T5 as the policy."""

    def make(**sections: Any) -> Any:
        policy = {"model": str(folder_of("t5"))} | sections.pop("policy", {})
        return tiny(policy=policy, **sections)

    return make


@pytest.mark.parametrize("mode", MODES)
def test_a_run_ends_with_a_model_and_a_report(mode, tiny_t5, finish, folder_of):
    if mode == "bf16" and not torch.cpu.get_capabilities().get("avx512_bf16"):
        pytest.skip("this CPU has no bf16 instructions")
    run, report = finish(tiny_t5(**MODES[mode], **TWO))
    limit = 1e-5 if mode != "bf16" else 0.1
    assert run.status()["state"] == "done"
    metrics = run.read_log("metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1, 2]
    assert all(value is not None and math.isfinite(value) for line in metrics for value in line.values())
    assert abs(metrics[1]["kl"]) < limit
    assert abs(metrics[0]["eval_kl"]) < limit
    assert metrics[1]["engine_gap"] < limit
    assert metrics[1]["clip_share"] < 0.5
    assert report["verdict"]["word"] in ("better", "worse", "no effect")
    start, result = (AutoModelForSeq2SeqLM.from_pretrained(place) for place in (folder_of("t5"), run.model))
    assert float((logits(start) - logits(result)).abs().max()) > 1e-4
    said = [event["what"] for event in run.read_log("events.jsonl")]
    assert any("engine plain; trainable: " in what for what in said)
    assert ("generation went on without CUDA graphs" in "".join(said)) == (mode == "a graph was asked for")
    if mode == "lora":
        assert any(": adapters " in what for what in said)
        merged = load_policy_model(str(run.path / "adapter"), None).model
        torch.testing.assert_close(logits(merged), logits(result), atol=1e-5, rtol=0)
        before, after = load_file(folder_of("t5") / "model.safetensors"), load_file(run.model / "model.safetensors")
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed
        assert all(name.startswith(("decoder.block.1.", "decoder.block.2.")) for name in changed)


def test_bart_goes_the_same_way(tiny, finish, folder_of):
    run, _ = finish(tiny(policy={"model": str(folder_of("bart"))}, **TWO))
    metrics = run.read_log("metrics.jsonl")
    assert abs(metrics[1]["kl"]) < 1e-5
    assert metrics[1]["engine_gap"] < 1e-5
    start, result = (AutoModelForSeq2SeqLM.from_pretrained(place) for place in (folder_of("bart"), run.model))
    assert float((logits(start) - logits(result)).abs().max()) > 1e-4


def test_the_reward_reads_prompt_and_response_apart(tiny_t5, finish):
    run, _ = finish(tiny_t5(**TWO))
    for sample in run.read_log("samples.jsonl"):
        assert sample["prompt"]
        assert not sample["response"].startswith(sample["prompt"])
        assert not sample["response"].startswith(" ")  # the response is a text of its own


def test_a_reward_that_can_be_had_is_found(tiny_t5, finish):
    """It turns on the first decoded token alone: each response is one token long."""
    config = tiny_t5(
        batch={"steps": 20, "rollout": 64, "minibatch": 32, "microbatch": 32},
        sampling={"response_tokens": [1, 1]},
        evaluation={"report_prompts": 15, "report_samples": 4},
        optimizer={"learning_rate": 1e-2},
        checkpoint={"every_steps": 20},
    )
    _, report = finish(config)
    assert report["verdict"]["word"] == "better"
    assert report["improved"] >= 14


# --- killed


def results(run: Path) -> dict[str, Any]:
    """What must not depend on how often a run was killed."""
    return {
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "samples": (run / "samples.jsonl").read_bytes(),
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "reward": json.loads((run / "report" / "report.json").read_text())["mean_reward"],
    }


def test_a_run_that_was_killed_ends_as_if_nothing_had_been(tiny_values, folder_of, appliance, tmp_path):
    values = tiny_values(policy={"model": str(folder_of("t5")), "train": "lora"}, batch={"steps": 3})
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    begin = ("train", "ppo", "--config", str(config), "--run-dir")
    whole = appliance(*begin, str(tmp_path / "whole"))
    assert whole.code == 0, whole.err
    kill = {"function": "appliance.ppo.update:_step", "when": "before", "call": 7, "signals": ["SIGKILL"]}
    assert appliance(*begin, str(tmp_path / "killed"), at=kill).code == -9
    ended = appliance("train", "ppo", "--run-dir", str(tmp_path / "killed"), "--resume")
    assert ended.code == 0, ended.err
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


# --- supervised fine-tuning


ROWS = [{"prompt": f"w{i % 10}", "text": f"w{40 + i % 10} w{60 + i % 10}"} for i in range(60)]
BRIEF = {"epochs": 12, "batch": 10, "microbatch": 5, "max_length_tokens": 16}


@pytest.fixture
def tuned(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[RunDir, dict[str, Any]]]:
    """tuned(rows, section={...}): a fine-tuning of the tiny T5 over these rows; its folder and result."""

    def run(rows: list[dict[str, str]], name: str = "sft", **sections: Any) -> tuple[RunDir, dict[str, Any]]:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        values: dict[str, Any] = {"stage": "sft", "device": "cpu", "training": BRIEF}
        values |= {"policy": {"model": str(folder_of("t5"))}, "optimizer": {"learning_rate": 1e-2}}
        values["data"] = {"source": str(file), "prompt_column": "prompt"} | sections.pop("data", {})
        config = parse(values | sections, origin="here")
        made = rundir.create(tmp_path / name, config)
        return made, parts.load("stages", "sft").run(config, made)

    return run


@pytest.mark.parametrize("lora", [None, {"rank": 8, "alpha": 16, "dropout": 0.05}], ids=["full", "lora"])
def test_a_t5_learns_to_write_the_texts(lora, tuned, folder_of):
    run, result = tuned(ROWS, lora=lora)
    assert run.status()["state"] == "done"
    metrics = run.read_log("metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, result["steps"] + 1))
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert result["held_out_perplexity"] == pytest.approx(math.exp(result["held_out_loss"]))
    before, after = load_file(folder_of("t5") / "model.safetensors"), load_file(run.model / "model.safetensors")
    assert before.keys() == after.keys()  # adapters are merged
    if lora is not None:
        adapted = load_policy_model(str(run.path / "adapter"), None).model
        merged = AutoModelForSeq2SeqLM.from_pretrained(run.model)
        torch.testing.assert_close(logits(adapted), logits(merged), atol=1e-5, rtol=0)
    else:
        assert metrics[-1]["loss"] < 1.0


def test_the_first_loss_and_the_held_out_loss_are_the_models_own(tuned, tokenizer, folder_of):
    """Counted again with transformers' model: mean over all tokens of -log p, each text with its end; no dropout."""
    rows = [{"prompt": f"w{i}", "text": " ".join(f"w{40 + j}" for j in range(1 + i % 3))} for i in range(30)]
    run, result = tuned(rows, training=BRIEF | {"max_steps": 1, "batch": 27, "microbatch": 9, "epochs": 1})
    aside = held_out([row["prompt"] for row in rows], 0.05, seed=1)
    left = [row for row, apart in zip(rows, aside, strict=True) if apart]
    assert len(left) == result["held_out_texts"] == 2
    model, surprise = AutoModelForSeq2SeqLM.from_pretrained(run.model).eval(), []
    for row in left:
        asked, ids = ([*tokenizer(row[key])["input_ids"], 0] for key in ("prompt", "text"))
        given = torch.tensor([[1, *ids[:-1]]])
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor([asked]), decoder_input_ids=given, decoder_attention_mask=torch.ones_like(given)
            ).logits[0]
        surprise += (-out.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]).tolist()
    assert result["held_out_loss"] == pytest.approx(sum(surprise) / len(surprise), abs=1e-5)


def test_micro_batches_change_nothing(tuned, monkeypatch):
    """Texts of different lengths: a mean of means would weight the short ones more."""
    from appliance.models import loading

    plain = loading.AutoModelForSeq2SeqLM.from_pretrained.__func__

    def without_dropout(cls: Any, *args: Any, config: Any, **options: Any) -> Any:
        config.dropout_rate = 0.0
        return plain(cls, *args, config=config, **options)

    monkeypatch.setattr(loading.AutoModelForSeq2SeqLM, "from_pretrained", classmethod(without_dropout))
    rows = [{"prompt": f"w{i}", "text": " ".join(f"w{40 + j}" for j in range(1 + i % 5))} for i in range(30)]
    losses = []
    for name, micro in (("one", 24), ("three", 8), ("many", 1)):
        training = BRIEF | {"max_steps": 2, "batch": 24, "microbatch": micro, "epochs": 2}
        run, _ = tuned(rows, name, training=training)
        losses.append([line["loss"] for line in run.read_log("metrics.jsonl")])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0] == pytest.approx(losses[2], abs=1e-4)


def test_without_prompts_or_with_packing_it_is_refused(tuned):
    with pytest.raises(ConfigError, match="its encoder reads a prompt") as caught:
        tuned(ROWS, "a", data={"prompt_column": None})
    assert "data.prompt_column" in caught.value.fix
    with pytest.raises(ConfigError, match=r"training\.packing is true"):
        tuned(ROWS, "b", training=BRIEF | {"packing": True})


# --- generate, and what comes from it


def test_ppo_goes_on_from_a_fine_tuned_adapter_and_writes(tuned, tiny_t5, finish, folder_of):
    sft, _ = tuned(ROWS, lora={"rank": 8, "alpha": 16})
    texts = generate(str(sft.path), "w3", samples=3, max_tokens=4, temperature=0.05, seed=1)
    assert len(texts) == 3
    policy = {"train": "lora", "adapter": str(sft.path)}
    run, report = finish(tiny_t5(policy=policy, optimizer={"learning_rate": 1e-3}, **TWO))
    metrics = run.read_log("metrics.jsonl")
    assert metrics[1]["kl"] == 0.0
    assert metrics[0]["eval_kl"] == 0.0
    assert report["kl"] is not None
    written = generate(str(run.path), "w3 w4", samples=2, max_tokens=5, temperature=None, seed=1)
    assert len(written) == 2
    assert all("w3 w4" not in text for text in written)
    base, start, result = (
        logits(load_policy_model(str(m), None).model) for m in (folder_of("t5"), sft.model, run.model)
    )
    moved = float((result - start).abs().max())  # it went on from the adapter and not from the base
    assert 1e-3 < moved < 0.5 * float((start - base).abs().max())


@pytest.fixture
def real_format(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """The tiny T5 with a tokenizer of T5's own class: pieces that begin with a mark for their space, </s> at the end."""
    words = [(f"▁w{i}", -3.0) for i in range(90)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    T5Tokenizer(vocab=[*special, *words], extra_ids=0).save_pretrained(tmp_path / "real")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder_of("t5"))
    for place in (model.config, model.generation_config):
        place.eos_token_id, place.pad_token_id, place.decoder_start_token_id = 1, 0, 0
    model.save_pretrained(tmp_path / "real")
    return tmp_path / "real"


def test_a_t5_with_its_own_tokenizer_writes_what_transformers_generate_writes(real_format, tiny, finish):
    tokenizer = AutoTokenizer.from_pretrained(real_format)
    assert tokenizer("w3 w4")["input_ids"] == [7, 8, 1]
    asked = tokenizer("w3 w4 w50", return_tensors="pt")
    model = AutoModelForSeq2SeqLM.from_pretrained(real_format)
    greedy = model.generate(
        **asked, max_new_tokens=6, do_sample=False, use_cache=False
    )  # its cache has the encoder's depth
    expected = tokenizer.decode(greedy[0], skip_special_tokens=True)
    assert expected
    assert generate(str(real_format), "w3 w4 w50", samples=1, max_tokens=6, temperature=0.01, seed=1) == [expected]
    run, _ = finish(tiny(policy={"model": str(real_format)}, batch={"steps": 1}))
    assert abs(run.read_log("metrics.jsonl")[1]["kl"]) < 1e-5
    card = (run.model / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM.from_pretrained" in card
    assert "pipeline_tag: text2text-generation" in card
    kept = AutoModelForSeq2SeqLM.from_pretrained(run.model).config
    assert (kept.eos_token_id, kept.pad_token_id, kept.decoder_start_token_id) == (1, 0, 0)
    assert AutoTokenizer.from_pretrained(run.model)("w3 w4")["input_ids"] == [7, 8, 1]


def test_a_prompt_beyond_the_encoder_s_positions_is_refused(folder_of):
    with pytest.raises(DataError, match="the model's encoder reads 64"):
        generate(str(folder_of("bart")), "w1 " * 70, samples=1, max_tokens=3, temperature=None, seed=1)
