"""How good a reward model is, by its scores of held-out rankings: accuracy, calibration, and what it gets wrong.

Pairs of one prompt are not independent, so the prompt is the unit of chance: the sign tests count prompts, and the
intervals are as wide as the spread over prompts makes them. With one pair a prompt they are the usual ones: Wilson's
interval, the exact binomial test, McNemar's exact test. Ties in the rankings are no pairs; they are counted apart.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.data.preferences import Ranking
from appliance.evaluate.statistics import Array, Interval, correlation, sign_test_p

Z95 = 1.959963984540054
BINS = 10
WORST = 10


@dataclass(frozen=True)
class ScoredPair:
    """Two responses of a held-out ranking, the better one first, with the model's own scores, not normalized."""

    key: str  # pairs of one key share a prompt
    prompt: str
    chosen: str
    rejected: str
    chosen_score: float
    rejected_score: float

    @property
    def margin(self) -> float:
        """Above 0 where the model agrees."""
        return self.chosen_score - self.rejected_score


def scored_pairs(
    rankings: Sequence[Ranking], keys: Sequence[str], scores: Sequence[Sequence[float]]
) -> tuple[list[ScoredPair], list[ScoredPair]]:
    """Every two responses of each ranking: those of which one is better, and those that are ties."""
    pairs, ties = [], []
    for ranking, key, found in zip(rankings, keys, scores, strict=True):
        responses = list(zip(ranking.responses, ranking.ranks, found, strict=True))
        for one, other in combinations(responses, 2):
            better, worse = (one, other) if one[1] <= other[1] else (other, one)
            pair = ScoredPair(key, ranking.prompt, better[0], worse[0], better[2], worse[2])
            (ties if one[1] == other[1] else pairs).append(pair)
    return pairs, ties


def measure(pairs: Sequence[ScoredPair], ties: Sequence[ScoredPair] = ()) -> dict[str, Any]:
    """Every figure of the held-out pairs, of which there must be one; plain numbers, and None where one is not defined."""
    margin = np.array([pair.margin for pair in pairs])
    groups = np.unique([pair.key for pair in pairs], return_inverse=True)[1]
    right = np.where(margin > 0, 1.0, np.where(margin == 0, 0.5, 0.0))
    longer = np.array([_longer(pair) for pair in pairs])
    prompts = int(groups.max()) + 1
    predicted = 1 / (1 + np.exp(-np.clip(np.abs(margin), 0, 700)))
    bins = calibration(predicted, np.where(margin == 0, 0.5, margin > 0))
    scores = {(p.prompt, text): score for p in (*pairs, *ties) for text, score in _sides(p)}
    lengths = [len(text) for _, text in scores]
    return {
        "held_out_pairs": len(pairs),
        "held_out_prompts": prompts,
        "held_out_accuracy": float(right.mean()),
        "held_out_accuracy_ci95": list(wilson(float(right.mean()), effective_pairs(right, groups))),
        "effective_pairs": effective_pairs(right, groups),
        "chance_p": sign_test_p(per_group(right - 0.5, groups)),
        "longer_wins_accuracy": float(longer.mean()),
        "longer_wins_difference": float((right - longer).mean()),
        "longer_wins_difference_ci95": mean_interval(right - longer, groups),
        "longer_wins_p": sign_test_p(per_group(right - longer, groups)),
        "held_out_loss": float(np.logaddexp(0, -margin).mean()),
        "brier": float(((1 - 1 / (1 + np.exp(-np.clip(margin, -700, 700)))) ** 2).mean()),
        "ece": float(sum(b["pairs"] * abs(b["predicted"] - b["observed"]) for b in bins) / len(pairs)),
        "calibration": bins,
        "score_length_correlation": correlation(list(scores.values()), lengths),
        "margin_length_correlation": correlation(
            margin.tolist(), [len(pair.chosen) - len(pair.rejected) for pair in pairs]
        ),
        "ties": _ties(ties, margin) if ties else None,
    }


def _sides(pair: ScoredPair) -> list[tuple[str, float]]:
    return [(pair.chosen, pair.chosen_score), (pair.rejected, pair.rejected_score)]


