"""What the Training tab says around its headline: the state in words, the card at the end, events and their fixes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from appliance.evaluate.verdict import count, number, signed
from appliance.store.causes import CAUSES
from appliance.store.schema import Event
from appliance.ui.markdown import plain
from appliance.ui.training import Now
from appliance.ui.training_words import KEYS, Headline


def told(now: Now, going: Headline) -> str:
    """The headline for the run's state, as Markdown. going: how the numbers look."""
    run = now.run
    if now.state == "queued":
        return _queued(now)
    if now.state == "starting":
        return "### Starting\n\nThe first numbers come when the models are loaded and have answered once."
    if now.state == "running":
        return f"### {going.text}\n\nTraining goes on without this page. Close it any time."
    if now.state == "stalled":
        usual = f" A step usually takes {number(now.usual_s)} seconds." if now.usual_s else ""
        worker = "" if now.worker else " The worker does not answer: start it with `appliance worker`."
        return (
            f"### Standing still: no step for a while\n\n{going.text}{usual}{worker} Look at the end of the log below. "
            "If nothing moves, stop it and continue: it goes on from its last checkpoint."
        )
    if now.state == "stopping":
        return "### Stopping: it finishes what it is at, and saves\n\nThis takes up to two minutes. Nothing is lost."
    if now.state == "stopped":
        kept = f" Its progress is kept: step {now.checkpoint:,}." if now.checkpoint else ""
        until = f" Until then: {going.text[:1].lower()}{going.text[1:]}" if now.newest else ""
        return f"### Stopped at step {run.step:,} of {run.steps:,}\n\n{_sentence(run.message)}{kept}{until}"
    if now.state == "interrupted":
        onward = f"from step {now.checkpoint:,}" if now.checkpoint else "from the beginning"
        return f"### Interrupted\n\n{_sentence(run.message)} Nothing before is lost: it can go on {onward}."
    if now.state == "failed":
        return f"### Failed: {CAUSES.get(run.cause or '', 'it ended with an error')}"
    return f"### Done\n\n{result(run.stage, run.result)}"


def _queued(now: Now) -> str:
    why = f"{plain(now.waits_for)} is at work, and one run is trained at a time" if now.waits_for else "it is next"
    if not now.worker:
        why = "no worker is running. Start it with: `appliance worker`"
    before = _sentence(now.run.message) + " " if now.run.message else ""
    return f"### Waiting: place {now.place or 1} in the queue\n\n{before}Why it waits: {why}."


def _sentence(text: str | None) -> str:
    """Escaped, with a capital letter and a full stop; nothing of nothing."""
    words = plain(text or "")
    return words[:1].upper() + words[1:] + ("" if not words or words.endswith((".", "!", "?")) else ".")


def card(now: Now, retry: str | None) -> str:
    """What stands below the headline: why a run failed and what to do, or why it cannot be stopped from here."""
    if now.from_command_line:
        return "It was started from the command line: stop it there with Ctrl-C. It saves first."
    if now.state == "failed" or retry:
        return failure(now, retry)
    return ""


def failure(now: Now, retry: str | None) -> str:
    """What happened and what to do. retry: what the retry changes, in words."""
    run = now.run
    lines = [
        f"**What happened:** {_sentence(run.message) or 'it ended without a word; the end of the log may say more.'}"
    ]
    if run.fix:
        lines.append(f"**What to do:** {_sentence(run.fix)}")
    if retry:
        lines.append(f"**Retry with this fix:** {retry}")
    if now.checkpoint:
        lines.append(f"Its progress is kept: step {now.checkpoint:,}.")
    return "\n\n".join(lines)


def result(stage: str, found: dict[str, Any] | None) -> str:
    """The card of a finished run, from what the store keeps of its report."""
    if not found:
        return "The training has ended. Its report is not here."
    if stage == "reward" and "held_out_accuracy" in found:
        return (
            f"It agrees with people on **{found['held_out_accuracy']:.0%}** of "
            f"{count(found.get('held_out_pairs', 0), 'comparison')} that it has not seen. Guessing gives 50 %."
        )
    if stage == "sft" and "held_out_loss" in found:
        return f"Loss on texts that it has not seen: **{number(found['held_out_loss'])}**. Lower is better."
    if "verdict" not in found:
        return "The training has ended."
    word, total = found["verdict"]["word"], count(found.get("prompts", 0), "test prompt")
    improved, worse = found.get("improved", 0), found.get("worse", 0)
    said = {
        "better": f"**Better: answers improved on {improved} of {total}.**",
        "worse": f"**Worse: answers got worse on {worse} of {total}.**",
    }.get(word, f"**No clear effect: {improved} of {total} improved, {worse} got worse.**")
    mean = found.get("mean_reward") or {}
    if {"before", "after"} <= mean.keys():
        said += f" Mean score {number(mean['before'])} before, {number(mean['after'])} after ({signed(found['difference'])})."
    return said + " The Compare tab shows the answers side by side."


def event_lines(events: Sequence[Event], most: int = 20) -> str:
    """What happened, latest first, as a Markdown list; alarms say what to do. One that came at many steps is told once."""
    if not events:
        return "Nothing out of the ordinary so far."
    groups: dict[object, list[Event]] = {}
    for event in events:
        alike = re.sub(r"[\d.,]+", "#", event.what) if event.kind == "alarm" else event.number
        groups.setdefault(alike, []).append(event)
    shown = list(groups.values())[:most]
    lines = [_event_line(group) for group in shown]
    rest = len(events) - sum(map(len, shown))
    return "\n".join([*lines, f"- and {rest} earlier."] if rest else lines)


def _event_line(group: list[Event]) -> str:
    """The latest of the events that are alike, and how often there were such."""
    event = group[0]
    place = f"Step {event.step:,}: " if event.step else ""
    todo = _sentence(in_words(event.fix)) if event.fix else ""
    if event.kind != "alarm":
        return f"- {place}{plain(event.what)}.{f' {todo}' if todo else ''}"
    often = f" So at {len(group)} steps since step {group[-1].step:,}." if len(group) > 1 else ""
    return f"- **Alarm.** {place}{_sentence(event.what)}{often}{f' **What to do:** {todo}' if todo else ''}"


def in_words(fix: str) -> str:
    """An alarm's advice with its settings in words, their keys in brackets: they are found under More settings."""
    for key, words in KEYS.items():
        fix = fix.replace(key, f"{words} ({key})")
    return fix
