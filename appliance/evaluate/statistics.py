"""The numbers of a before/after comparison: paired over prompts, exact where scipy is, the same on every call.

A prompt's score is the mean over its samples. Everything is paired: prompt by prompt, the same random numbers on both
sides. The unit of chance is the prompt, so every interval resamples whole prompts and never single answers.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.data.ngrams import distinct
from appliance.evaluate.records import Answers, flat

Array = NDArray[np.float64]
Interval = tuple[float, float]
TIE = 1e-9
"""Two scores nearer than this are equal."""
DECIMALS = 12
"""Kept of a difference and its interval, so that what is equal but for rounding errors is equal."""
INTERVAL_PROMPTS = 3
"""With fewer prompts there is nothing to resample."""
RESAMPLES = 9999
SEED = 20240229


@dataclass(frozen=True)
class Paired:
    """What one score says of a comparison; `before` and `after` are over all P * S answers."""

    prompts: int
    improved: int
    worse: int
    tied: int
    p_value: float  # Wilcoxon signed-rank, two-sided
    sign_test_p: float
    mean_before: float
    mean_after: float
    median_before: float
    median_after: float
    std_before: float  # of all P * S answers, around their mean
    std_after: float
    difference: float  # mean_after - mean_before
    difference_ci95: Interval | None
    median_difference: float  # median_after - median_before
    median_difference_ci95: Interval | None


@dataclass(frozen=True)
class Side:
    """What one side's answers are like, whatever they score."""

    distinct_1: float
    distinct_2: float
    length_tokens: float
    ended_share: float
    perplexity: float | None  # under the starting model; None: no tokens at all
    variety: float  # 0: all answers are one text, 1: no two are alike
    score_length_correlation: float


def paired(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> Paired:
    """Every paired number of two [P][S] tables of scores."""
    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)  # [P, S]
    differences = prompt_differences(old, new)
    return Paired(
        prompts=len(differences),
        improved=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        tied=int((differences == 0).sum()),
        p_value=wilcoxon_p(differences),
        sign_test_p=sign_test_p(differences),
        mean_before=float(old.mean()),
        mean_after=float(new.mean()),
        median_before=float(np.median(old)),
        median_after=float(np.median(new)),
        std_before=float(old.std()),
        std_after=float(new.std()),
        difference=round(float(new.mean() - old.mean()), DECIMALS),
        difference_ci95=mean_interval(differences),
        median_difference=round(float(np.median(new) - np.median(old)), DECIMALS),
        median_difference_ci95=median_interval(old, new),
    )


def prompt_differences(before: Array, after: Array) -> Array:
    """d_p = mean_s(after_ps) - mean_s(before_ps), [P]; exactly 0 within TIE, and differences nearer than TIE are equal."""
    differences: Array = np.round(after.mean(axis=1) - before.mean(axis=1), 9) + 0.0  # + 0: no -0
    return differences


def wilcoxon_p(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of differences [P]: is their distribution symmetric around 0?

    Zeros are dropped; with none left p is 1. Exact up to 50 prompts without equal differences; with equal ones exact
    up to 13, the normal approximation beyond. Source: scipy.stats.wilcoxon.
    """
    from scipy import stats

    moved = differences[differences != 0]
    if len(moved) == 0:
        return 1.0
    return float(stats.wilcoxon(moved, zero_method="wilcox", alternative="two-sided", method="auto").pvalue)


def sign_test_p(differences: Array) -> float:
    """Two-sided p of the sign test: improved ~ Binomial(improved + worse, 1/2); ties dropped, 1 if all are."""
    from scipy import stats

    improved, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return float(stats.binomtest(improved, improved + worse, 0.5).pvalue) if improved + worse else 1.0


def mean_interval(values: Array) -> Interval | None:
    """95% interval of the mean of one number per prompt, [P]; None for fewer than INTERVAL_PROMPTS."""

    def mean(picked: NDArray[np.intp]) -> Array:
        means: Array = values[picked].mean(axis=-1)
        return means

    return prompt_interval(mean, len(values))


def median_interval(before: Array, after: Array) -> Interval | None:
    """95% interval of median(after) - median(before) over all answers, both [P, S]; whole prompts are resampled."""

    def difference(picked: NDArray[np.intp]) -> Array:
        shape = (*picked.shape[:-1], -1)
        old, new = (np.median(side[picked].reshape(shape), axis=-1) for side in (before, after))
        change: Array = new - old
        return change

    return prompt_interval(difference, len(before))


def prompt_interval(statistic: Callable[[NDArray[np.intp]], Array], prompts: int) -> Interval | None:
    """95% BCa bootstrap interval of `statistic(numbers of the prompts [..., P]) -> [...]`; None for too few prompts.

    Where BCa is not defined (every resample the same, or every prompt of the same influence) it is the percentile
    interval, which is a point if nothing varies. Source: Efron 1987, by scipy.stats.bootstrap with a fixed seed.
    """
    from scipy import stats

    if prompts < INTERVAL_PROMPTS:
        return None

    def of_numbers(numbers: Array, axis: int) -> Array:
        return np.round(statistic(np.moveaxis(numbers, axis, -1).astype(np.intp)), DECIMALS)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns where BCa is not defined; that case is looked at below
        found = stats.bootstrap(
            (np.arange(prompts),),
            of_numbers,
            n_resamples=RESAMPLES,
            batch=1000,
            vectorized=True,
            method="BCa",
            rng=np.random.default_rng(SEED),
        )
    low, high = found.confidence_interval
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = np.percentile(found.bootstrap_distribution, [2.5, 97.5])
    return float(low), float(high)


def side(answers: Answers) -> Side:
    """Variety, length and likelihood of one side's answers."""
    texts, tokens = list(flat(answers.texts)), list(flat(answers.tokens))
    return Side(
        distinct_1=distinct(texts, 1),
        distinct_2=distinct(texts, 2),
        length_tokens=float(np.mean(tokens)),
        ended_share=float(np.mean(list(flat(answers.ended)))),
        perplexity=perplexity(list(flat(answers.start_nll)), tokens),
        variety=variety(texts),
        score_length_correlation=correlation(list(flat(answers.scores)), tokens),
    )


def variety(texts: Sequence[str]) -> float:
    """(different texts - 1) / (texts - 1), space around a text ignored: 0 if all are alike, 1 if none are; 1 for one."""
    return (len({text.strip() for text in texts}) - 1) / (len(texts) - 1) if len(texts) > 1 else 1.0


def perplexity(nll: Sequence[float], tokens: Sequence[int]) -> float | None:
    """exp(sum(nll) / sum(tokens)), nll in nats per response; None without tokens."""
    total = sum(tokens)
    return math.exp(min(sum(nll) / total, 700.0)) if total else None  # e^700 is near the largest double


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation of two equally long lists; 0 when either does not vary or there are fewer than three."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if len(x) > 2 and norm > TIE else 0.0


def middle(values: Sequence[float]) -> int:
    """Where the median is; of an even number of values, where the lower of the middle two is."""
    return sorted(range(len(values)), key=lambda i: values[i])[(len(values) - 1) // 2]
