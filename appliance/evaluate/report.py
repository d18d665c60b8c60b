"""The report of a run: one comparison as figures (report.json), as a page and as five lines of text."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from appliance.evaluate import statistics
from appliance.evaluate.page import to_html
from appliance.evaluate.records import Comparison
from appliance.evaluate.statistics import Paired
from appliance.evaluate.verdict import agrees, count, duration, interval, judge, number, p_text, signed
from appliance.store.files import explained, write_json, write_text

SCHEMA = 1
LINE_WIDTH = 160
SIDE_FIGURES = ("distinct_1", "distinct_2", "length_tokens", "ended_share", "perplexity")


def build(
    comparison: Comparison,
    *,
    metrics: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    seconds: dict[str, float],
    run: dict[str, Any],
) -> dict[str, Any]:
    """report.json's content: plain values only, and null where there is no finite number.

    metrics and events are the rows of the run's logs; seconds are wall-clock per stage, `total` is added; run says what
    was trained: name, model, reward (text, or its section with `source`), seed, steps, versions, config (YAML), ...
    """
    before, after = comparison.before, comparison.after
    scores = statistics.paired(before.scores, after.scores)
    opinion = None
    if before.opinion is not None and after.opinion is not None:
        opinion = statistics.paired(before.opinion, after.opinion)
    sides = {"before": statistics.side(before), "after": statistics.side(after)}
    drift = np.asarray(after.kl, dtype=float).mean(axis=1)  # [P]
    kl = float(drift.mean())
    outcome = judge(scores, sides["before"], sides["after"], kl=kl, opinion=opinion, events=events)
    old, new = (np.asarray(side.scores, dtype=float).mean(axis=1) for side in (before, after))
    figures = {
        "schema": SCHEMA,
        "prompts": scores.prompts,
        "samples": comparison.samples,
        "improved": scores.improved,
        "worse": scores.worse,
        "tied": scores.tied,
        "p_value": scores.p_value,
        "sign_test_p": scores.sign_test_p,
        "mean_reward": {"before": scores.mean_before, "after": scores.mean_after},
        "median_reward": {"before": scores.median_before, "after": scores.median_after},
        "reward_std": {"before": scores.std_before, "after": scores.std_after},
        "difference": scores.difference,
        "difference_ci95": scores.difference_ci95,
        "median_difference": scores.median_difference,
        "median_difference_ci95": scores.median_difference_ci95,
        "kl": kl,
        "kl_ci95": statistics.mean_interval(drift),
        **{name: {side: getattr(of, name) for side, of in sides.items()} for name in SIDE_FIGURES},
        "second_opinion": None if opinion is None else _second_opinion(scores, opinion),
        "verdict": asdict(outcome),
        "seconds": {**seconds, "total": sum(value for name, value in seconds.items() if name != "total")},
        "steps": max((row["step"] for row in metrics), default=0),
        "events": list(events),
        "per_prompt": [
            {"prompt": prompt, "before": b, "after": a, "difference": a - b}
            for prompt, b, a in zip(comparison.prompts, old, new, strict=True)
        ],
        "example": _example(comparison, new - old),
        "run": run,
    }
    plain: dict[str, Any] = _plain(figures)
    return plain


def _second_opinion(scores: Paired, opinion: Paired) -> dict[str, Any]:
    return {
        "before": opinion.mean_before,
        "after": opinion.mean_after,
        "std": {"before": opinion.std_before, "after": opinion.std_after},
        "difference": opinion.difference,
        "difference_ci95": opinion.difference_ci95,
        "p_value": opinion.p_value,
        "improved": opinion.improved,
        "agrees": agrees(scores, opinion),
    }


def _example(comparison: Comparison, differences: statistics.Array) -> dict[str, Any]:
    """The prompt of the middle change in score, and each side's answer of the middle score to it."""
    chosen = statistics.middle(differences.tolist())
    texts = {
        name: side.texts[chosen][statistics.middle(side.scores[chosen])]
        for name, side in (("before", comparison.before), ("after", comparison.after))
    }
    return {"prompt": comparison.prompts[chosen]} | texts


def _plain(value: Any) -> Any:
    """The same as dicts, lists, texts and Python's own numbers; a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write(folder: Path, report: dict[str, Any], comparison: Comparison, metrics: Sequence[dict[str, Any]]) -> None:
    """Write report.json, samples.json (all answers) and report.html into `folder`. Raises ApplianceError as files do."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "samples.json", comparison.to_json())
    write_json(folder / "report.json", report)
    write_text(folder / "report.html", to_html(report, comparison, metrics))


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Five lines of at most LINE_WIDTH characters: what was done, verdict, numbers, caution, an example."""
    run, mean, verdict, example = report["run"], report["mean_reward"], report["verdict"], report["example"]
    prompts = count(report["prompts"], "prompt")
    if report["second_opinion"] is None:
        opinion = "no second opinion was asked"
    else:
        agreeing = "agrees" if report["second_opinion"]["agrees"] else "disagrees"
        opinion = f"the second opinion {agreeing} ({signed(report['second_opinion']['difference'])})"
    warnings = verdict["warnings"]
    trouble = f"{count(len(warnings), 'warning')}, first: {warnings[0]}" if warnings else "no warnings"
    lines = (
        f"What: PPO on {short_name(run.get('model', 'a model'))}, {count(report['steps'], 'step')}, "
        f"reward {reward_name(run.get('reward', 'not named'))}, {duration(report['seconds']['total'])}; "
        f"{prompts} x {count(report['samples'], 'answer')} compared.",
        f"Verdict: {verdict['word']}. {report['improved']} of {prompts} improved, {report['worse']} got worse, "
        f"{report['tied']} stayed the same.",
        f"Mean reward: {number(mean['before'])} before, {number(mean['after'])} after, change "
        f"{signed(report['difference'])}{interval_text(report['difference_ci95'])}, {p_text(report['p_value'])}.",
        f"Caution: KL {number(report['kl'])} nats per answer; {opinion}; {trouble}",
        f'Example "{shorten(example["prompt"], 34)}": before "{shorten(example["before"], 46)}", '
        f'after "{shorten(example["after"], 46)}"',
    )
    return [shorten(line, LINE_WIDTH) for line in lines]


def shorten(text: str, width: int) -> str:
    """The text on one line, of at most `width` characters; what cannot be printed is left out (a model wrote it)."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def short_name(model: str) -> str:
    """A hub id as it is; of a folder's path the last part."""
    if model.count("/") <= 1 and not model.startswith((".", "/")):
        return model
    folder = Path(model)
    return folder.parent.name if folder.name == "model" else folder.name  # a run keeps its result in `model`


def reward_name(reward: Any) -> str:
    """The name of the reward source of a config's section, those of a blend with it, or the text itself."""
    if not isinstance(reward, dict):
        return str(reward)
    inner = [str(section.get("name") or section.get("source")) for section in reward.get("sources") or ()]
    return f"{reward['source']} of {', '.join(inner)}" if inner else str(reward["source"])


def interval_text(value: Sequence[float] | None) -> str:
    """ ", 95% interval [1.81, 2.38]", or nothing without one."""
    return f", 95% interval {interval((value[0], value[1]))}" if value is not None else ""
