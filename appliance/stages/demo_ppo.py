"""The PPO section of the demo, which the page's example takes too. Imports no torch."""

from pathlib import Path
from typing import Any

from appliance.data import films

REPORT_PROMPTS, REPORT_SAMPLES = 15, 8
REPORT_SEED = 0
"""The 15 prompts of the report are the same whatever the seed."""


def ppo_values(folder: Path) -> dict[str, Any]:
    """What the PPO config says of a demo in `folder`: about a minute of training on two cores."""
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
