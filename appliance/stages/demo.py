"""The three steps of RLHF from nothing: invented film reviews, models of a few hundred thousand weights, and a report.

Flow, all below OUT: data/ (reviews, pairs, prompts) -> start/ (untrained models with tokenizers) -> sft/ -> reward/ ->
ppo/ -> report.html and report.json, which are those of ppo/ with the seconds of every stage.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import click

from appliance import settings
from appliance.config import PpoConfig, RewardConfig, SftConfig, parse
from appliance.data import films
from appliance.errors import ApplianceError, StoppedByUser
from appliance.evaluate.report import summary_lines
from appliance.progress import progress
from appliance.stages import demo_models, ppo, reward, sft
from appliance.stages.demo_ppo import REPORT_PROMPTS, REPORT_SEED, ppo_values
from appliance.stages.session import free_folder, open_run, session
from appliance.store import rundir
from appliance.store.files import explained, write_json, write_text
from appliance.store.rundir import RunDir

REVIEWS, PAIRS, PROMPTS = 5000, 5000, 1000
LAST_WRITTEN = "report-prompts.txt"
STEPS = 3
"""Data, policy, reward model: what is made before PPO."""
WRONG_SHARE = 0.1
"""Share of the pairs in which the rater was wrong: people are, and without it the task would be too easy to be true."""


def run(out: Path | None, seed: int) -> tuple[Path, list[str]]:
    """Run everything in a new folder; returns it and the report in five lines. Raises ApplianceError if OUT is not empty."""
    folder = out or free_folder(settings.read().data, "demo")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ApplianceError(f"{folder} is not empty", "give a new folder: appliance demo --out ...")
    seconds: dict[str, float] = {}
    for name, spent, _ in make_models(folder, seed):
        seconds[name] = spent
    chosen = stage_configs(folder, seed)["ppo"]
    report = ppo.run(chosen, rundir.create(folder / "ppo", chosen), earlier=seconds)  # type: ignore[arg-type]
    for name in ("report.html", "report.json"):
        shutil.copyfile(folder / "ppo" / "report" / name, folder / name)
    return folder, summary_lines(report)


def models_only(out: Path | None, seed: int) -> Path:
    """data/, start/, sft/ and reward/ in a folder, all but PPO; returns it. What an earlier call finished there is kept.

    Led like a run: locked, with status.json, a line of metrics.jsonl for each of three steps, and result.json at the end.
    Raises StoppedByUser, to be called again, and ApplianceError.
    """
    folder = out or settings.read().data / "example"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    run = RunDir(folder)
    with session(run) as stop:
        seconds: dict[str, float] = {}
        for step, (name, spent, figures) in enumerate(make_models(folder, seed), start=1):
            seconds[name] = spent
            if all(known["step"] != step for known in run.read_log("metrics.jsonl")):
                run.append("metrics.jsonl", {"step": step, **figures})
            run.set_status("running", step=step, steps=STEPS)
            if stop() and step < STEPS:
                raise StoppedByUser(None)
        write_json(folder / "result.json", {"seconds": seconds})
    return folder


def make_models(folder: Path, seed: int) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Makes what PPO starts from, what is finished already left as it is: each part's name, seconds and figures."""
    began = time.perf_counter()
    data, start = folder / "data", folder / "start"
    if not (data / LAST_WRITTEN).exists():
        write_data(data, seed)
    if not (start / "classifier" / "config.json").exists():  # the second of the two
        demo_models.make(start, (data / "reviews.txt").read_text(encoding="utf-8").splitlines(), seed)
    yield "data", time.perf_counter() - began, {"texts": REVIEWS}
    configs = stage_configs(folder, seed)
    written = sft.run(configs["sft"], open_run(configs["sft"], folder / "sft", resume=True), resume=True)  # type: ignore[arg-type]
    click.echo(
        f"  the policy writes reviews: held-out loss {written['held_out_loss']:.2f} nats per token "
        f"(perplexity {written['held_out_perplexity']:.1f})",
        err=True,
    )
    yield "sft", written["seconds"], {"held_out_loss": written["held_out_loss"]}
    judged = reward.run(configs["reward"], open_run(configs["reward"], folder / "reward", resume=True), resume=True)  # type: ignore[arg-type]
    low, high = judged["held_out_accuracy_ci95"]
    click.echo(
        f"  the reward model picks the kinder of two reviews: held-out accuracy {judged['held_out_accuracy']:.1%} "
        f"[{low:.1%}, {high:.1%}] on {judged['held_out_pairs']} pairs ({WRONG_SHARE:.0%} of the raters' choices are wrong)",
        err=True,
    )
    yield "reward", judged["seconds"], {"held_out_accuracy": judged["held_out_accuracy"]}


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
        write_text(folder / LAST_WRITTEN, "".join(text + "\n" for text in asked))
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
