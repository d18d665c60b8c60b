"""Every way to train, from the config to the exported model and its report, in two steps each."""

import json
import math
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from appliance.engines import eager
from appliance.ppo import loop, update

TWO = {"batch": {"steps": 2}}

MODES: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"policy": {"train": "lora"}, "optimizer": {"learning_rate": 1e-2}},
    "top layers": {"policy": {"train": "top_layers", "top_layers": 1}},
    "plain engine": {"sampling": {"engine": "plain"}},
    "kl in the loss": {"kl": {"placement": "loss", "estimator": "k3", "adaptive": False}},
    "unended responses dropped": {"scores": {"missing_eos": "drop"}},
    "unended responses penalised": {"scores": {"missing_eos": "replace", "missing_eos_penalty": 2.0}},
    "running scale": {"scores": {"scale": "running", "center": True, "clip": 3.0, "whiten_rewards": True}},
    "entropy bonus": {"ppo": {"entropy_coef": 0.01, "dual_clip": 3.0, "stop_kl": 0.02}},
    "no whitening, no value clip": {"ppo": {"whiten_advantages": False, "value_clip": None, "gamma": 0.99}},
    "temperature": {"sampling": {"temperature": 0.7}},
    "past the end token": {"sampling": {"stop_at_eos": False}},
    "warm-up and cosine": {"optimizer": {"schedule": "cosine", "warmup_share": 0.5, "final_share": 0.1}},
    "no responses but one token": {"sampling": {"response_tokens": [1, 1]}},
    "bf16": {"compute": "bf16"},
}


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def logits(model: Any) -> torch.Tensor:
    """What a model says of a fixed text."""
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(2, 14)[None]).logits


