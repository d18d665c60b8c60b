"""How large a training is: three sizes, the settings that matter, and what it takes in time, memory and disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from appliance.config import PpoConfig
from appliance.plan import files
from appliance.plan.parts import Plan
from appliance.store import runs
from appliance.store.db import Store
from appliance.store.files import size_text
from appliance.ui.starting_draft import Draft

TINY, SMALL = 20_000_000, 1_500_000_000
ALIKE = 0.1
"""A past run's model counts as of the same size when its weights differ by at most this share."""
LATEST_RUNS = 30
EXAMPLE_MEMORY, EXAMPLE_DISK = "less than 2 GB", "about 50 MB"
"""Before the example's models are there to be measured."""


@dataclass(frozen=True)
class Size:
    """A preset."""

    title: str
    said: str
    steps: int
    rollout: int
    minibatch: int
    report_samples: int


SIZES = {
    "quick": Size("Quick look", "does it run, and which way does it go?", 10, 32, 16, 2),
    "normal": Size("Normal", "a result that can be judged", 40, 128, 32, 8),
    "thorough": Size("Thorough", "for the best result", 200, 128, 32, 8),
}


@dataclass(frozen=True)
class Setting:
    """A number of the accordion: its label with unit and range, and where it stands in the config."""

    label: str
    key: str
    low: float
    high: float
    whole: bool = False


SETTINGS = {
    "steps": Setting("Steps: rounds of answering and learning", "batch.steps", 1, 5000, whole=True),
    "answer_tokens": Setting("Answer length: at most so many tokens", "sampling.response_tokens", 1, 1024, whole=True),
    "learning_rate": Setting("Learning rate: how far a step goes", "optimizer.learning_rate", 1e-8, 0.1),
    "kl_coef": Setting("Price of drift from the starting model (KL coefficient)", "kl.coef", 0, 10),
    "kl_target": Setting("Drift to aim at, in nats per answer; 0 keeps the price fixed", "kl.target", 0, 100),
    "temperature": Setting(
        "Temperature: 1 samples as the model is, less is less varied", "sampling.temperature", 0.1, 2
    ),
    "seed": Setting("Seed: the same number gives the same run", "seed", 0, 2**31, whole=True),
}


def train_of(draft: Draft, weights: int | None) -> str:
    """Which weights learn where nothing was chosen: all of a small model, an add-on of a large one."""
    return draft.train or ("lora" if weights is not None and weights > 500_000_000 else "full")


def defaults(draft: Draft, weights: int | None) -> dict[str, float]:
    """Every setting's default for this draft. The example's are those of `appliance demo`."""
    size = SIZES[draft.size]
    rate = 1.41e-5
    if weights is not None and weights < TINY:
        rate = 1.5e-4
    elif train_of(draft, weights) == "lora":
        rate = 1e-4
    elif weights is not None and weights > SMALL:
        rate = 1e-6
    found = {
        "steps": size.steps,
        "answer_tokens": 24,
        "learning_rate": rate,
        "kl_coef": 0.2,
        "kl_target": 6.0,
        "temperature": 1.0,
        "seed": 1,
    }
    return found | ({"learning_rate": 1.5e-4, "kl_coef": 0.1, "kl_target": 0.0} if draft.example else {})


def settings_of(draft: Draft, weights: int | None) -> dict[str, float]:
    """The settings that will run: the defaults, and what was changed."""
    return defaults(draft, weights) | {name: value for name, value in draft.settings.items() if name in SETTINGS}


def changed(values: dict[str, float | None], usual: dict[str, float]) -> dict[str, float]:
    """Of numbers from the page those that differ from `usual`, the defaults they stood beside, kept within their range."""
    found = {}
    for name, setting in SETTINGS.items():
        given = values.get(name)
        if given is None or isinstance(given, bool):
            continue
        value = min(max(float(given), setting.low), setting.high)
        value = round(value) if setting.whole else value
        if abs(value - usual[name]) > 1e-12:
            found[name] = value
    return found


def changed_lines(draft: Draft, weights: int | None) -> str:
    """What differs from the defaults, one a line."""
    usual = defaults(draft, weights)
    lines = [
        f"- {SETTINGS[name].label.partition(':')[0]}: **{value:g}** (default {usual[name]:g})"
        for name, value in draft.settings.items()
        if name in SETTINGS
    ]
    return "Changed from the defaults:\n" + "\n".join(lines) if lines else "Everything is as the size has it."


@dataclass(frozen=True)
class Pace:
    """How fast past runs were: seconds for each token of the answers, and how many runs say so."""

    seconds_per_token: float
    runs: int


def pace(store: Store, weights: int | None, train: str) -> Pace | None:
    """From the latest finished runs of a model of this size on this machine; None where there are none."""
    if weights is None:
        return None
    done = [run for run in runs.list_runs(store, states=("done",), limit=LATEST_RUNS) if run.stage == "ppo"]
    found = [_measured(run.folder, run.config) for run in done]
    same = [one[2] for one in found if one is not None and one[1] == train and abs(one[0] - weights) <= ALIKE * weights]
    return Pace(median(same), len(same)) if same else None


@lru_cache(maxsize=256)
def _measured(folder: str, config_yaml: str) -> tuple[int, str, float] | None:
    """(weights, which of them learned, seconds per token of the answers) of a finished run; they do not change."""
    try:
        policy = yaml.safe_load(config_yaml)["policy"]
        weights = files.find(str(policy["model"])).weights
        lines = (Path(folder) / "timings.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        each = [step["seconds"] / step["response_tokens"] for step in steps if step.get("response_tokens")]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return (weights, str(policy.get("train", "full")), median(each)) if weights and each else None


def time_line(config: PpoConfig, known: Pace | None) -> str:
    """How long it will take, and how that is known."""
    if known is None:
        return "Time: not measured yet on this machine; the Training tab shows the time left after the first steps"
    batch = config.batch
    answers = batch.steps * batch.rollout + 2 * config.evaluation.report_prompts * config.evaluation.report_samples
    seconds = answers * config.sampling.response_tokens.high * known.seconds_per_token
    many = "one earlier run" if known.runs == 1 else f"{known.runs} earlier runs"
    return f"Time: about **{span(seconds)}**, going by {many} of a model of this size on this machine"


def span(seconds: float) -> str:
    """40 s, 12 min, 3.5 hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def disk_bytes(config: PpoConfig, made: Plan) -> int | None:
    """Checkpoints (weights that learn, two moments of each, and half as much while one is written) and the result."""
    if not made.everything:
        return None
    held = config.checkpoint.keep + 2  # the best one, and the one that is being written
    return int(held * 12 * made.trainable + 4 * made.everything + 20_000_000)


def disk_line(config: PpoConfig, made: Plan, free_bytes: int) -> str:
    """What the run will leave on the disk at most, of what is free."""
    needed = disk_bytes(config, made)
    if needed is None:
        return f"Disk: unknown for this model; {size_text(free_bytes)} are free"
    return f"Disk: about **{size_text(needed)}** at most, of {size_text(free_bytes)} that are free"


def memory_line(made: Plan) -> str:
    """What the largest phase takes, of what there is."""
    from appliance.plan.make import fits_line

    what = "GPU memory" if made.device == "GPU" else "Memory"
    return f"{what}: {fits_line(made).replace('GiB', 'GB')}"


def size_choices(values: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """The three sizes as a list to choose from."""
    return [
        (f"{size.title}: {size.steps} steps of {size.rollout} answers, {size.said}", name)
        for name, size in SIZES.items()
    ]