def _longer(pair: ScoredPair) -> float:
    """What choosing the longer text (in characters) gets: 1, 0, or a half when both are of one length."""
    chosen, rejected = len(pair.chosen), len(pair.rejected)
    return 0.5 if chosen == rejected else float(chosen > rejected)


def _ties(ties: Sequence[ScoredPair], margin: Array) -> dict[str, float]:
    """How far apart the model puts what the raters put level, beside how far apart it puts the other pairs."""
    gaps = np.abs([pair.margin for pair in ties])
    return {
        "pairs": len(ties),
        "mean_gap": float(gaps.mean()),
        "mean_gap_of_other_pairs": float(np.abs(margin).mean()),
        "told_apart_share": float((gaps > math.log(3)).mean()),  # sigmoid(log 3) = 0.75
    }


def wilson(share: float, n: float) -> Interval:
    """Wilson's 95% interval of a share of n, which need not be whole. Source: Wilson 1927."""
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective_pairs(right: Array, groups: NDArray[np.intp]) -> float:
    """As many independent pairs would say as much as these, of which some share a prompt: n over the design effect.

    The design effect is the variance of the mean by groups over that by single pairs, and at least 1: pairs of a prompt
    that are always right or wrong together count once. Where it cannot be told (all pairs alike, or one prompt) every
    prompt counts as one pair. Source: Kish 1965; Dean and Pagano 2015.
    """
    count, prompts = len(right), int(groups.max()) + 1
    off = right - right.mean()
    if prompts == count:
        return float(count)
    if prompts == 1 or not off.any():
        return float(prompts)
    by_group, by_pair = float((np.bincount(groups, off) ** 2).sum()), float((off**2).sum())
    return count * min(1.0, max(1 / count, by_pair / by_group)) if by_group > 0 else float(count)


def mean_interval(values: Array, groups: NDArray[np.intp]) -> list[float] | None:
    """95% interval of the mean of values within -1..1, from the spread over groups (t, G - 1); None for one group."""
    from scipy import stats

    count, prompts = len(values), int(groups.max()) + 1
    if prompts < 2:
        return None
    sums = np.bincount(groups, values - values.mean())
    error = math.sqrt(prompts / (prompts - 1) * float((sums**2).sum())) / count
    half = float(stats.t.ppf(0.975, prompts - 1)) * error
    middle = float(values.mean())
    return [max(-1.0, middle - half), min(1.0, middle + half)]


def per_group(values: Array, groups: NDArray[np.intp]) -> Array:
    """The mean of each group's values, [G], rounded so that what is 0 but for rounding errors is 0."""
    means: Array = np.round(np.bincount(groups, values) / np.bincount(groups), 9)
    return means


def calibration(predicted: Array, observed: Array) -> list[dict[str, float]]:
    """BINS equal bins over 0.5..1 of the predicted share, those that hold a pair: what was predicted, what was observed.

    Predicted is sigmoid(|difference of the scores|): how sure the model is of the one that it scores higher. Observed is
    how often that one was chosen.
    """
    places = np.minimum(((predicted - 0.5) * 2 * BINS).astype(int), BINS - 1)
    found = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            low = 0.5 + place / (2 * BINS)
            share, pairs = float(np.mean(observed[inside])), int(inside.sum())
            found.append(
                {
                    "low": low,
                    "high": low + 1 / (2 * BINS),
                    "pairs": pairs,
                    "predicted": float(predicted[inside].mean()),
                    "observed": share,
                    "observed_ci95": list(wilson(share, pairs)),
                }
            )
    return found


def worst(pairs: Sequence[ScoredPair], count: int = WORST) -> list[dict[str, Any]]:
    """The pairs that the model gets wrong by most, the worst first; none that it gets right."""
    wrong = sorted((pair for pair in pairs if pair.margin < 0), key=lambda pair: pair.margin)
    shown = ({name: value for name, value in asdict(pair).items() if name != "key"} for pair in wrong[:count])
    return [found | {"margin": found["chosen_score"] - found["rejected_score"]} for found in shown]
