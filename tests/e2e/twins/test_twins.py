"""Each recipe as its file stands, but for places, sizes and the number of steps: SFT, reward model, PPO and evaluation."""

import io
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL = {"batch__steps": 2, "batch__rollout": 8, "batch__minibatch": 4, "batch__microbatch": 4}
ASKED = {"evaluation__prompts": 4, "evaluation__report_prompts": 6, "evaluation__report_samples": 2}
TRAINED = {"training__batch": 16, "training__microbatch": 8}


def report_of(run: Path) -> dict[str, Any]:
    """A run's report, after what every report has was looked for."""
    report = json.loads((run / "report" / "report.json").read_text())
    assert report["verdict"]["word"] in ("better", "worse", "no effect")
    assert (run / "report" / "report.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    assert not [*run.rglob("*.bin"), *run.rglob("*.pt"), *run.rglob("*.pkl")]
    found: dict[str, Any] = report
    return found


def notices(run: Path) -> str:
    """What a run said of itself."""
    return "\n".join(json.loads(line)["what"] for line in (run / "events.jsonl").read_text().splitlines())


def imdb_pairs(hub: Path, tmp_path: Path) -> Path:
    """The pairs that the recipe's own lines make of IMDB."""
    lines = (CONFIGS / "reward-imdb-distilbert.yaml").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if 'python -c "' in line)
    last = next(i for i, line in enumerate(lines) if '" > imdb-pairs.jsonl' in line)
    code = "\n".join(line.removeprefix("#   ") for line in lines[first : last + 1])
    code = code.partition('python -c "')[2].rpartition('" > imdb-pairs.jsonl')[0]
    told = io.StringIO()
    with redirect_stdout(told):
        exec(code.replace("'stanfordnlp/imdb'", repr(str(hub / "imdb"))), {})
    pairs = tmp_path / "imdb-pairs.jsonl"
    pairs.write_text(told.getvalue())
    assert len(told.getvalue().splitlines()) == 75
    return pairs


def test_reviews_with_gpt2_from_the_first_step_to_the_last(hub, twin, command, tmp_path):
    sft = twin("sft-imdb-gpt2", policy__model=hub / "gpt2", data__source=hub / "imdb", **TRAINED)
    reward = twin(
        "reward-imdb-distilbert",
        model__model=hub / "distilbert",
        data__source=imdb_pairs(hub, tmp_path),
        normalization__policy__model=sft / "model",
        normalization__prompts__source=hub / "imdb",
        normalization__samples=16,
        **TRAINED,
    )
    assert AutoModelForSequenceClassification.from_pretrained(reward / "model").config.num_labels == 1
    run = twin(
        "ppo-imdb-gpt2",
        policy__model=sft / "model",
        reward=json.dumps({"source": "trained", "model": str(reward)}),
        prompts__source=hub / "imdb",
        **SMALL,
        **ASKED,
    )
    report = report_of(run)
    assert (report["prompts"], report["samples"]) == (6, 2)
    assert AutoModelForCausalLM.from_pretrained(run / "model").config.model_type == "gpt2"
    ended = command("evaluate", str(run), "--samples", "1")
    assert ended.code == 0, ended.err
    assert json.loads((run / "evaluation" / "report.json").read_text())["samples"] == 1


def test_opt_learns_with_adapters_on_its_last_two_layers_alone(hub, twin):
    run = twin(
        "ppo-imdb-opt-1.3b-lora",
        policy__model=hub / "opt",
        reward__model=hub / "distilbert-imdb",
        prompts__source=hub / "imdb",
        sampling__response_tokens="[6, 8]",
        evaluation__prompts_file=CONFIGS / "prompts" / "opt-evaluation.txt",
        evaluation__report_prompts=6,
        evaluation__report_samples=2,
        **SMALL,
    )
    report_of(run)
    # 8 of rank 8 between 32 and 32: 4 modules of 2 layers, 8 x (32 + 32) each
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in adapter.values()) == 8 * 8 * (32 + 32)
    assert {int(name) for key in adapter for name in re.findall(r"layers\.(\d+)\.", key)} == {1, 2}
    assert "4 held out" in notices(run)

    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    first = [row for row in samples if row["step"] == 0]
    asked = (CONFIGS / "prompts" / "opt-evaluation.txt").read_text().splitlines()
    assert [row["prompt"] for row in first] == [prompt for prompt in asked for _ in range(16)]
    assert len({row["response"] for row in first if row["prompt"] == asked[0]}) > 8  # not one answer sixteen times
    assert all(0 <= row["score"] <= 1 for row in first)  # a probability

    start = AutoModelForCausalLM.from_pretrained(hub / "opt").state_dict()
    after = AutoModelForCausalLM.from_pretrained(run / "model").state_dict()
    moved = {name for name, tensor in start.items() if not torch.equal(tensor, after[name])}
    assert moved
    assert all(re.search(r"layers\.[12]\.self_attn\.(q|k|v|out)_proj\.weight", name) for name in moved)


