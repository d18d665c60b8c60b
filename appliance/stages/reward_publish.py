"""What a trained reward model is published with: the report in report/, and README.md beside the model."""

import json
from collections.abc import Sequence
from typing import Any

import torch

from appliance.config import RewardConfig, to_yaml
from appliance.evaluate import reward_report
from appliance.evaluate.reward_figures import ScoredPair
from appliance.models.precision import Precision
from appliance.ppo.clock import peak_memory_gib
from appliance.stages.evaluation import versions
from appliance.store.files import write_text
from appliance.store.rundir import RunDir

CARD = """---
library_name: transformers
pipeline_tag: text-classification
base_model: {base}
tags: [reward-model, rlhf]
---
# {name}

`{model}` trained as a reward model by rlhf-appliance {version}, with the loss `{loss}` on {pairs} pairs.

**{sentence}.**

| on {held_out_pairs} pairs of {held_out_prompts} held-out prompts | |
|---|---|
| agrees with the raters | {accuracy:.1%} [{low:.1%}, {high:.1%}] |
| choosing the longer response | {longer:.1%} |
| loss, nats per pair | {nats:.3f} |
| calibration error (ECE) | {ece:.3f} |
| correlation of score and length | {correlation:+.2f} |

It scores a prompt with its response as one text: `AutoModelForSequenceClassification.from_pretrained`, one logit, higher
is better. `reward.json` has the mean and the standard deviation of its scores on {measured}.

## Data
Preferences: `{source}`.

## Settings
```yaml
{config}```
"""


def publish(
    config: RewardConfig,
    run: RunDir,
    precision: Precision,
    result: dict[str, Any],
    *,
    pairs: Sequence[ScoredPair],
    notes: Sequence[str],
) -> None:
    """Write report/report.html, report/report.json and model/README.md of a run; result is its result.json."""
    made = reward_report.build(result, pairs, notes=notes, run=description(config, run, precision))
    reward_report.write(run.report, made, pairs, run.read_log("metrics.jsonl"))
    low, high = result["held_out_accuracy_ci95"]
    card = CARD.format(
        base=json.dumps(config.model.model),
        name=config.name,
        model=config.model.model,
        version=made["run"]["versions"]["rlhf-appliance"],
        loss=config.training.loss,
        sentence=made["verdict"]["sentence"],
        accuracy=result["held_out_accuracy"],
        low=low,
        high=high,
        longer=result["longer_wins_accuracy"],
        nats=result["held_out_loss"],
        correlation=result["score_length_correlation"],
        measured=reward_report.measured_text(result["measured_on"]),
        source=config.data.source,
        config=to_yaml(config),
        **{name: result[name] for name in ("pairs", "held_out_pairs", "held_out_prompts", "ece")},
    )
    write_text(run.model / "README.md", card)


def description(config: RewardConfig, run: RunDir, precision: Precision) -> dict[str, Any]:
    """What the report says of the run: its settings, the hardware and the versions."""
    return {
        "name": config.name,
        "folder": run.path.name,
        "model": config.model.model,
        "data": config.data.source,
        "loss": config.training.loss,
        "seed": config.seed,
        "device": torch.cuda.get_device_name() if precision.device.type == "cuda" else "cpu",
        "compute": precision.compute,
        "peak_memory_gib": round(peak_memory_gib(precision.device), 2),
        "versions": versions(),
        "config": to_yaml(config),
    }
