"""What every layout gives and takes, and finding the prompt that two texts share."""

import re
from typing import Any, NamedTuple

from appliance.data.rankings import Ranking

HUMAN, ASSISTANT = "\n\nHuman: ", "\n\nAssistant:"

MARK = re.compile(
    r"(?:^|\n)[#* ]*(?:assistant|response|answer|ai|bot|a|summary|tl;dr)\**:"
    r"|<extra_id_1>assistant\n|<\|(?:im_start\|>)?assistant(?:\|>)?\n?",
    re.IGNORECASE,
)
"""What stands before a response: `Assistant:` and its like at the start of a line, and the marks of chat templates."""
TURN = re.compile(r"\n(?:human|user|question)\s*:|<extra_id_1>user\n|<\|(?:im_start\|>)?user(?:\|>)?\n?", re.IGNORECASE)
"""What begins a turn of the other side."""


LINE_END = re.compile(r"\n")
SPACE = re.compile(r"(?<=\S)[^\S\n]+")
"""The white space behind a word."""


class Parsed(NamedTuple):
    """Rankings, the first row of each in its table, and rows that were dropped or that a reader should know of, by why."""

    rankings: list[Ranking]
    rows: list[int]
    dropped: dict[str, list[int]]
    noticed: dict[str, list[int]]


class Written(NamedTuple):
    """Rows of a file, and a sentence on each thing that the layout cannot hold."""

    rows: list[dict[str, Any]]
    notes: list[str]


def pair(prompt: str, chosen: str, rejected: str) -> Ranking:
    """A ranking of two, the better one first."""
    return Ranking(prompt, (chosen, rejected), (1, 2))


def common_length(first: str, second: str) -> int:
    """How many characters two texts share at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def shared_prompt(first: str, second: str) -> int | None:
    """The length of the prompt that two texts share, or None if they share none.

    It ends behind the last mark of a response that both have; in texts without marks behind their last common line, or
    before the space of their last common word, with something left of both.
    """
    length = common_length(first, second)
    shared = first[:length]
    marks = [found.end() for found in MARK.finditer(shared)]
    if marks or MARK.search(first) or MARK.search(second):
        return marks[-1] if marks else None
    lines = [found.end() for found in LINE_END.finditer(shared)]
    words = [found.start() for found in SPACE.finditer(shared)]
    for end in (*reversed(lines), *reversed(words)):
        if first[:end].strip() and first[end:].strip() and second[end:].strip():
            return end
    return None


def lost(ties: int, moved: int, rows: int, count: int, name: str) -> list[str]:
    """Sentences on what a layout of pairs could not hold."""
    notes = []
    if ties:
        notes.append(f"{ties} ties left out: {name} holds pairs of which one side is better")
    if rows + ties > count:
        notes.append(f"{count} rankings became {rows} pairs: {name} holds two responses at a time")
    if moved:
        notes.append(f"{moved} pairs will be read with another end of the prompt: it is found by what both begin with")
    return notes


def all_pairs(ranking: Ranking) -> int:
    """How many pairs its responses make, ties included."""
    count = len(ranking.responses)
    return count * (count - 1) // 2
