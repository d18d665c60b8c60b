"""The recipes in configs/ run as they stand, with tiny models of the same architectures and little data of the same form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from appliance.config import load
from appliance.data import films
from appliance.stages import demo_models, export

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gpt2/, distilbert/, imdb/ and pairs.jsonl: what the recipes take from a hub, small."""
    root = tmp_path_factory.mktemp("hub")
    texts = [review.text for review in films.reviews(600, 5)]
    reviews = [" ".join(texts[i : i + 4]) for i in range(0, 600, 4)]  # 150, most over 200 characters
    (root / "imdb" / "plain_text").mkdir(parents=True)
    rows = {"text": [*reviews, "Short."], "label": [i % 2 for i in range(len(reviews) + 1)]}
    Dataset.from_dict(rows).to_parquet(root / "imdb" / "train-00000-of-00001.parquet")
    (root / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in films.preference_pairs(150, 5)))

    torch.manual_seed(0)
    words = demo_models.bpe_tokenizer(texts)
    words.save_pretrained(root / "gpt2")
    sizes = {"n_positions": 256, "n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), **sizes)).save_pretrained(root / "gpt2")
    pieces = demo_models.wordpiece_tokenizer(texts)
    pieces.save_pretrained(root / "distilbert")
    DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=len(pieces),
            n_layers=1,
            n_heads=2,
            dim=32,
            hidden_dim=64,
            id2label={0: "NEGATIVE", 1: "POSITIVE"},
            label2id={"NEGATIVE": 0, "POSITIVE": 1},
        )
    ).save_pretrained(root / "distilbert")
    return root


