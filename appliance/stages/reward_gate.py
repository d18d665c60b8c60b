"""The quality gate of a reward model: judged when it is trained, remembered in its folder, read before PPO uses it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.config.reward import QualityGate
from appliance.ppo.journal import Journal
from appliance.rewards.trained import SCALE_FILE

P_LIMIT = 0.05
FIX = "train a better reward model first (more or cleaner preferences), or watch the answers closely"


def judge_gate(figures: dict[str, Any], gate: QualityGate) -> dict[str, Any]:
    """{passed, reasons} of the held-out figures: a reason for each condition that is not met, with its numbers.

    Better than the longer response means: more often right, with p below P_LIMIT in the paired test over prompts.
    """
    reasons = []
    accuracy, longer = figures["held_out_accuracy"], figures["longer_wins_accuracy"]
    if accuracy < gate.min_accuracy:
        reasons.append(f"held-out accuracy {accuracy:.1%} is below {gate.min_accuracy:.1%}")
    if gate.beat_longer and accuracy <= longer:
        reasons.append(f"choosing the longer response is right in {longer:.1%}, the model in {accuracy:.1%}")
    elif gate.beat_longer and figures["longer_wins_p"] >= P_LIMIT:
        reasons.append(
            f"it is not shown to be better than choosing the longer response: {accuracy:.1%} against {longer:.1%}, "
            f"p = {figures['longer_wins_p']:.2f}"
        )
    if figures["held_out_pairs"] < gate.min_pairs:
        reasons.append(f"only {figures['held_out_pairs']} pairs were held out, fewer than {gate.min_pairs}")
    return {"passed": not reasons, "reasons": reasons}


def gate_warnings(reward_options: dict[str, Any]) -> list[str]:
    """A sentence for each `trained` source in a config's reward section, or inside a blend, that failed its gate.

    A model without a reward.json, or one without a verdict in it, gives none; hub ids are not looked up.
    """
    found = {}
    for model in _trained_models(reward_options):
        gate = _gate_of(model)
        if gate.get("passed") is False:
            reasons = "; ".join(map(str, gate.get("reasons") or ["no reason was kept"]))
            found[model] = f"the reward model {model} did not pass its quality gate: {reasons}"
    return list(found.values())


def warn_of_gate(reward_options: dict[str, Any], journal: Journal) -> None:
    """Shows each of `gate_warnings`, and enters it as an alarm, which the report repeats among its warnings."""
    for warning in gate_warnings(reward_options):
        journal.notice(f"warning: {warning}")
        alarm = {"name": "reward_gate", "what": warning, "fix": FIX}
        journal.run.append("events.jsonl", {"step": journal.at_step, "kind": "alarm"} | alarm)


def _trained_models(options: Any) -> Iterator[str]:
    """The models of all `trained` sources at any depth of a reward section."""
    if isinstance(options, dict):
        if options.get("source") == "trained" and isinstance(options.get("model"), str):
            yield options["model"]
        for value in options.values():
            yield from _trained_models(value)
    elif isinstance(options, list | tuple):
        for value in options:
            yield from _trained_models(value)


def _gate_of(model: str) -> dict[str, Any]:
    folder = Path(model).expanduser()
    for file in (folder / SCALE_FILE, folder / "model" / SCALE_FILE):
        if file.is_file():
            try:
                gate = json.loads(file.read_text(encoding="utf-8")).get("gate")
            except (OSError, ValueError, AttributeError):
                return {}  # the source itself says what is wrong with the file
            return gate if isinstance(gate, dict) else {}
    return {}
