"""README.md beside the exported model: what it is, what it was made from, and what the report says of it."""

import json
from typing import Any

from appliance.config import PpoConfig, to_yaml
from appliance.store.files import write_text
from appliance.store.rundir import RunDir

CARD = """---
library_name: transformers
pipeline_tag: {task}
base_model: {base}
tags: [ppo, rlhf]
---
# {name}

{base_text} tuned with PPO ({train}) by rlhf-appliance {version}, against the reward `{reward}`.

**{sentence}**

| on {prompts} held-out prompts, {samples} answers each | before | after |
|---|---|---|
{rows}

Difference of the mean reward: {difference}. KL to the starting model: {kl} nats per response.
{warnings}
Load it with `{auto}.from_pretrained`. `value_head.safetensors`, if there, is the critic's and is not needed
to write text.

## Data
Prompts: `{prompt_source}`. Reward: `{reward}`.

## Settings
```yaml
{config}```
"""

ROWS = (
    ("mean reward", "mean_reward", "{:.3f}"),
    ("median reward", "median_reward", "{:.3f}"),
    ("length, tokens", "length_tokens", "{:.1f}"),
    ("share that ends by itself", "ended_share", "{:.2f}"),
    ("distinct word pairs", "distinct_2", "{:.2f}"),
    ("perplexity under the starting model", "perplexity", "{:.2f}"),
)


def write_card(config: PpoConfig, run: RunDir, report: dict[str, Any]) -> None:
    """Write model/README.md from the report's figures."""
    low_high = report["difference_ci95"]
    difference = _number(report["difference"], "{:+.3f}")
    if low_high is not None:
        difference += f", 95% interval [{low_high[0]:.3f}, {low_high[1]:.3f}]"
    warnings = report["verdict"]["warnings"]
    apart = json.loads((run.model / "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder", False)
    text = CARD.format(
        name=config.name,
        task="text2text-generation" if apart else "text-generation",
        auto="AutoModelForSeq2SeqLM" if apart else "AutoModelForCausalLM",
        base=json.dumps(config.policy.model),
        base_text=f"`{config.policy.model}`",
        train=config.policy.train,
        version=report["run"]["versions"]["rlhf-appliance"],
        reward=json.dumps(config.reward, ensure_ascii=False),
        sentence=report["verdict"]["sentence"],
        prompts=report["prompts"],
        samples=report["samples"],
        rows="\n".join(_row(report, *row) for row in ROWS),
        difference=difference,
        kl=_number(report["kl"], "{:.2f}"),
        warnings="".join(f"\nWarning: {warning}\n" for warning in warnings),
        prompt_source=config.prompts.source,
        config=to_yaml(config),
    )
    write_text(run.model / "README.md", text)


def _row(report: dict[str, Any], label: str, key: str, layout: str) -> str:
    return f"| {label} | {_number(report[key]['before'], layout)} | {_number(report[key]['after'], layout)} |"


def _number(value: float | None, layout: str) -> str:
    return "not known" if value is None else layout.format(value)
