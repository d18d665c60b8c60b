"""Do the recipes' tiny twins learn? Each PPO recipe from its own file, three seeds, a sign test over held-out prompts.

    .venv/bin/python tests/bench/twins.py [--only opt,hh] [--seeds 1,2,3] [--steps 30]

Policy, adapters, reward and structure are the recipe's own; every setting that is not stands below the table. The
settings with adapters were chosen on seeds 11 to 13. The models have learned their parts before (twin_models.py).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from math import comb
from pathlib import Path
from typing import Any

import torch
import twin_models
from table import markdown

from appliance.cli.main import commands, quiet_libraries

CONFIGS = Path(__file__).parents[2] / "configs"
SIZES = {
    "batch.steps": 30,
    "batch.rollout": 32,
    "batch.minibatch": 16,
    "batch.microbatch": 16,
    "optimizer.learning_rate": 1e-3,
    "sampling.response_tokens": "[12, 16]",
    "evaluation.every_steps": 10,
    "evaluation.report_prompts": 24,
    "evaluation.report_samples": 16,
    "device": "cpu",
}
OPT = {
    "batch.steps": 50,
    "batch.rollout": 256,
    "batch.minibatch": 64,
    "batch.microbatch": 64,
    "optimizer.learning_rate": 2e-3,
    "kl.coef": 0.01,
}
FLAN_T5 = {
    "batch.steps": 50,
    "batch.rollout": 128,
    "optimizer.learning_rate": 3e-3,
    "kl.coef": 0.02,
}
HH = {
    "batch.steps": 40,
    "batch.rollout": 128,
    "optimizer.learning_rate": 2e-3,
    "critic.learning_rate": 1e-3,
}
"""Of twins that train adapters alone. Over weights that have learned so little a step's gradient is mostly noise: a
larger learning rate makes KL of it and no score, more responses a step make a rise of it."""
ASKED = {"evaluation.prompts": 16}
MODELS = {
    "gpt2": ["gpt2", "distilbert-imdb"],
    "opt": ["opt", "distilbert-imdb"],
    "flan-t5": ["flan-t5", "roberta-hate"],
    "hh": ["neox-policy", "neox-small"],
}
"""Of twin_models, by a recipe's short name."""
PLACES = re.compile(r"\.(model|source|url|prompts_file)$|^device$|^seed$")
"""Settings that say where the twin's models and data are; they are left out of what the table's foot lists."""


def recipes(hub: Path, place: Path, wanted: list[str], running: ExitStack) -> dict[str, tuple[str, dict[str, Any]]]:
    """By short name: the recipe, and its places in the twins' hub. Of `hh` a reward model is trained, and served."""
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "gpt2": (
            "ppo-imdb-gpt2",
            ASKED
            | {
                "policy.model": hub / "gpt2",
                "reward.model": hub / "distilbert-imdb",
                "prompts.source": hub / "imdb",
            },
        ),
        "opt": (
            "ppo-imdb-opt-1.3b-lora",
            {
                "policy.model": hub / "opt",
                "reward.model": hub / "distilbert-imdb",
                "prompts.source": hub / "imdb",
                "evaluation.prompts_file": CONFIGS / "prompts" / "opt-evaluation.txt",
            }
            | OPT,
        ),
        "flan-t5": (
            "ppo-dialogsum-flan-t5-detox",
            ASKED
            | {
                "policy.model": hub / "flan-t5",
                "policy.adapter": "null",
                "reward.model": hub / "roberta-hate",
                "evaluation.second_opinion.model": hub / "roberta-hate",
                "prompts.source": hub / "dialogsum",
            }
            | FLAN_T5,
        ),
    }
    if "hh" in wanted:
        reward, pairs = place / "reward-hh", place / "hh-pairs.jsonl"
        train(
            "reward-hh",
            reward,
            {
                "model.model": hub / "neox-small",
                "data.source": hub / "hh-rlhf.jsonl",
                "data.held_out_share": 0.2,
                "normalization.policy.model": hub / "neox-policy",
                "normalization.samples": 16,
                "normalization.response_tokens": "[8, 12]",
                "training.max_length_tokens": 256,
                "training.batch": 16,
                "training.microbatch": 8,
                "training.epochs": 6,
                "optimizer.learning_rate": 1e-3,
                "device": "cpu",
            },
        )
        run("data", "convert", hub / "hh-rlhf.jsonl", "--format", "hh", "--to", "pairs", "--out", pairs)
        places = {"policy.model": hub / "neox-policy", "critic.model": reward / "model", "prompts.source": pairs}
        address = running.enter_context(served(reward, place / "server.log"))
        made["hh"] = ("ppo-hh-2b", ASKED | places | {"reward.url": address} | HH)
    return {name: made[name] for name in wanted}


