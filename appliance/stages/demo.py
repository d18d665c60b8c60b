"""The three steps of RLHF from nothing: invented film reviews, models of a few hundred thousand weights, and a report.

Flow, all below OUT: data/ (reviews, pairs, prompts) -> start/ (untrained models with tokenizers) -> sft/ -> reward/ ->
ppo/ -> report.html and report.json, which are those of ppo/ with the seconds of every stage.
"""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import click

from appliance import settings
from appliance.config import PpoConfig, RewardConfig, SftConfig, parse
from appliance.data import films
from appliance.errors import ApplianceError
from appliance.evaluate.report import summary_lines
from appliance.progress import progress
from appliance.stages import demo_models, ppo, reward, sft
from appliance.stages.session import free_folder
from appliance.store import rundir
from appliance.store.files import explained, write_text

REVIEWS, PAIRS, PROMPTS = 5000, 5000, 1000
WRONG_SHARE = 0.1
"""Share of the pairs in which the rater was wrong: people are, and without it the task would be too easy to be true."""
REPORT_PROMPTS, REPORT_SAMPLES = 15, 8
REPORT_SEED = 0
"""The 15 prompts of the report are the same whatever the seed."""


def run(out: Path | None, seed: int) -> tuple[Path, list[str]]:
    """Run everything in a new folder; returns it and the report in five lines. Raises ApplianceError if OUT is not empty."""
    folder = out or free_folder(settings.read().data, "demo")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ApplianceError(f"{folder} is not empty", "give a new folder: appliance demo --out ...")
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    write_data(folder / "data", seed)
    demo_models.make(folder / "start", (folder / "data" / "reviews.txt").read_text(encoding="utf-8").splitlines(), seed)
    seconds["data"] = time.perf_counter() - began
    configs = stage_configs(folder, seed)

    written = sft.run(configs["sft"], rundir.create(folder / "sft", configs["sft"]))  # type: ignore[arg-type]
    seconds["sft"] = written["seconds"]
    click.echo(
        f"  the policy writes reviews: held-out loss {written['held_out_loss']:.2f} nats per token "
        f"(perplexity {written['held_out_perplexity']:.1f})",
        err=True,
    )
    judged = reward.run(configs["reward"], rundir.create(folder / "reward", configs["reward"]))  # type: ignore[arg-type]
    seconds["reward"] = judged["seconds"]
    low, high = judged["held_out_accuracy_ci95"]
    click.echo(
        f"  the reward model picks the kinder of two reviews: held-out accuracy {judged['held_out_accuracy']:.1%} "
        f"[{low:.1%}, {high:.1%}] on {judged['held_out_pairs']} pairs ({WRONG_SHARE:.0%} of the raters' choices are wrong)",
        err=True,
    )
    report = ppo.run(configs["ppo"], rundir.create(folder / "ppo", configs["ppo"]), earlier=seconds)  # type: ignore[arg-type]
    for name in ("report.html", "report.json"):
        shutil.copyfile(folder / "ppo" / "report" / name, folder / name)
    return folder, summary_lines(report)


def write_data(folder: Path, seed: int) -> None:
    """reviews.txt, preferences.jsonl, prompts.txt and report-prompts.txt; no training text begins with a report prompt."""
    with progress("Data", 4) as shown:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        reviews = films.reviews(REVIEWS, seed)
        write_text(folder / "reviews.txt", "".join(review.text + "\n" for review in reviews))
        shown.advance()
        pairs = some_wrong(films.preference_pairs(PAIRS, seed), seed)
        write_text(folder / "preferences.jsonl", "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
        shown.advance()
        write_text(folder / "prompts.txt", "".join(text + "\n" for text in films.openings(PROMPTS, seed)))
        shown.advance()
        asked = films.openings(REPORT_PROMPTS, REPORT_SEED, held_out=True)
        write_text(folder / "report-prompts.txt", "".join(text + "\n" for text in asked))
        shown.advance()


def some_wrong(pairs: list[dict[str, str]], seed: int) -> list[dict[str, str]]:
    """The pairs, with chosen and rejected exchanged in WRONG_SHARE of them."""
    draw = random.Random(f"raters {seed}")
    return [
        pair | {"chosen": pair["rejected"], "rejected": pair["chosen"]} if draw.random() < WRONG_SHARE else pair
        for pair in pairs
    ]


def stage_configs(folder: Path, seed: int) -> dict[str, SftConfig | RewardConfig | PpoConfig]:
    """The configs of the three stages: what `appliance train` would be given."""
    values = {
        "sft": {
            "policy": {"model": str(folder / "start" / "policy")},
            "data": {"source": str(folder / "data" / "reviews.txt")},
            "training": {"epochs": 2, "batch": 32, "max_length_tokens": 128},
            "optimizer": {"learning_rate": 2e-3, "warmup_share": 0.05, "schedule": "cosine"},
        },
        "reward": {
            "model": {"model": str(folder / "start" / "classifier")},
            "data": {"source": str(folder / "data" / "preferences.jsonl")},
            "training": {"epochs": 2, "batch": 32, "max_length_tokens": 96},
            "optimizer": {"learning_rate": 5e-4, "warmup_share": 0.05, "schedule": "linear"},
        },
        "ppo": ppo_values(folder),
    }
    return {  # type: ignore[return-value]
        stage: parse(
            {"stage": stage, "name": f"demo-{stage}", "seed": seed, "device": "cpu", "compute": "fp32", **section},
            origin=f"demo {stage}",
        )
        for stage, section in values.items()
    }


def ppo_values(folder: Path) -> dict[str, Any]:
    """The PPO section: about a minute of training on two cores."""
    words = {"positive": sorted(films.POSITIVE_WORDS), "negative": sorted(films.NEGATIVE_WORDS)}
    return {
        "policy": {"model": str(folder / "sft" / "model")},
        "reward": {"source": "trained", "model": str(folder / "reward")},
        "prompts": {"source": str(folder / "data" / "prompts.txt")},
        "sampling": {"response_tokens": [16, 24]},
        "batch": {"steps": 40, "rollout": 128, "minibatch": 32},
        "kl": {"coef": 0.1, "adaptive": False},
        "optimizer": {"learning_rate": 1.5e-4, "schedule": "linear"},
        "evaluation": {
            "every_steps": 10,
            "prompts": 64,
            "report_file": str(folder / "data" / "report-prompts.txt"),
            "report_prompts": REPORT_PROMPTS,
            "report_samples": REPORT_SAMPLES,
            "second_opinion": {"source": "keyword", **words},
        },
        "checkpoint": {"every_steps": 20},
        "alarms": {"ended_share": 0},
    }