def settings(**values: Any) -> list[str]:
    """`--set` for each: section__key=value."""
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def test_the_published_gpt2_recipe(hub, command, tmp_path, monkeypatch):
    trained: list[Any] = []
    plain = export.export
    monkeypatch.setattr("appliance.stages.ppo.export", lambda *args: (trained.append(args[0]), plain(*args))[1])
    run = tmp_path / "run"
    ended = command(
        *("train", "ppo", "--config", str(CONFIGS / "ppo-imdb-gpt2.yaml"), "--run-dir", str(run)),
        *settings(policy__model=hub / "gpt2", reward__model=hub / "distilbert", prompts__source=hub / "imdb"),
        *settings(batch__steps=2, batch__rollout=16, batch__minibatch=8, batch__microbatch=8, evaluation__prompts=8),
        *settings(evaluation__report_samples=2, device="cpu"),
    )
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert len(lines) == 7  # the summary's five, and where the model and the report are
    assert lines[5:] == [f"model: {run / 'model'}", f"report: {run / 'report' / 'report.html'}"]

    model = AutoModelForCausalLM.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    ids = torch.tensor([tokenizer("This film was")["input_ids"]])
    with torch.no_grad():
        ours = trained[0].policy.model.lm(input_ids=ids).logits
        start = AutoModelForCausalLM.from_pretrained(hub / "gpt2").eval()(input_ids=ids).logits
        again = model(input_ids=ids).logits
    torch.testing.assert_close(again, ours, atol=1e-5, rtol=0)  # the export has the original activation's name
    assert float((again - start).abs().max()) > 1e-5  # and it learned something
    assert model.config.activation_function == "gelu_new"
    assert {file.name for file in (run / "model").iterdir()} >= {"model.safetensors", "README.md", "tokenizer.json"}
    assert not [*run.rglob("*.bin"), *run.rglob("*.pt"), *run.rglob("*.pkl")]

    card = (run / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    report = json.loads((run / "report" / "report.json").read_text())
    for told in (str(hub / "imdb"), str(hub / "distilbert"), "POSITIVE", "clip: 0.2", report["verdict"]["sentence"]):
        assert told in card
    assert (report["prompts"], report["samples"]) == (15, 2)
    for name in ("improved", "p_value", "mean_reward", "median_reward", "difference_ci95", "kl", "seconds"):
        assert name in report
    page = (run / "report" / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2]
    assert all(4 <= line["length_mean"] <= 16 for line in metrics[1:])
    notices = [json.loads(line)["what"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert any("under 200 characters dropped" in what for what in notices)


TINY_TRAINING = {"training__epochs": 2, "training__batch": 16, "training__microbatch": 8, "device": "cpu"}


def stage_run(
    appliance: Callable[..., Any], stage: str, arguments: list[str], run: Path, at: dict[str, Any] | None = None
) -> Any:
    """`appliance train STAGE` with a recipe's arguments; `--resume` without any."""
    more = arguments or ["--resume"]
    return appliance("train", stage, "--run-dir", str(run), *more, at=at)


def recipe(hub: Path, stage: str) -> list[str]:
    """The arguments of a tiny run of the recipe."""
    if stage == "sft":
        chosen = {"policy__model": hub / "gpt2", "data__source": hub / "imdb", "training__max_length_tokens": 48}
        return ["--config", str(CONFIGS / "sft-imdb-gpt2.yaml"), *settings(**chosen, **TINY_TRAINING)]
    chosen = {"model__model": hub / "distilbert", "data__source": hub / "pairs.jsonl"}
    return ["--config", str(CONFIGS / "reward-pairs.yaml"), *settings(**chosen, **TINY_TRAINING)]


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_the_recipes_of_the_other_stages_end_and_go_on_after_a_stop(stage, hub, appliance, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    ended = stage_run(appliance, stage, recipe(hub, stage), whole)
    assert ended.code == 0, ended.err
    assert not (whole / "checkpoints").exists()
    result = json.loads((whole / "result.json").read_text())
    assert f"model: {whole / 'model'}" in ended.out
    if stage == "sft":
        AutoModelForCausalLM.from_pretrained(whole / "model")
        assert result["held_out_texts"] == 8  # a twentieth of 151 texts, none of which is there twice
        assert result["texts"] == 143
        assert result["steps"] == 18  # two epochs of nine batches of sixteen
    else:
        assert AutoModelForSequenceClassification.from_pretrained(whole / "model").config.num_labels == 1
        assert 0 <= result["held_out_accuracy"] <= 1
        assert "held-out accuracy" in ended.out

    step = "appliance.stages.trl_training:Reporter.on_step_end"
    for call in (7, 2):  # stopped after 7 steps, and again after 2 more
        at = {"function": step, "when": "before", "call": call, "signals": ["SIGTERM"]}
        arguments = recipe(hub, stage) if call == 7 else []
        ended = stage_run(appliance, stage, arguments, run, at)
        assert ended.code == 130, ended.err
        assert "Traceback" not in ended.err
        assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert f"{run}/checkpoints/checkpoint-9" in ended.err
    ended = stage_run(appliance, stage, [], run)
    assert ended.code == 0, ended.err
    again = json.loads((run / "result.json").read_text())
    keys = result.keys() - {"seconds"}
    assert {key: again[key] for key in keys} == {key: result[key] for key in keys}
    name = "model/model.safetensors"
    assert (run / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_a_stage_that_was_killed_begins_again_from_its_last_checkpoint(stage, hub, appliance, tmp_path):
    run = tmp_path / "run"
    step = "appliance.stages.trl_training:Reporter.on_step_end"
    at = {"function": step, "when": "before", "call": 9, "signals": ["SIGKILL"]}  # checkpoints after 5, 10, 15, 18
    assert stage_run(appliance, stage, recipe(hub, stage), run, at).code == -9
    assert [folder.name for folder in (run / "checkpoints").glob("checkpoint-*")] == ["checkpoint-5"]
    ended = stage_run(appliance, stage, [], run)
    assert ended.code == 0, ended.err
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, steps[-1] + 1))  # each once


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_each_recipe_is_right_and_short(path):
    config = load(path)
    assert config.name == path.stem
    lines = path.read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 60
    assert lines[0].startswith("# ")
