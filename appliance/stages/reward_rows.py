"""Rankings split into those that are trained on and those held out, and their token rows."""

from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from appliance.config import RewardConfig
from appliance.data.formats._rows import shared_prompt
from appliance.data.preferences import Ranking
from appliance.data.split import held_out, prompt_key
from appliance.errors import DataError
from appliance.models.tokens import token_ids


class Split(NamedTuple):
    """Rankings to train on, and those of other prompts to measure by."""

    train: list[Ranking]
    test: list[Ranking]


class TokenRows(NamedTuple):
    """`responses` (token ids) and `ranks` per ranking, what was left out, and how many pairs and ties there are."""

    rows: list[dict[str, Any]]
    notes: list[str]
    pairs: int
    ties: int


SHARED_WORDS = 3
"""Whole texts that begin with as many equal words are taken to share a prompt."""


def key_of(ranking: Ranking) -> str:
    """What a ranking shares with others of its prompt: the prompt; of whole texts, what they begin with, or the best one."""
    if ranking.prompt.strip():
        return prompt_key(ranking.prompt)
    first, last = min(ranking.responses), max(ranking.responses)  # what these two begin with, all begin with
    start = first[: shared_prompt(first, last) or 0]
    if len(start.split()) >= SHARED_WORDS:
        return prompt_key(start)
    return prompt_key(ranking.responses[ranking.ranks.index(min(ranking.ranks))])


def split(rankings: list[Ranking], config: RewardConfig) -> Split:
    """No prompt is on both sides. Raises DataError when there is nothing to hold out, or only ties would be."""
    source = config.data.source
    aside = held_out([key_of(ranking) for ranking in rankings], config.data.held_out_share, seed=config.seed)
    train = [ranking for ranking, apart in zip(rankings, aside, strict=True) if not apart]
    test = [ranking for ranking, apart in zip(rankings, aside, strict=True) if apart]
    if not test:
        raise DataError(
            f"{source}: all {_named(rankings)} have one prompt, so none can be held out",
            "give pairs of more than one prompt, or put the prompt into chosen and rejected",
        )
    if not count_pairs(test)[0]:
        raise DataError(
            f"{source}: the {len(test)} held-out rankings hold only ties, so no accuracy can be measured",
            "give more rankings, or raise data.held_out_share",
        )
    return Split(train, test)


def _named(rankings: list[Ranking]) -> str:
    only_pairs = all(len(ranking.ranks) == 2 for ranking in rankings)
    return f"{len(rankings)} {'pairs' if only_pairs else 'rankings'}"


def count_pairs(rankings: list[Ranking]) -> tuple[int, int]:
    """How many pairs have a better side, and how many are ties."""
    pairs = ties = 0
    for ranking in rankings:
        size = len(ranking.ranks)
        tied = sum(n * (n - 1) // 2 for n in map(ranking.ranks.count, set(ranking.ranks)))
        pairs, ties = pairs + size * (size - 1) // 2 - tied, ties + tied
    return pairs, ties


def token_rows(rankings: list[Ranking], config: RewardConfig, tokenizer: PreTrainedTokenizerBase) -> TokenRows:
    """Rankings as prompt + response in tokens, as the reward source will read them.

    A response over training.max_length_tokens is left out; a ranking with fewer than two left goes as a whole. Of a pair
    that is one longer side. Raises DataError if none fits, or if only ties are left.
    """
    limit = config.training.max_length_tokens
    texts = [ranking.prompt + response for ranking in rankings for response in ranking.responses]
    encoded = token_ids(tokenizer, texts)
    rows, kept = [], []
    shortened = dropped = 0
    for ranking in rankings:
        found = [
            (next(encoded), rank, response) for rank, response in zip(ranking.ranks, ranking.responses, strict=True)
        ]
        fits = [item for item in found if 0 < len(item[0]) <= limit]
        if len(fits) < 2:
            dropped += 1
            continue
        shortened += len(found) - len(fits)
        rows.append({"responses": [ids for ids, *_ in fits], "ranks": [rank for _, rank, _ in fits]})
        kept.append(Ranking(ranking.prompt, tuple(r for *_, r in fits), tuple(rank for _, rank, _ in fits)))
    pairs, ties = count_pairs(kept)
    if not pairs:
        raise DataError(
            f"{config.data.source}: no pair is left to train on with training.max_length_tokens {limit}"
            + (f", only {ties} ties" if ties else ""),
            "raise it, or give shorter texts" if not ties else "give rankings in which some response is better",
        )
    notes = []
    if dropped:
        what = "pairs" if all(len(ranking.ranks) == 2 for ranking in rankings) else "rankings"
        notes.append(f"{dropped} {what} longer than {limit} tokens were left out")
    if shortened:
        notes.append(f"{shortened} responses longer than {limit} tokens were left out of their rankings")
    return TokenRows(rows, notes, pairs, ties)


def long_notes(held_out: list[Ranking], config: RewardConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """A sentence on held-out responses that are longer than any that is trained on: PPO's may be so too."""
    limit = config.training.max_length_tokens
    texts = [ranking.prompt + response for ranking in held_out for response in ranking.responses]
    long = sum(len(ids) > limit for ids in token_ids(tokenizer, texts))
    if not long:
        return []
    return [
        f"{long} of {len(texts)} held-out responses are longer than {limit} tokens: they are measured all the same "
        "(and lose their beginning where the model reads less)"
    ]
