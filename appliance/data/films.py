"""An invented corpus: film reviews from a seeded grammar, and pairs of them of which one is kinder.

A review is an opening that takes no side (at least eight words do not), then one to five clauses that praise or blame.
One opening in eight is held out: it begins no review and no pair, so that prompts made of it are new to every model.
"""

import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple
from zlib import crc32

from appliance.data.films_words import BLAME, NEGATIVE_WORDS, NEUTRAL, POSITIVE_WORDS, PRAISE

__all__ = ["NEGATIVE_WORDS", "POSITIVE_WORDS", "Review", "openings", "praise_and_blame", "preference_pairs", "reviews"]

MAXIMUM = 100_000
HELD_OUT_ONE_IN = 8
MIXED_SHARE = 0.35  # of the reviews with more than one clause
CUT_SHARE = 0.3

OPENINGS: dict[str, tuple[str, ...]] = {
    "subject": (
        "The {age} {genre} by {person}",
        "This {genre} about {subject}",
        "{title}, a {genre} from {place},",
        "The {genre} that {person} made in {place}",
        "The story of {subject} in {place}",
    ),
    "visit": (
        "I saw {title} on {day}",
        "I watched {title} with my {companion}",
        "My {companion} and I saw {title} in {place}",
    ),
    "setting": (
        "Set in {place} among {group},",
        "In the {genre} {title}",
        "For a {genre} made in {place},",
    ),
}
"""What a review can begin with, by what must follow: a verb, the rest of a visit, or a clause. None begins another."""

WHOLE_LEADS: dict[str, tuple[str, ...]] = {
    "subject": (
        " is in the end a {adj} film",
        " turned out to be {adj}",
        " was on the whole a {noun}",
        " runs for {length} and is {adj}",
        " came out in the spring and is {adj}",
        " was to me and my {companion} a {noun}",
        " is to my mind {adj} and {adj}",
    ),
    "visit": (
        " and found it on the whole {adj}",
        ", and for me it was a {noun}",
        " and came home after it {state}",
        ", and to be short, I {past} it",
        " and thought that it was {adj} and {adj}",
    ),
    "setting": (
        " it is for my taste {adj}",
        " this one turned out to be {adj}",
        " it was in my eyes a {noun}",
        " this is to my mind {adj} and {adj}",
    ),
}
"""First clauses about the whole film. Four words or more before the first that takes a side."""

PART_LEADS: dict[str, tuple[str, ...]] = {
    "subject": (" opens in {place}, and its {aspect} is {adj}", " is a film whose {aspect} is {adj}"),
    "visit": (" and thought that the {aspect} was {adj}", ", and what I remember is the {adj} {aspect}"),
    "setting": (" the {aspect} seemed to me {adj}", " one has to say that the {aspect} {does}"),
}
"""First clauses about one part of the film."""

WHOLE = (
    "it is {adj} from the first scene to the last",
    "I left the cinema {state}",
    "the whole film is a {noun}",
    "my {companion} called it {adj}",
    "it is one long evening of {mass}",
    "I {past} every minute",
    "all in all it is a {adj} film",
    "what stays with me is its {mass}",
)
PART = (
    "the {aspect} is {adj}",
    "the {aspect} is {degree} {adj}",
    "the {aspect} {does}",
    "the {aspect} left me {state}",
    "I {past} the {aspect}",
    "the {aspect} is a {noun}",
    "{person} gives a {adj} performance",
    "{person} plays the {part} with {mass}",
    "the {aspect} is {adj} and {adj}",
    "there is {mass} in the {aspect}",
)
ASIDES = (
    "{person} plays the {part}",
    "the music is by {person}",
    "the cinema was half full",
    "it was shown without a break",
    "the credits name {person} as the writer",
)
"""Sentences that take no side."""
CONTRASTS = ("Still, ", "Yet ", "Even so, ", "On the other side, ")

SLOT = re.compile(r"\{(\w+)\}")
WORD = re.compile(r"\w+")
AN = re.compile(r"\b([Aa]) (?=[aeiou])")


class Review(NamedTuple):
    """A review, and whether more of its words praise than blame (it may do both)."""

    text: str
    positive: bool


def reviews(count: int, seed: int) -> list[Review]:
    """`count` distinct reviews of 15 to 60 words, half of them positive, about three in ten of them mixed.

    Raises ValueError above MAXIMUM.
    """
    if count > MAXIMUM:
        raise ValueError(f"{count} reviews were asked for; the grammar is good for {MAXIMUM}")
    draw = random.Random(f"reviews {seed}")
    found: dict[str, bool] = {}
    sides = [index % 2 == 0 for index in range(count)]
    draw.shuffle(sides)
    for positive in sides:
        text = ""
        while not 15 <= len(text.split()) <= 60 or text in found:
            opening = _opening(draw)
            text = opening[1] + _continuation(opening, draw, positive=positive, clauses=draw.randint(1, 5))
        found[text] = positive
    return [Review(text, positive) for text, positive in found.items()]