def run(*argv: object) -> None:
    """The command line in this process, which has imported everything already; what it prints is not the table's."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries below, as in a process of its own
        commands.main(list(map(str, argv)), standalone_mode=False)


def train(recipe: str, folder: Path, changes: dict[str, Any]) -> None:
    """A run of a recipe with these settings."""
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    run("train", recipe.partition("-")[0], "--config", CONFIGS / f"{recipe}.yaml", "--run-dir", folder, *sets)


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """The address of a server that answers with a reward model."""
    with log.open("wb") as out:
        argv = [sys.executable, "-m", "appliance", "serve-reward", str(model), "--port", "0"]
        server = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        while server.poll() is None:
            listening = re.search(r"listening on (http://\S+)/score", log.read_text(encoding="utf-8"))
            if listening:
                yield listening[1]
                return
            time.sleep(0.1)
        raise SystemExit(log.read_text(encoding="utf-8"))
    finally:
        server.terminate()
        server.wait()


def figures(folder: Path, *, seed: int, seconds: float) -> dict[str, Any]:
    """What a run's report and log say: the curve of held-out scores, prompts that improved or got worse, KL."""
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [line["eval_score_mean"] for line in metrics if "eval_score_mean" in line]
    counts = {name: report[name] for name in ("improved", "worse", "sign_test_p", "kl")}
    return {"seed": seed, "seconds": seconds, "curve": curve, "mean_reward": report["mean_reward"], **counts}


def sign_test_p(improved: int, worse: int) -> float:
    """Two-sided p of `improved` of so many prompts that changed, if either were as likely."""
    changed = improved + worse
    tail = sum(comb(changed, k) for k in range(max(improved, worse), changed + 1)) / 2**changed
    return min(1.0, 2 * tail)


def rows(name: str, made: list[dict[str, Any]]) -> list[list[str]]:
    """A table's row for each run of a recipe, and one for all of them together."""
    found = [
        [
            name,
            str(one["seed"]),
            " ".join(f"{score:.2f}" for score in one["curve"]),
            f"{one['mean_reward']['before']:.2f} -> {one['mean_reward']['after']:.2f}",
            f"{one['improved']} / {one['worse']}",
            f"{one['sign_test_p']:.2g}",
            f"{one['kl']:.1f}",
            f"{one['seconds']:.0f}",
        ]
        for one in made
    ]
    improved, worse = (sum(one[key] for one in made) for key in ("improved", "worse"))
    return [*found, [name, "all", "", "", f"{improved} / {worse}", f"{sign_test_p(improved, worse):.2g}", "", ""]]


def changed(name: str, settings: dict[str, Any]) -> str:
    """The settings that a twin does not have from its recipe, but for places."""
    return f"{name}: " + ", ".join(f"{key}={value}" for key, value in settings.items() if not PLACES.search(key))


HEADS = ["recipe", "seed", "held-out score", "report", "improved / worse", "sign test p", "KL", "s"]


def main() -> None:
    """Runs, and prints the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", default="gpt2,opt,flan-t5,hh", help="short names, with commas")
    options.add_argument("--seeds", default="1,2,3")
    options.add_argument("--steps", type=int, help="of PPO; none: as many as each recipe's twin needs")
    options.add_argument("--teach", type=int, default=300, help="steps that each tiny model learns its part before")
    options.add_argument("--models", type=Path, help="folder of the tiny models, which are made if it is not there")
    chosen = options.parse_args()
    wanted = chosen.only.split(",")
    quiet_libraries(os.environ, offline=True)  # type: ignore[arg-type]
    torch.set_num_threads(1)
    table: list[list[str]] = []
    foot: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        place = Path(folder)
        os.environ["APPLIANCE_DATA"] = str(place / "data")
        hub = chosen.models or place / "hub"
        if not hub.exists():
            needed = {model for name in wanted for model in MODELS[name]}
            twin_models.make(hub, width=64, steps=chosen.teach, only=needed)
        for name, (recipe, places) in recipes(hub, place, wanted, running).items():
            made = []
            foot.append(changed(name, SIZES | places))
            for seed in map(int, chosen.seeds.split(",")):
                began = time.monotonic()
                at = place / f"{name}-{seed}"
                changes = SIZES | places | {"seed": seed}
                train(recipe, at, changes | ({"batch.steps": chosen.steps} if chosen.steps else {}))
                made.append(figures(at, seed=seed, seconds=time.monotonic() - began))
                print(f"{name}, seed {seed}: {made[-1]['curve']}", file=sys.stderr, flush=True)
            table += rows(name, made)
    print(markdown(HEADS, table))
    print("", *foot, sep="\n")


if __name__ == "__main__":
    main()
