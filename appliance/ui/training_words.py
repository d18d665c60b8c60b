"""How a training goes, in plain words: by rules, from its numbers, its limits and its state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.config import PpoConfig
from appliance.evaluate.verdict import number
from appliance.store.curves import Chart

NAMES = ("score_mean", "score_std", "eval_score_mean", "kl", "length_mean", "entropy", "ratio_mean",
         "score_length_correlation", "saturated_share", "loss", "accuracy", "mean_token_accuracy")  # fmt: skip
"""What the sentence is made from."""

CLEAR = 2.0
"""A change is clear when it is more than so many times what chance gives."""

ENDS = 10
"""So many steps at the start and at the end are averaged where there are no test prompts' scores."""

RATIO_LIMIT = 2.0
LONGER = 1.2

KEYS = {
    "optimizer.learning_rate": "learning rate",
    "kl.coef": "price of drift",
    "ppo.entropy_coef": "entropy bonus",
    "ppo.epochs": "passes over each batch",
    "ppo.stop_kl": "limit at which a step ends early",
    "sampling.response_tokens": "answer length",
    "scores.missing_eos": "penalty for answers that do not end",
    "scores.clip": "score limit",
    "compute: bf16": "bf16 precision",
}
"""Settings that alarms name, in words."""


@dataclass(frozen=True)
class Limits:
    """What the rules compare with; from the run's config."""

    kl: float = 20.0  # nats per answer
    entropy_share: float = 0.3
    length_correlation: float = 0.5
    saturated_share: float = 0.5
    answers: int = 128  # scored per step
    test_answers: int = 32

    @classmethod
    def of(cls, config: PpoConfig) -> Limits:
        """Those of a config."""
        alarms, held_out = config.alarms, config.evaluation
        return cls(
            kl=alarms.kl_nats_per_sequence,
            entropy_share=alarms.entropy_share,
            length_correlation=alarms.length_correlation,
            saturated_share=alarms.saturated_share,
            answers=config.batch.rollout,
            test_answers=held_out.prompts * held_out.samples,
        )


@dataclass(frozen=True)
class Headline:
    """kind: well, unclear, worse, drifting, careful, broken or early; and the sentence."""

    kind: str
    text: str


@dataclass(frozen=True)
class Change:
    """Of the score: before, now, what chance alone gives, and on which prompts."""

    before: float
    now: float
    chance: float
    where: str

    @property
    def by(self) -> float:
        """Now minus before."""
        return self.now - self.before

    @property
    def clear(self) -> bool:
        """Whether it is more than chance."""
        return abs(self.by) > CLEAR * self.chance