@pytest.mark.parametrize("mode", MODES)
def test_a_run_ends_with_a_model_a_report_and_whole_logs(mode, tiny, finish, folder_of):
    if mode == "bf16" and not torch.cpu.get_capabilities().get("avx512_bf16"):
        pytest.skip("this CPU has no bf16 instructions")
    run, report = finish(tiny(**MODES[mode], **TWO))
    assert run.status()["state"] == "done"
    metrics = run.read_log("metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1, 2]
    assert all(value is not None and math.isfinite(value) for line in metrics for value in line.values())
    limit = 1e-5 if mode != "bf16" else 0.1
    assert abs(metrics[1]["kl"]) < limit  # the first rollout is the starting policy's
    assert abs(metrics[0]["eval_kl"]) < limit
    assert metrics[1]["engine_gap"] < limit
    assert report == json.loads((run.report / "report.json").read_text())
    assert report["prompts"] == 8
    assert report["verdict"]["word"] in ("better", "worse", "no effect")
    start = AutoModelForCausalLM.from_pretrained(folder_of("gpt2"))
    result = AutoModelForCausalLM.from_pretrained(run.model)
    assert result.dtype == torch.float32
    if mode != "unended responses dropped":  # nearly none ends, so little is learned
        assert float((logits(start) - logits(result)).abs().max()) > 1e-4


def test_lora_leaves_the_adapter_and_the_merged_model(tiny, finish, folder_of):
    run, _ = finish(tiny(**MODES["lora"], **TWO))
    merged = AutoModelForCausalLM.from_pretrained(run.model)
    base = AutoModelForCausalLM.from_pretrained(folder_of("gpt2"))
    start = logits(base)
    with warnings.catch_warnings():  # peft asks transformers under a name that it gave up
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(base, str(run.path / "adapter"))
    torch.testing.assert_close(logits(adapted), logits(merged), atol=1e-5, rtol=0)
    assert float((logits(adapted) - start).abs().max()) > 1e-3
    assert (run.path / "adapter" / "adapter_model.safetensors").exists()
    assert [key for key in load_file(run.model / "model.safetensors") if "lora" in key] == []


def test_only_the_top_layers_differ_from_the_start(tiny, finish, folder_of):
    run, _ = finish(tiny(**MODES["top layers"], **TWO))
    before, after = load_file(folder_of("gpt2") / "model.safetensors"), load_file(run.model / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".h.1." in name or ".ln_f." in name for name in changed)


def test_a_critic_of_its_own_begins_as_the_reward_model(tiny, finish, folder_of, tmp_path, tokenizer):
    torch.manual_seed(3)
    judge = AutoModelForSequenceClassification.from_pretrained(folder_of("gpt2"), num_labels=1)
    judge.save_pretrained(tmp_path / "judge")
    tokenizer.save_pretrained(tmp_path / "judge")
    critic = {"kind": "separate", "model": str(tmp_path / "judge")}
    run, _ = finish(tiny(critic=critic, **TWO))
    metrics = run.read_log("metrics.jsonl")
    assert metrics[1]["value_mean"] != 0  # a new head's values would be 0
    assert metrics[2]["value_loss"] > 0
    assert not (run.model / "value_head.safetensors").exists()
    AutoModelForCausalLM.from_pretrained(run.model)


def test_both_engines_sample_the_same_run(tiny, finish):
    runs = [finish(tiny(sampling={"engine": engine}, **TWO), engine)[0] for engine in ("eager", "plain")]
    one, other = (run.read_log("metrics.jsonl") for run in runs)
    for first, second in zip(one, other, strict=True):
        assert first == pytest.approx(second, abs=1e-5)


def test_the_result_may_be_the_best_checkpoint_s(tiny, finish, monkeypatch):
    plain = loop.measure_held_out

    def fading(*args: Any) -> Any:
        measured, samples = plain(*args)
        return measured | {"eval_score_mean": 9.0 - args[1].step}, samples

    monkeypatch.setattr(loop, "measure_held_out", fading)
    run, _ = finish(tiny(checkpoint={"every_steps": 1, "keep": 1, "result": "best"}, batch={"steps": 3}))
    assert sorted(place.name for place in run.checkpoints.iterdir()) == ["step-000001", "step-000003"]
    best = load_file(run.checkpoints / "step-000001" / "weights.safetensors")
    result = load_file(run.model / "model.safetensors")
    assert len(result) > 20
    assert all(torch.equal(result[name], best[f"policy.{name}"]) for name in result)
    said = [event["what"] for event in run.read_log("events.jsonl")]
    assert "the result is the policy after step 1, the best by held-out score minus KL" in said


def test_trackers_get_every_step(tiny, finish):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = finish(tiny(trackers=["tensorboard"], **TWO))
    (folder,) = {file.parent for file in (run.path / "trackers").rglob("events.out.tfevents*") if _has_scalars(file)}
    logged = EventAccumulator(str(folder)).Reload()
    metrics = run.read_log("metrics.jsonl")
    assert [(e.step, pytest.approx(e.value)) for e in logged.Scalars("score_mean")] == [
        (line["step"], line["score_mean"]) for line in metrics[1:]
    ]
    assert [e.step for e in logged.Scalars("eval_score_mean")] == [0, 1, 2]


def _has_scalars(file: Path) -> bool:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return bool(EventAccumulator(str(file)).Reload().Tags()["scalars"])


def test_prompts_of_the_report_may_come_from_a_file_and_are_not_trained_on(tiny, finish, prompts_file, tmp_path):
    asked = prompts_file.read_text().splitlines()[:9]
    file = tmp_path / "asked.txt"
    file.write_text("\n".join(asked) + "\n\n")
    run, report = finish(tiny(evaluation={"report_file": str(file)}, **TWO))
    assert report["prompts"] == 9
    said = [event["what"] for event in run.read_log("events.jsonl")]
    assert any(f"9 prompts of {file} were taken out of the other prompts" in what for what in said)


def test_a_second_opinion_is_asked_during_training_and_in_the_report(tiny, finish):
    opinion = {"source": "length", "per_word": 0.5}
    run, report = finish(tiny(evaluation={"second_opinion": opinion}, **TWO))
    for line in run.read_log("metrics.jsonl"):
        assert line["eval_opinion_mean"] > 0
    assert report["run"]["second_opinion"] == opinion | {"target_words": None}
    before, after = (
        [sum(row) / len(row) for row in side["opinion"]]
        for side in map(json.loads((run.report / "samples.json").read_text()).get, ("before", "after"))
    )
    found = report["second_opinion"]
    assert found["before"] == pytest.approx(sum(before) / 8)
    assert found["after"] == pytest.approx(sum(after) / 8)


def test_blank_lines_and_repeated_prompts_are_left_out_and_named(tiny, finish, prompts_file, tmp_path):
    lines = prompts_file.read_text().splitlines()
    file = tmp_path / "p.txt"
    file.write_text("\n".join([lines[0], "", *lines, "   "]) + "\n")
    run, _ = finish(tiny(prompts={"source": str(file)}, **TWO))
    said = "\n".join(event["what"] for event in run.read_log("events.jsonl"))
    assert f"blank rows dropped: 2 (p.txt line 2, {len(lines) + 3})" in said
    assert "repeated prompts dropped: 1 (p.txt line 3)" in said


# --- memory


def at_most(rows: int, plain: Callable[..., Any], count: Callable[..., int]) -> Callable[..., Any]:
    """`plain`, on a machine whose memory holds so many rows."""

    def tried(*args: Any, **options: Any) -> Any:
        if count(*args, **options) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(*args, **options)

    return tried


def test_a_run_that_runs_out_of_memory_everywhere_has_the_same_numbers(tiny, finish, monkeypatch):
    expected = finish(tiny(**TWO), "enough")[0].read_log("metrics.jsonl")
    monkeypatch.setattr(
        update, "_microbatch", at_most(1, update._microbatch, lambda learner, part, tokens, **_: len(part.scores))
    )
    make = eager.make

    def small(models: Any, options: Any) -> Any:
        engine = make(models, options)
        monkeypatch.setattr(engine, "generate", at_most(2, engine.generate, lambda prompts, *_: len(prompts)))
        return engine

    monkeypatch.setattr(eager, "make", small)
    run, _ = finish(tiny(**TWO), "little")
    found = run.read_log("metrics.jsonl")
    assert {line["microbatch"] for line in found[1:]} == {1}
    for line, wanted in zip(found, expected, strict=True):
        assert line | {"microbatch": 2} == pytest.approx({"microbatch": 2} | wanted, abs=1e-6)
    said = [event["what"] for event in run.read_log("events.jsonl") if event["kind"] == "notice"]
    assert len([what for what in said if "the update" in what and "memory" in what]) == 1  # by the probe, and kept
    assert [what for what in said if "generation" in what and "memory" in what]


# --- rewards that say nothing


def test_a_constant_reward_has_no_effect(tiny, finish):
    reward = {"source": "length", "per_word": 0.0}
    run, report = finish(tiny(reward=reward, evaluation={"report_prompts": 15, "report_samples": 4}))
    assert report["verdict"]["word"] == "no effect"
    assert report["improved"] == 0
    assert report["mean_reward"] == {"before": 0.0, "after": 0.0}
    alarms = [event["name"] for event in run.read_log("events.jsonl") if event["kind"] == "alarm"]
    assert "saturated" in alarms


@pytest.mark.parametrize("seed", [1, 2])
def test_a_reward_that_does_not_depend_on_what_is_written_has_no_effect(seed, tiny, finish, monkeypatch):
    def chance(prompts: list[str], responses: list[str]) -> torch.Tensor:
        drawn = [blake2b(f"{p}|{r}".encode(), digest_size=4).digest() for p, r in zip(prompts, responses, strict=True)]
        return torch.tensor([int.from_bytes(digest) / 2**32 for digest in drawn])

    monkeypatch.setattr("appliance.stages.evaluation.reward_source", lambda options, precision: chance)
    wanted = {"report_prompts": 15, "report_samples": 4}
    _, report = finish(tiny(seed=seed, batch={"steps": 12, "rollout": 16, "minibatch": 16}, evaluation=wanted))
    assert report["verdict"]["word"] == "no effect"
    assert report["p_value"] > 0.01


def test_a_reward_that_can_be_had_is_found_and_proven(tiny, finish):
    """The same run with a reward that depends on the words: the null runs above could have moved."""
    wanted = {"report_prompts": 15, "report_samples": 4}
    config = tiny(
        batch={"steps": 20, "rollout": 32, "minibatch": 32, "microbatch": 32},
        evaluation=wanted,
        optimizer={"learning_rate": 5e-3},
        checkpoint={"every_steps": 20},
    )
    _, report = finish(config)
    assert report["verdict"]["word"] == "better"
    assert report["improved"] >= 14
