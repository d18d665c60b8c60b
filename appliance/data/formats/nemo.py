"""NeMo-Aligner's layout: lines of {"text": prompt and response}, two a pair, the good one first, both with the same prompt.

Source: NeMo-Aligner's user guide, "Model Alignment by RLHF". Where the prompt ends is not written down: it is found as
the common beginning, cut behind the last `Assistant:` or its like.
"""

from collections.abc import Iterable
from itertools import islice

from appliance.data.formats._rows import MARK, TURN, Parsed, Written, all_pairs, lost, pair, shared_prompt
from appliance.data.rankings import Ranking, pairs
from appliance.data.sources import texts
from appliance.data.tables import Table
from appliance.errors import DataError

HOLDS = "good and bad lines of whole texts in turn"


def fits(table: Table) -> str | None:
    """Why a table looks like this layout, or None: its only column is text, and its lines share prompts two by two."""
    if tuple(table.columns) != ("text",):
        return None
    lines = list(islice(table.column("text"), 40))
    if len(lines) < 2 or not all(isinstance(line, str) for line in lines):
        return None
    prompts = []
    for good, bad in zip(lines[::2], lines[1::2], strict=False):
        end = shared_prompt(good, bad)
        if end is None or not any(found.end() == end for found in MARK.finditer(good)):
            return None
        prompts.append(good[:end])
    if len(prompts) > 1 and len(set(prompts)) <= len(prompts) / 2:  # one instruction before every line
        return None
    return "every two lines share a prompt that ends where a response begins"


def read(table: Table) -> Parsed:
    """A ranking for every two lines. Raises DataError that names the lines which do not go together."""
    lines = texts(table, "text")
    ends = [shared_prompt(good, bad) for good, bad in zip(lines[::2], lines[1::2], strict=False)]
    apart = next((number for number, end in enumerate(ends) if end is None), None)
    if len(lines) % 2:
        name = table.files[0][1]
        hint = f"{table.place(len(lines) - 1)} is left over"
        if apart is not None:
            hint = f"the first two that do not share a prompt: {_two(table, apart)}"
        raise DataError(
            f"{name}: {len(lines)} lines, and a NeMo file has two a pair, so one is missing or too many; {hint}",
            "give each good line its bad one, right after it",
        )
    if apart is not None:
        raise DataError(
            f"{_two(table, apart)}: two texts of one pair begin with different prompts: "
            f"{lines[2 * apart][:60]!r} and {lines[2 * apart + 1][:60]!r}",
            "give each good line its bad one, right after it, with the same prompt",
        )
    rankings, early = [], []
    for number, end in enumerate(ends):
        good, bad = lines[2 * number], lines[2 * number + 1]
        rankings.append(pair(good[:end], good[end:], bad[end:]))
        if TURN.search(good[end:]) or TURN.search(bad[end:]):
            early.append(2 * number)
    return Parsed(
        rankings,
        list(range(0, len(lines), 2)),
        {},
        {"pairs whose dialogues part before the last answer, kept": early},
    )


def write(rankings: Iterable[Ranking]) -> Written:
    """Two rows for each pair. Notes say how many ties were left out and how many prompts will be read otherwise."""
    rows, ties, moved, count, made = [], 0, 0, 0, 0
    for ranking in rankings:
        found = pairs(ranking)
        ties += all_pairs(ranking) - len(found)
        count += 1
        made += len(found)
        for one in found:
            good, bad = one.prompt + one.chosen, one.prompt + one.rejected
            moved += shared_prompt(good, bad) != len(one.prompt)
            rows += [{"text": good}, {"text": bad}]
    return Written(rows, lost(ties, moved, made, count, "nemo"))


def _two(table: Table, number: int) -> str:
    return f"{table.place(2 * number)} and {table.numbers[2 * number + 1]}"


WRITERS = {"nemo": write}
