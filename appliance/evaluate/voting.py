"""The numbers of a blind vote: who wins, how much raters agree with each other and with themselves, and what sways them.

Ranks are per response of an item, 1 best, equal for a tie. The unit of chance is the prompt, as in the report.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from appliance.evaluate.statistics import Interval, mean_interval, sign_test_p
from appliance.store.vote_records import VoteRecord


@dataclass(frozen=True)
class Share:
    """A count out of another; `p_value` is of the two-sided binomial test against one half, None where n is 0."""

    count: int
    n: int
    p_value: float | None

    @property
    def value(self) -> float | None:
        """count / n, or None."""
        return self.count / self.n if self.n else None


@dataclass(frozen=True)
class WinRate:
    """How often the trained model's answer was preferred; a tie counts half. Interval and p over prompts."""

    wins: int
    losses: int
    ties: int
    prompts: int
    rate: float
    ci95: Interval | None
    p_value: float  # sign test over prompts: is the rate of a prompt above or below one half?


@dataclass(frozen=True)
class Agreement:
    """Items with votes of at least two raters, the share of equal pairs of votes, and Krippendorff's alpha (nominal)."""

    items: int
    share: float | None
    alpha: float | None


@dataclass(frozen=True)
class Rater:
    """One rater of a batch."""

    user_id: int
    name: str
    votes: int
    skipped: int
    median_seconds: float
    repeats: Share  # repeats judged as the first time
    first_side: Share  # of decided votes, those for the answer that stood first
    longer: Share  # of decided votes between answers of different length, those for the longer
    with_others: Share  # pairs of votes with other raters on one item that are equal
    excluded: bool


def shares(count: int, n: int) -> Share:
    """`count` of `n` with its test against one half."""
    from scipy import stats

    return Share(count, n, float(stats.binomtest(count, n).pvalue) if n else None)


def win_rate(votes: Sequence[VoteRecord], *, trained: str = "after", start: str = "before") -> WinRate | None:
    """How answers of origin `trained` did against those of `start`; None when no vote compares the two."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    wins = losses = ties = 0
    for vote in _first_votes(votes):
        assert vote.ranks is not None
        for mine, mine_rank in zip(vote.origins, vote.ranks, strict=True):
            for other, other_rank in zip(vote.origins, vote.ranks, strict=True):
                if mine != trained or other != start:
                    continue
                wins += mine_rank < other_rank
                losses += mine_rank > other_rank
                ties += mine_rank == other_rank
                by_prompt[vote.prompt].append(1.0 if mine_rank < other_rank else 0.5 if mine_rank == other_rank else 0)
    if not by_prompt:
        return None
    means = np.array([fmean(values) for values in by_prompt.values()])  # [P]
    interval = mean_interval(means)
    return WinRate(wins, losses, ties, len(means), float(means.mean()), interval, sign_test_p(means - 0.5))


def agreement(votes: Sequence[VoteRecord]) -> Agreement:
    """How much raters agree, over items that at least two of them have judged; repeats and skips left out."""
    by_item = _by_item(votes)
    units = [list(given.values()) for given in by_item.values() if len(given) > 1]
    pairs = [(a, b) for unit in units for i, a in enumerate(unit) for b in unit[i + 1 :]]
    share = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
    return Agreement(len(units), share, krippendorff_alpha(units))


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Nominal alpha, 1 - observed / expected disagreement; each unit holds the values that its raters gave.

    Units with one value are left out. None without a unit, or where every value is the same (nothing to disagree on).
    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability, section C.
    """
    totals: dict[Hashable, int] = defaultdict(int)
    disagreeing = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        for value in unit:
            totals[value] += 1
        unequal = sum(a != b for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j)
        disagreeing += unequal / (len(unit) - 1)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    return 1 - (n - 1) * disagreeing / expected if expected else None


def raters(votes: Sequence[VoteRecord]) -> list[Rater]:
    """Every rater, the one with the most votes first."""
    by_item = _by_item(votes)
    mine: dict[int, list[VoteRecord]] = defaultdict(list)
    for vote in votes:
        mine[vote.user_id].append(vote)
    found = [_rater(given, by_item) for given in mine.values()]
    return sorted(found, key=lambda rater: (-rater.votes, rater.name))


def _rater(given: list[VoteRecord], by_item: dict[int, dict[int, tuple[int, ...]]]) -> Rater:
    user = given[0].user_id
    first = {vote.item_id: vote.ranks for vote in given if not vote.is_repeat}
    again = [(vote.ranks, first.get(vote.item_id)) for vote in given if vote.is_repeat]
    again = [(second, before) for second, before in again if second is not None and before is not None]
    others = [
        (ranks, theirs)
        for item, ranks in first.items()
        if ranks is not None
        for other, theirs in by_item.get(item, {}).items()
        if other != user
    ]
    return Rater(
        user_id=user,
        name=given[0].user_name,
        votes=len(given),
        skipped=sum(vote.choice == "skip" for vote in given),
        median_seconds=median(vote.seconds for vote in given),
        repeats=shares(sum(second == before for second, before in again), len(again)),
        first_side=first_side(given),
        longer=longer(given),
        with_others=shares(sum(mine == theirs for mine, theirs in others), len(others)),
        excluded=given[0].excluded,
    )


def first_side(votes: Iterable[VoteRecord]) -> Share:
    """Of the votes that prefer one of two answers, how many prefer the one that stood first."""
    decided = [vote for vote in votes if vote.choice in ("a", "b")]
    return shares(sum(vote.choice == "a" for vote in decided), len(decided))


def longer(votes: Iterable[VoteRecord]) -> Share:
    """Of the votes that prefer one of two answers of different length in characters, how many prefer the longer."""
    count = n = 0
    for vote in votes:
        if vote.ranks is None or len(vote.responses) != 2 or vote.ranks[0] == vote.ranks[1]:
            continue
        lengths = [len(text) for text in vote.responses]
        if lengths[0] != lengths[1]:
            n += 1
            count += (lengths[0] > lengths[1]) == (vote.ranks[0] < vote.ranks[1])
    return shares(count, n)


def _first_votes(votes: Iterable[VoteRecord]) -> list[VoteRecord]:
    return [vote for vote in votes if vote.ranks is not None and not vote.is_repeat and not vote.excluded]


def _by_item(votes: Iterable[VoteRecord]) -> dict[int, dict[int, tuple[int, ...]]]:
    """item -> rater -> ranks, of the votes that count."""
    found: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for vote in _first_votes(votes):
        assert vote.ranks is not None
        found[vote.item_id][vote.user_id] = vote.ranks
    return found