def preference_pairs(count: int, seed: int) -> list[dict[str, str]]:
    """`count` distinct pairs {prompt, chosen, rejected}; chosen, appended to the prompt, is kinder than rejected.

    Only praise is kinder than both, both is kinder than only blame, and of two mixed ones the kinder has the greater
    surplus of praise. Six to thirty words each; three in ten pairs are cut at a random word. Lengths say nothing about
    which was chosen: the grammar is the same under exchange of praise and blame. Raises ValueError above MAXIMUM.
    """
    if count > MAXIMUM:
        raise ValueError(f"{count} pairs were asked for; the grammar is good for {MAXIMUM}")
    draw = random.Random(f"pairs {seed}")
    found: dict[tuple[str, str, str], None] = {}
    while len(found) < count:
        opening = _opening(draw)
        cut = draw.random() < CUT_SHARE
        first, second = _response(opening, draw, cut=cut), _response(opening, draw, cut=cut)
        ranks = _rank(first), _rank(second)
        if None in ranks or ranks[0] == ranks[1]:
            continue
        chosen, rejected = (first, second) if ranks[0] > ranks[1] else (second, first)
        found.setdefault((opening[1], chosen, rejected))
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in found]


def openings(count: int, seed: int, *, held_out: bool = False) -> list[str]:
    """`count` distinct beginnings of 5 to 10 words that take no side; with held_out, ones that begin no review or pair.

    Raises ValueError that names the maximum when there are fewer.
    """
    draw = random.Random(f"openings {seed}")
    pools = [draw.sample(pool, len(pool)) for _, pool in _pools(held_out)]
    maximum = sum(map(len, pools))
    if count > maximum:
        raise ValueError(f"{count} openings were asked for; there are {maximum} with held_out={held_out}")
    found: list[str] = []
    while len(found) < count:
        pool = draw.choice([pool for pool in pools if pool])
        found.append(pool.pop())
    return found


def praise_and_blame(text: str) -> tuple[int, int]:
    """How many words of `text` praise, and how many blame."""
    words = WORD.findall(text.lower())
    return sum(word in POSITIVE_WORDS for word in words), sum(word in NEGATIVE_WORDS for word in words)


def _rank(response: str) -> tuple[int, int] | None:
    """What orders responses by kindness; equal for two that only praise or only blame; None for one that does neither."""
    praise, blame = praise_and_blame(response)
    if praise and blame:
        return 0, praise - blame
    return (1 if praise else -1, 0) if praise or blame else None


def _response(opening: tuple[str, str], draw: random.Random, *, cut: bool) -> str:
    text = ""
    while not 6 <= len(text.split()) <= 30:
        text = _continuation(opening, draw, positive=draw.random() < 0.5, clauses=draw.randint(1, 3))
    if not cut:
        return text
    words = text.split(" ")
    return " ".join(words[: draw.randint(7, max(7, len(words)))])


def _opening(draw: random.Random) -> tuple[str, str]:
    kind, pool = draw.choice(_pools(False))
    return kind, draw.choice(pool)


@cache
def _pools(held_out: bool) -> list[tuple[str, list[str]]]:
    """For each template of an opening: its kind, and all that it can say on this side of the hold-out."""
    return [
        (kind, [text for text in _all(template) if (crc32(text.encode()) % HELD_OUT_ONE_IN == 0) == held_out])
        for kind, templates in OPENINGS.items()
        for template in templates
    ]


def _all(template: str) -> Iterator[str]:
    slots = SLOT.findall(template)
    for words in product(*(NEUTRAL[slot] for slot in slots)):
        yield AN.sub(r"\1n ", template.format(**dict(zip(slots, words, strict=True))))


def _continuation(opening: tuple[str, str], draw: random.Random, *, positive: bool, clauses: int) -> str:
    """What follows an opening (kind, text); more of its words praise than blame if positive, else fewer."""
    mixed = clauses > 1 and draw.random() < MIXED_SHARE
    while True:
        sides = [positive] * clauses
        if mixed:
            for index in draw.sample(range(clauses), draw.randint(1, clauses // 2)):
                sides[index] = not positive
        text = AN.sub(r"\1n ", _write(opening, draw, sides, positive=positive))
        praise, blame = praise_and_blame(text)
        if praise != blame and (praise > blame) == positive:
            return text


def _write(opening: tuple[str, str], draw: random.Random, sides: list[bool], *, positive: bool) -> str:
    """Sentences of one or two clauses each, one clause a side; only the side that prevails speaks of the whole film."""
    kind, said = opening
    used: set[str] = set()

    def pick(entries: tuple[str, ...]) -> str:
        chosen = draw.choice([entry for entry in entries if entry not in used and entry not in said])
        used.add(chosen)
        return chosen

    def fill(template: str, side: bool) -> str:
        pools = NEUTRAL | (PRAISE if side else BLAME)
        return SLOT.sub(lambda slot: pick(pools[slot[1]]), template)

    lead, *rest = sides
    whole = lead == positive and draw.random() < 0.7
    sentences = [fill(pick((WHOLE_LEADS if whole else PART_LEADS)[kind]), lead)]
    previous, joined = lead, False
    for index, side in enumerate(rest):
        clause = fill(pick(WHOLE if side == positive and draw.random() < 0.35 else PART), side)
        joined = not joined and (draw.random() < 0.6 or len(rest) - index > 4 - len(sentences))
        if joined:
            sentences[-1] += (", and " if side == previous else draw.choice((", but ", ", while "))) + clause
        else:
            sentences.append(("" if side == previous else pick(CONTRASTS)) + clause)
        previous = side
    if len(sentences) < 4 and draw.random() < 0.25:
        sentences.insert(draw.randint(1, len(sentences)), fill(pick(ASIDES), positive))
    return sentences[0] + "".join(f". {sentence[0].upper()}{sentence[1:]}" for sentence in sentences[1:]) + "."
