"""The two stages before PPO in their variants: adapters, packing, prompts, decoders as reward models."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer

from appliance import parts
from appliance.config import parse
from appliance.data.preferences import Ranking
from appliance.data.split import held_out
from appliance.errors import ApplianceError, ConfigError, DataError, ModelError
from appliance.models.precision import Precision
from appliance.stages.reward_rows import split
from appliance.stages.reward_scale import policy_samples
from appliance.store import rundir
from appliance.store.rundir import RunDir

BRIEF = {"epochs": 2, "batch": 8, "microbatch": 4, "max_length_tokens": 16}
FAST = {"learning_rate": 1e-2}
FP32 = Precision(torch.device("cpu"), "fp32")


@pytest.fixture
def trained(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[RunDir, dict[str, Any]]]:
    """trained("sft", rows, **sections): a run over these rows in this process; its folder and result."""

    def run(
        stage: str, rows: list[dict[str, str]], name: str = "run", **sections: Any
    ) -> tuple[RunDir, dict[str, Any]]:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {"stage": stage, "device": "cpu", "training": BRIEF, "optimizer": FAST, "data": {}}
        values["policy" if stage == "sft" else "model"] = {"model": str(folder_of("gpt2"))}
        for section, chosen in sections.items():
            values[section] = values.get(section, {}) | chosen if isinstance(chosen, dict) else chosen
        values["data"] = {"source": str(file)} | values["data"]
        config = parse(values, origin="here")
        made = rundir.create(tmp_path / name, config)
        return made, parts.load("stages", stage).run(config, made)

    return run


TEXTS = [{"text": f"w{i % 30} w{(i + 1) % 30} w{(i + 2) % 30}", "prompt": f"w{i % 10}"} for i in range(60)]
PAIRS = [{"prompt": f"w{i} ", "chosen": f"w{60 + i % 8} w60", "rejected": f"w{70 + i % 8} w70"} for i in range(50)]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"lora": {"rank": 2}},
        {"training": BRIEF | {"packing": True}},
        {"data": {"prompt_column": "prompt"}},
        {"data": {"held_out_share": 0}},
        {"training": BRIEF | {"max_steps": 3}, "trackers": ["tensorboard"]},
    ],
    ids=["plain", "lora", "packing", "prompts", "nothing held out", "max_steps and tracker"],
)
def test_a_policy_learns_to_write_the_texts(sections, trained, folder_of):
    run, result = trained("sft", TEXTS, **sections)
    assert run.status()["state"] == "done"
    metrics = run.read_log("metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, result["steps"] + 1))
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    if sections.get("data", {}).get("held_out_share") == 0:
        assert result["held_out_loss"] is None
    else:
        assert result["held_out_perplexity"] == pytest.approx(math.exp(result["held_out_loss"]))
    before, after = load_file(folder_of("gpt2") / "model.safetensors"), load_file(run.model / "model.safetensors")
    assert before.keys() == after.keys()  # adapters are merged
    assert any(not torch.equal(before[name], after[name]) for name in before)
    AutoModelForCausalLM.from_pretrained(run.model)
    if "trackers" in sections:
        assert list((run.path / "trackers").rglob("events.out.tfevents*"))


def test_the_held_out_loss_is_the_models_own(trained, tokenizer):
    """Counted again from the exported model: mean over all held-out tokens of -log p, each text with its end."""
    run, result = trained("sft", TEXTS, training=BRIEF | {"microbatch": 1})
    texts = [row["text"] for row in TEXTS]
    aside = [text for text, apart in zip(texts, held_out(texts, 0.05, seed=1), strict=True) if apart]
    assert len(aside) == result["held_out_texts"] == 4  # 2 of 30 texts, each there twice
    model = AutoModelForCausalLM.from_pretrained(run.model).eval()
    surprise = []
    for text in aside:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], 0]])
        with torch.no_grad():
            lp = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        surprise.append(-float(lp.mean()))
    assert result["held_out_loss"] == pytest.approx(sum(surprise) / len(surprise), abs=1e-4)  # all are of one length


@pytest.mark.parametrize("sections", [{}, {"training": BRIEF | {"center_coef": 0.01}}], ids=["plain", "centred"])
def test_a_reward_model_learns_which_side_is_better(sections, trained):
    run, result = trained("reward", PAIRS, **sections)
    assert run.status()["state"] == "done"
    assert result["held_out_accuracy"] > 0.9  # w6. is always better than w7.
    low, high = result["held_out_accuracy_ci95"]
    assert 0 <= low <= result["held_out_accuracy"] <= high <= 1
    assert result["pairs"] + result["held_out_pairs"] == 50
    assert result["held_out_pairs"] == 5
    assert AutoModelForSequenceClassification.from_pretrained(run.model).config.num_labels == 1
    source = parts.load("rewards", "trained")
    score = source.make(source.Options(model=str(run.path)), torch.device("cpu"))
    good, bad = score(["w1 ", "w1 "], ["w61 w60", "w71 w70"]).tolist()
    assert good > bad
    assert good < 5  # in standard deviations: the folder says its mean and spread
    assert bad > -5


def test_each_ranking_counts_once_in_a_step_whose_micro_batches_are_not_equal(trained, folder_of, tmp_path):
    shutil.copytree(folder_of("gpt2"), tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    config |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    found = []
    for microbatch in (1, 2, 4):  # three rankings: 1 + 1 + 1, 2 + 1, 3
        brief = {"epochs": 1, "batch": 4, "microbatch": microbatch, "max_length_tokens": 16}
        options = {"training": brief, "model": {"model": str(tmp_path / "plain")}, "data": {"held_out_share": 0.4}}
        run, _ = trained("reward", PAIRS[:5], name=f"run-{microbatch}", optimizer={"eps": 1.0}, **options)
        found.append(load_file(run.model / "model.safetensors"))
        (row,) = run.read_log("metrics.jsonl")
        found[-1]["loss"] = torch.tensor(row["loss"])
    for name, weights in found[0].items():
        for other in found[1:]:
            torch.testing.assert_close(other[name], weights, atol=1e-6, rtol=0)
    config = json.loads((run.model / "config.json").read_text())
    assert config["activation_function"] == "gelu_new"  # as the folder that it began with has it


RANKED = [
    {
        "prompt": f"w{i} ",
        "responses": [f"w6{i % 8} w60", f"w7{i % 8} w70", f"w8{i % 8} w80"],
        "ranks": [1, 1 + i % 2, 3],
    }
    for i in range(50)
]
"""Sixes are better than eights; sevens are as good as sixes (every other one) or between the two."""


@pytest.mark.parametrize("loss", ["pairs", "plackett_luce"])
def test_a_reward_model_learns_an_order_of_three(loss, trained):
    run, result = trained("reward", RANKED, training=BRIEF | {"loss": loss}, name=loss)
    assert result["held_out_accuracy"] > 0.9
    assert (result["rankings"], result["held_out_rankings"]) == (45, 5)
    assert result["pairs"] + result["held_out_pairs"] == 25 * 2 + 25 * 3
    assert result["training_ties"] + result["ties"]["pairs"] == 25
    assert result["held_out_prompts"] == 5
    assert result["effective_pairs"] <= result["held_out_pairs"]
    source = parts.load("rewards", "trained")
    score = source.make(source.Options(model=str(run.path)), torch.device("cpu"))
    best, last = score(["w1 ", "w1 "], ["w61 w60", "w81 w80"]).tolist()
    assert best > last


def test_scores_are_brought_to_the_starting_policy_s_own_responses(trained, folder_of, tokenizer):
    section = {"policy": {"model": str(folder_of("gpt2"))}, "samples": 40, "response_tokens": [3, 6]}
    run, result = trained("reward", PAIRS, normalization=section)
    kept = json.loads((run.model / "reward.json").read_text())
    assert (kept["mean"], kept["std"]) == (result["score_mean"], result["score_std"])
    assert kept["measured_on"]["policy"] == str(folder_of("gpt2"))
    assert kept["measured_on"]["samples"] == 40
    plain, by_held_out = trained("reward", PAIRS, "plain")
    assert by_held_out["measured_on"] == {"what": "the held-out responses", "samples": 10}
    assert load_file(plain.model / "model.safetensors").keys() == load_file(run.model / "model.safetensors").keys()
    for name, weights in load_file(plain.model / "model.safetensors").items():  # sampling has moved no random number
        assert torch.equal(weights, load_file(run.model / "model.safetensors")[name])
    assert by_held_out["score_mean"] != result["score_mean"]
    # the same draws again, scored as PPO will: mean 0, std 1
    config = run.config()
    held = [Ranking(row["prompt"], (row["chosen"], row["rejected"]), (1, 2)) for row in PAIRS]
    samples = policy_samples(config.normalization, config, split(held, config).test, FP32)
    assert len(samples.responses) == 40
    assert max(len(tokenizer(text)["input_ids"]) for text in samples.responses) == 6  # at most; one may end before
    source = parts.load("rewards", "trained")
    score = source.make(source.Options(model=str(run.path)), torch.device("cpu"))
    found = score(samples.prompts, samples.responses)
    assert float(found.mean()) == pytest.approx(0, abs=1e-4)
    assert float(found.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_a_starting_policy_that_is_not_there_is_said_before_the_training(trained, tmp_path):
    with pytest.raises(ModelError, match="there is no model folder"):
        trained("reward", PAIRS, normalization={"policy": {"model": str(tmp_path / "none")}})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    whole = [{"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]} for row in PAIRS]
    with pytest.raises(ConfigError, match=r"normalization\.prompts is missing"):
        trained("reward", whole, "whole", normalization={"policy": {"model": str(tmp_path)}})


def test_a_reward_run_is_published_with_its_verdict(trained):
    run, result = trained("reward", PAIRS, gate={"min_pairs": 5})
    assert result["gate"]["passed"] is (result["longer_wins_p"] < 0.05) is False  # five prompts prove nothing
    assert json.loads((run.model / "reward.json").read_text())["gate"] == result["gate"]
    report = json.loads((run.report / "report.json").read_text())
    assert report["verdict"]["reasons"] == result["gate"]["reasons"]
    assert report["held_out_accuracy"] == result["held_out_accuracy"]
    html = (run.report / "report.html").read_text()
    assert "Quality gate not passed" in html
    card = (run.model / "README.md").read_text()
    assert report["verdict"]["sentence"] in card
    assert "Preferences: `" in card


def test_ppo_warns_of_a_reward_model_that_failed_its_gate(trained, tiny, finish):
    judge, result = trained("reward", PAIRS, "judge")
    assert not result["gate"]["passed"]
    small = {"batch": {"steps": 1}, "evaluation": {"report_prompts": 8, "report_samples": 1}}
    run, report = finish(tiny(reward={"source": "trained", "model": str(judge.path)}, **small), "ppo")
    (alarm,) = [event for event in run.read_log("events.jsonl") if event["kind"] == "alarm"][:1]
    assert (alarm["name"], alarm["step"]) == ("reward_gate", 0)
    assert "only 5 pairs were held out, fewer than 50" in alarm["what"]
    assert any("did not pass its quality gate" in warning for warning in report["verdict"]["warnings"])
    open_gate = {"min_pairs": 1, "beat_longer": False, "min_accuracy": 0.5}
    judge, _ = trained("reward", PAIRS, "passed", gate=open_gate)
    run, report = finish(tiny(reward={"source": "trained", "model": str(judge.path)}, **small), "calm")
    assert not [event for event in run.read_log("events.jsonl") if event.get("name") == "reward_gate"]


def test_a_trained_decoder_may_be_both_the_reward_and_the_critic_of_ppo(trained, tiny, finish):
    judge, _ = trained("reward", PAIRS, "judge")
    config = tiny(
        reward={"source": "trained", "model": str(judge.path)},
        critic={"kind": "separate", "model": str(judge.model)},
        batch={"steps": 1},
    )
    run, _ = finish(config, "ppo")
    assert run.status()["state"] == "done"


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this CPU has no bf16 instructions")
@pytest.mark.parametrize(("stage", "rows"), [("sft", TEXTS), ("reward", PAIRS)])
def test_bf16_is_used_on_a_cpu_too(stage, rows, trained):
    runs = [trained(stage, rows, compute, compute=compute)[0] for compute in ("fp32", "bf16")]
    fine, coarse = (run.read_log("metrics.jsonl")[0]["loss"] for run in runs)
    assert fine != coarse
    assert coarse == pytest.approx(fine, rel=0.05)


@pytest.mark.parametrize(("stage", "rows"), [("sft", TEXTS), ("reward", PAIRS)])
def test_a_disk_that_is_full_while_checkpointing_is_a_message_and_the_run_goes_on(
    stage, rows, trained, monkeypatch, tmp_path
):
    plain = Trainer._save_checkpoint
    calls = []

    def full(self: Trainer, *args: Any, **options: Any) -> None:
        calls.append(self.state.global_step)
        if len(calls) == 2:
            (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}").mkdir()  # what was begun
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", full)
        with pytest.raises(ApplianceError, match="the disk is full: "):
            trained(stage, rows)
    run = RunDir(tmp_path / "run")
    assert run.status()["state"] == "failed"
    parts.load("stages", stage).run(run.config(), run, resume=True)
    assert run.status()["state"] == "done"
    steps = [line["step"] for line in run.read_log("metrics.jsonl")]
    assert steps == list(range(1, steps[-1] + 1))


def test_data_that_leaves_nothing_to_train_on_is_a_message(trained):
    with pytest.raises(DataError, match="no pair is left to train on"):
        trained("reward", PAIRS, training=BRIEF | {"max_length_tokens": 2})


# --- what cannot be trained, and what has been


@pytest.mark.parametrize(
    "rows", [PAIRS[:1], [pair | {"prompt": "w1 "} for pair in PAIRS]], ids=["one pair", "one prompt"]
)
def test_pairs_of_one_prompt_cannot_be_held_out(rows, trained):
    with pytest.raises(DataError) as caught:
        trained("reward", rows)
    assert f"all {len(rows)} pairs have one prompt, so none can be held out" in caught.value.what
    assert "more than one prompt" in caught.value.fix


@pytest.mark.parametrize(("stage", "rows"), [("sft", TEXTS), ("reward", PAIRS)])
def test_texts_may_not_be_longer_than_the_model_s_positions(stage, rows, trained):
    with pytest.raises(ConfigError) as caught:
        trained(stage, rows, training=BRIEF | {"max_length_tokens": 65})
    assert "training.max_length_tokens is 65" in caught.value.what
    assert "reads at most 64 tokens" in caught.value.what
    assert caught.value.fix == "set training.max_length_tokens to 64 or less"
    trained(stage, rows, "fits", training=BRIEF | {"max_length_tokens": 64, "max_steps": 1})


@pytest.mark.parametrize(
    ("stage", "rows", "data"),
    [("sft", TEXTS, {}), ("sft", TEXTS, {"held_out_share": 0}), ("reward", PAIRS, {})],
    ids=["sft", "sft, nothing held out", "reward"],
)
def test_a_training_that_diverged_is_no_result(stage, rows, data, trained, tmp_path):
    with pytest.raises(ApplianceError, match="the training diverged") as caught:
        trained(stage, rows, optimizer={"learning_rate": 1e38}, data=data)
    assert "lower optimizer.learning_rate" in caught.value.fix
    run = RunDir(tmp_path / "run")
    assert run.status()["state"] == "failed"
    assert not (run.path / "result.json").exists()


@pytest.mark.parametrize(("stage", "rows"), [("sft", TEXTS), ("reward", PAIRS)])
def test_a_finished_training_that_is_resumed_is_left_as_it_is(stage, rows, trained):
    run, result = trained(stage, rows, training=BRIEF | {"max_steps": 2})

    def files() -> dict[str, tuple[int, int]]:
        return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in [run.model, *run.model.iterdir()]}

    before, lines = files(), run.read_log("metrics.jsonl")
    assert parts.load("stages", stage).run(run.config(), run, resume=True) == result  # its seconds too
    assert files() == before
    assert run.read_log("metrics.jsonl") == lines
    assert run.status()["state"] == "done"