def change(points: Chart, limits: Limits) -> Change | None:
    """How the score changed: on the test prompts where they were scored twice, else over the first and last steps."""
    tested, trained = points.get("eval_score_mean", []), points.get("score_mean", [])
    spread = [value for _, value in points.get("score_std", [])]
    deviation = sum(spread) / len(spread) if spread else 0.0
    if len(tested) >= 2:
        chance = deviation * math.sqrt(2 / max(1, limits.test_answers))
        return Change(tested[0][1], tested[-1][1], chance, "on the test prompts ")
    most = min(ENDS, len(trained) // 2)
    if most < 2:
        return None
    before, after = (sum(value for _, value in part) / most for part in (trained[:most], trained[-most:]))
    return Change(before, after, deviation * math.sqrt(2 / (most * limits.answers)), "")


def ppo_headline(points: Chart, limits: Limits, *, broken: bool = False) -> Headline:
    """How a PPO training goes. points: of NAMES; broken: the newest step has a number that is not finite."""
    if broken:
        return Headline("broken", "Something is wrong: the newest step has numbers that are not finite. Stop it, and run "
                                  "it again with a lower learning rate.")  # fmt: skip
    if not points.get("kl"):
        return Headline("early", "Too early to say: the first step is not done yet.")
    drift = _mean_of_last(points["kl"])
    drifted = f"{number(drift)} nats per answer, the limit is {limits.kl:g}"
    moved = change(points, limits)
    if drift > limits.kl:
        return Headline("drifting", f"Drifting: the model is far from the starting model ({drifted}). The answers may have "
                                    "become strange: read the samples below. Run it again with a higher price of drift "
                                    "or a lower learning rate.")  # fmt: skip
    tail = f"Drift is {'high' if drift > limits.kl / 2 else 'normal'} ({drifted})."
    doubts = _doubts(points, limits)
    if doubts:
        rose = moved is not None and moved.clear and moved.by > 0
        begin = f"Careful: {_moved(moved)}, but " if rose and moved is not None else "Careful: "
        return Headline("careful", f"{begin}{'; '.join(doubts)}. Read the samples below. {tail}")
    if moved is None:
        return Headline("early", f"Too early to say: a few more steps are needed. {tail}")
    if not moved.clear:
        least = number(CLEAR * moved.chance)
        return Headline("unclear", f"Unclear so far: {_moved(moved)}; less than {least} can be chance. {tail}")
    if moved.by < 0:
        return Headline("worse", f"Getting worse: {_moved(moved)}. {tail} Run it again with a lower learning rate.")
    return Headline("well", f"Going well: {_moved(moved)}. {tail}")


def loss_headline(points: Chart) -> Headline:
    """How a supervised or a scorer's training goes: by its loss, the mean of the first and of the last tenth."""
    losses = [value for _, value in points.get("loss", [])]
    if len(losses) < 4:
        return Headline("early", "Too early to say: a few more steps are needed.")
    most = max(1, len(losses) // 10)
    before, after = sum(losses[:most]) / most, sum(losses[-most:]) / most
    right = points.get("accuracy") or points.get("mean_token_accuracy")
    told = f" It is right in {right[-1][1]:.0%} of the {_what_is_right(points)}." if right else ""
    if after < before:
        return Headline("well", f"Going well: the loss fell from {number(before)} to {number(after)}.{told}")
    return Headline("unclear", f"Unclear so far: the loss was {number(before)} and is {number(after)}.{told}")


def _what_is_right(points: Chart) -> str:
    return "comparisons it is trained on" if points.get("accuracy") else "words (tokens) it is trained on"


def _moved(moved: Change) -> str:
    verb = "rose" if moved.by > 0 else "fell"
    if number(moved.by) == "0":
        return f"the score {moved.where}did not change ({number(moved.now)})"
    return (
        f"the score {moved.where}{verb} by {number(abs(moved.by))} since the start "
        f"({number(moved.before)} to {number(moved.now)})"
    )


def _doubts(points: Chart, limits: Limits) -> list[str]:
    """What speaks against trusting a score that rises."""
    found = []
    entropy, length = points.get("entropy", []), points.get("length_mean", [])
    if entropy and _mean_of_last(entropy) < limits.entropy_share * entropy[0][1]:
        found.append(f"the model repeats itself (its entropy fell below {limits.entropy_share:.0%} of its first value)")
    together = points.get("score_length_correlation", [])
    grows = bool(length) and _mean_of_last(length) > LONGER * length[0][1]
    if grows and together and _mean_of_last(together) > limits.length_correlation:
        found.append("the answers grow, and longer ones score better: the scorer may pay for length")
    saturated = points.get("saturated_share", [])
    if saturated and _mean_of_last(saturated) > limits.saturated_share:
        found.append("most scores are at their limit or all alike: there is little left to learn from")
    ratio = points.get("ratio_mean", [])
    if len(ratio) > 1 and not 1 / RATIO_LIMIT < _mean_of_last(ratio) < RATIO_LIMIT:
        found.append("single steps are too large (the ratio is far from 1): a lower learning rate helps")
    return found


def _mean_of_last(series: Sequence[tuple[int, float]], most: int = 3) -> float:
    values = [value for _, value in series[-most:]]
    return sum(values) / len(values)
