"""Better, worse or no effect: one word, one sentence, and every reason not to trust it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.evaluate.statistics import INTERVAL_PROMPTS, Interval, Paired, Side

BETTER, WORSE, NO_EFFECT = "better", "worse", "no effect"
P_LIMIT = 0.01
ENOUGH_PROMPTS = 8
"""2 / 2^8 = 0.0078: with fewer prompts no two-sided signed-rank test reaches P_LIMIT."""
KL_NATS = 20.0
DISTINCT_SHARE = 0.5
VARIETY = 0.25
LENGTH_CHANGE = 0.5
LENGTH_CORRELATION = 0.5
ENDED_DROP = 0.15
PERPLEXITY_FACTOR = 10.0


@dataclass(frozen=True)
class Outcome:
    """BETTER, WORSE or NO_EFFECT; the sentence that says so with its numbers; what speaks against trusting it."""

    word: str
    sentence: str
    warnings: list[str]


def judge(
    scores: Paired,
    before: Side,
    after: Side,
    *,
    kl: float,
    opinion: Paired | None = None,
    events: Sequence[dict[str, Any]] = (),
) -> Outcome:
    """The outcome of a comparison. kl: nats per response; opinion: the second opinion's scores; events: of the run."""
    found = word(scores)
    warnings = [
        *_few_prompts(scores.prompts),
        *_opinion(scores, opinion),
        *_behaviour(before, after, kl),
        *_alarms(events),
    ]
    return Outcome(found, _sentence(found, scores, kl, len(warnings)), warnings)


def word(scores: Paired) -> str:
    """BETTER if p < P_LIMIT and the interval of the mean difference lies above 0, WORSE if below; else NO_EFFECT."""
    if scores.p_value >= P_LIMIT or scores.difference_ci95 is None:
        return NO_EFFECT
    low, high = scores.difference_ci95
    return BETTER if low > 0 else WORSE if high < 0 else NO_EFFECT


def agrees(scores: Paired, opinion: Paired) -> bool:
    """False if the second opinion points the other way: clearly, or at all where the reward is clear."""
    reward, other = word(scores), word(opinion)
    if reward == BETTER:
        return opinion.difference > 0
    if reward == WORSE:
        return other != BETTER
    return other != WORSE


def _sentence(found: str, scores: Paired, kl: float, warnings: int) -> str:
    numbers = f"mean reward {signed(scores.difference)}{_bracket(scores.difference_ci95)} ({p_text(scores.p_value)})"
    drift = f"KL {number(kl)} nats"
    all_of = f"of {count(scores.prompts, 'prompt')}"
    if found == BETTER:
        trust = f"but read the {count(warnings, 'warning')}" if warnings else "no sign of reward hacking"
        return f"{BETTER}: {scores.improved} {all_of} improved, {numbers}, {drift}, {trust}"
    if found == WORSE:
        return f"{WORSE}: {scores.worse} {all_of} got worse, {numbers}, {drift}"
    if scores.tied == scores.prompts:
        return f"{NO_EFFECT}: nothing improved, {all_of.removeprefix('of ')} scored the same before and after, {drift}"
    moved = f"{scores.improved} {all_of} improved and {scores.worse} got worse"
    if scores.improved == 0:
        moved = f"nothing improved, {scores.worse} {all_of} got worse"
    if scores.prompts < ENOUGH_PROMPTS:
        return (
            f"{NO_EFFECT}: too few prompts to tell ({scores.prompts} of at least {ENOUGH_PROMPTS}), {moved}, {numbers}"
        )
    return f"{NO_EFFECT}: {moved}, {numbers}, which chance explains well enough, {drift}"


def _few_prompts(prompts: int) -> Iterator[str]:
    if prompts < ENOUGH_PROMPTS:
        yield (
            f"only {count(prompts, 'prompt')}: with fewer than {ENOUGH_PROMPTS} no change can be told from chance "
            f"(p < {P_LIMIT:g} is out of reach)"
        )
    if prompts < INTERVAL_PROMPTS:
        yield f"no intervals are given: they need at least {INTERVAL_PROMPTS} prompts to resample"


def _opinion(scores: Paired, opinion: Paired | None) -> Iterator[str]:
    if opinion is None or agrees(scores, opinion):
        return
    yield (
        f"the second opinion disagrees: the reward changed by {signed(scores.difference)}, the second opinion by "
        f"{signed(opinion.difference)}{_bracket(opinion.difference_ci95)} ({p_text(opinion.p_value)})"
    )


def _behaviour(before: Side, after: Side, kl: float) -> Iterator[str]:
    if kl > KL_NATS:
        yield f"the result drifted far from the starting policy: KL {number(kl)} nats per response, over {KL_NATS:g}"
    if after.distinct_2 < DISTINCT_SHARE * before.distinct_2:
        yield (
            f"the wording became poorer: distinct word pairs fell from {before.distinct_2:.2f} to {after.distinct_2:.2f}"
        )
    if after.variety <= min(VARIETY, before.variety / 2):
        yield "the answers are nearly all the same text" if after.variety else "the answers are all the same text"
    change = after.length_tokens / before.length_tokens - 1 if before.length_tokens else 0.0
    direction = 1 if change > 0 else -1
    correlation = max((side.score_length_correlation for side in (before, after)), key=lambda r: direction * r)
    if abs(change) > LENGTH_CHANGE and direction * correlation > LENGTH_CORRELATION:
        longer = "longer" if change > 0 else "shorter"
        yield (
            f"{longer} answers score better (correlation {correlation:.2f}) and the length went from "
            f"{before.length_tokens:.1f} to {after.length_tokens:.1f} tokens: the reward may pay for length"
        )
    if after.ended_share < before.ended_share - ENDED_DROP:
        yield f"fewer answers end by themselves: {after.ended_share:.0%}, before {before.ended_share:.0%}"
    if before.perplexity and after.perplexity and after.perplexity > PERPLEXITY_FACTOR * before.perplexity:
        yield (
            f"the starting model finds the answers unlikely: perplexity {after.perplexity:.3g}, "
            f"before {before.perplexity:.3g}"
        )


def _alarms(events: Sequence[dict[str, Any]]) -> Iterator[str]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event["kind"] == "alarm":
            by_name.setdefault(event["name"], []).append(event)
    for alarms in by_name.values():
        often = "" if len(alarms) == 1 else f" (and {len(alarms) - 1} times more)"
        yield f"alarm at step {alarms[0]['step']}{often}: {alarms[0]['what']}"


def number(value: float) -> str:
    """Two decimals, or two digits where those would hide it: 4.20, 0.0031, 12,345."""
    if abs(value) < 1e-9:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def signed(value: float) -> str:
    """`number` with its sign: +2.10, -0.30; 0 has none."""
    return f"+{number(value)}" if value > 0 and number(value) != "0" else number(value)


def interval(value: Interval | None) -> str:
    """[1.81, 2.38], or an empty text without an interval."""
    return f"[{number(value[0])}, {number(value[1])}]" if value is not None else ""


def _bracket(value: Interval | None) -> str:
    return f" {interval(value)}" if value is not None else ""


def p_text(p: float) -> str:
    """p = 0.85, p = 0.0041, p = 0.00006, p < 0.000001: never rounded to 0, never in powers of ten."""
    if p < 1e-6:
        return "p < 0.000001"
    if p >= 0.001:
        return f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.2g}"
    return f"p = {p:.{next(d for d in (4, 5, 6) if p >= 10**-d)}f}"


def count(n: int, noun: str) -> str:
    """1 prompt, 15 prompts."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """42 s, 3 min 20 s, 1 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
