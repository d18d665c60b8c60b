"""One type for all preference data: the responses to a prompt and their ranks; a pair is a ranking of two."""

from itertools import combinations
from typing import NamedTuple


class Preference(NamedTuple):
    """Two continuations of one prompt, the better one first; the prompt is "" when the pairs are whole texts."""

    prompt: str
    chosen: str
    rejected: str


class Ranking(NamedTuple):
    """Continuations of one prompt and the rank of each: 1 is the best, equal ranks are a tie.

    The prompt is "" when the responses are whole texts.
    """

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]


def pairs(ranking: Ranking) -> list[Preference]:
    """Every two responses of which one is better, in the order of the responses; a tie gives no pair."""
    found = []
    for (first, rank), (second, other) in combinations(zip(ranking.responses, ranking.ranks, strict=True), 2):
        if rank < other:
            found.append(Preference(ranking.prompt, first, second))
        elif other < rank:
            found.append(Preference(ranking.prompt, second, first))
    return found