@pytest.fixture
def summarizing_adapter(hub: Path, tmp_path: Path) -> Path:
    """An adapter over the tiny T5 as its recipe wants it, in peft's format."""
    base = AutoModelForSeq2SeqLM.from_pretrained(hub / "flan-t5")
    options = LoraConfig(task_type="SEQ_2_SEQ_LM", r=32, lora_alpha=32, lora_dropout=0.05, target_modules=["q", "v"])
    with warnings.catch_warnings():  # peft asks transformers under a name that it gave up
        warnings.simplefilter("ignore")
        adapted = get_peft_model(base, options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_flan_t5_goes_on_from_its_adapter_and_the_report_tells_of_toxicity(hub, twin, summarizing_adapter):
    run = twin(
        "ppo-dialogsum-flan-t5-detox",
        policy__model=hub / "flan-t5",
        policy__adapter=summarizing_adapter,
        reward__model=hub / "roberta-hate",
        evaluation__second_opinion__model=hub / "roberta-hate",
        prompts__source=hub / "dialogsum",
        sampling__response_tokens="[6, 12]",
        **SMALL,
        **ASKED,
    )
    report = report_of(run)
    toxicity = report["second_opinion"]
    for side in ("before", "after"):
        assert 0 < toxicity[side] < 1
        assert 0 < toxicity["std"][side] < 0.5
    page = (run / "report" / "report.html").read_text()
    assert "second opinion, standard deviation" in page
    said = notices(run)
    assert "under 200 characters dropped" in said
    assert "over 1000 characters dropped" in said
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert all(row["prompt"].startswith("Summarize the following conversation.\n\n#Person1#: ") for row in samples)
    assert all(row["prompt"].endswith("\n\nSummary: ") for row in samples)
    assert AutoModelForSeq2SeqLM.from_pretrained(run / "model").config.model_type == "t5"
    AutoTokenizer.from_pretrained(run / "model")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """served(run): the address of a reward server of its own process that answers with the run's model."""
    servers = []

    def serve(model: Path) -> str:
        code = "import sys; from appliance.cli.main import main; sys.exit(main())"
        argv = [sys.executable, "-c", code, "serve-reward", str(model), "--port", "0"]
        environ = os.environ | {"OMP_NUM_THREADS": "1", "APPLIANCE_DATA": str(tmp_path)}
        log = tmp_path / "server.log"
        with log.open("wb") as out:
            servers.append(subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=environ))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and servers[-1].poll() is None:
            listening = re.search(r"listening on (http://[\d.]+:\d+)/score", log.read_text())
            if listening:
                return listening[1]
            time.sleep(0.1)
        raise AssertionError(log.read_text())

    yield serve
    for server in servers:
        server.terminate()
        server.wait(timeout=20)


def test_helpful_and_harmless_over_http_with_the_critic_from_the_reward_model(hub, twin, command, served, tmp_path):
    reward = twin(
        "reward-hh",
        model__model=hub / "neox-small",
        data__source=hub / "hh-rlhf.jsonl",
        data__held_out_share=0.2,
        normalization__policy__model=hub / "neox-policy",
        normalization__samples=8,
        normalization__response_tokens="[4, 8]",
        training__max_length_tokens=256,
        **TRAINED,
    )
    pairs = tmp_path / "hh-pairs.jsonl"
    convert = ["data", "convert", str(hub / "hh-rlhf.jsonl"), "--format", "hh", "--to", "pairs", "--out", str(pairs)]
    assert command(*convert).code == 0
    address = served(reward)
    run = twin(
        "ppo-hh-2b",
        policy__model=hub / "neox-policy",
        critic__model=reward / "model",
        reward__url=address,
        prompts__source=pairs,
        sampling__response_tokens="[6, 6]",
        **SMALL,
        **ASKED,
    )
    report_of(run)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2]
    # what the server says of a response is the score that training logged of it
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    texts = {"prompts": [row["prompt"] for row in samples], "responses": [row["response"] for row in samples]}
    scores = httpx.post(f"{address}/score", json=texts, timeout=60).json()["scores"]
    assert scores == pytest.approx([row["score"] for row in samples], abs=1e-5)
    assert "Human:" in samples[0]["prompt"]
