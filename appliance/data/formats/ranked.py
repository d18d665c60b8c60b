"""Any number of responses to a prompt, ranked: 1 is the best, equal ranks are a tie.

Columns prompt and responses (a list, best first), and ranks (a list of whole numbers, lower is better) where the order
does not say it or there are ties; or a row for each response: prompt, response, and rank or score (higher is better),
grouped by the column group, or else by equal prompts.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from appliance.data.formats._rows import Parsed, Written
from appliance.data.rankings import Ranking
from appliance.data.sources import texts
from appliance.data.tables import MISSING, Table
from appliance.errors import DataError

HOLDS = "prompt, responses, ranks; or a row for each response"


def fits(table: Table) -> str | None:
    """Why a table looks like this layout, or None."""
    names = set(table.columns)
    if "responses" in names:
        return "it has the column responses"
    if {"prompt", "response"} <= names and names & {"rank", "score"}:
        return f"it has the columns prompt, response and {'rank' if 'rank' in names else 'score'}"
    return None


def read(table: Table) -> Parsed:
    """A ranking for each row, or for each group of rows; those of one response are dropped. Raises DataError."""
    return _read_lists(table) if "responses" in table.columns else _read_grouped(table)


def _read_lists(table: Table) -> Parsed:
    prompts = texts(table, "prompt") if "prompt" in table.columns else [""] * len(table)
    rankings, rows = [], []
    alone: list[int] = []
    numbers = list(table.column("ranks")) if "ranks" in table.columns else [MISSING] * len(table)
    for row, (prompt, responses) in enumerate(zip(prompts, table.column("responses"), strict=True)):
        if not isinstance(responses, list) or not all(isinstance(one, str) for one in responses):
            raise _wrong(table, row, '"responses" is no list of texts', "write a list of texts, best first")
        ranks = numbers[row]
        if ranks is MISSING or ranks is None:
            ranks = list(range(1, len(responses) + 1))
        if not isinstance(ranks, list) or len(ranks) != len(responses):
            count = len(ranks) if isinstance(ranks, list) else "no list of"
            raise _wrong(table, row, f"{count} ranks for {len(responses)} responses", "give each response one rank")
        if len(responses) < 2:
            alone.append(row)
            continue
        rankings.append(Ranking(prompt, tuple(responses), _from_one([_rank(one, table, row) for one in ranks])))
        rows.append(row)
    return Parsed(rankings, rows, {"rankings of fewer than two responses dropped": alone}, {})


def _read_grouped(table: Table) -> Parsed:
    prompts, responses = texts(table, "prompt"), texts(table, "response")
    by_rank = "rank" in table.columns
    if not by_rank and "score" not in table.columns:
        raise _wrong(table, 0, 'no "rank" or "score" key', "give each response a rank (1 is the best) or a score")
    marks = list(table.column("rank" if by_rank else "score"))
    keys = list(map(str, table.column("group"))) if "group" in table.columns else prompts
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    rankings, rows = [], []
    alone: list[int] = []
    for members in groups.values():
        first = members[0]
        other = next((row for row in members if prompts[row] != prompts[first]), None)
        if other is not None:
            what = f"another prompt than {table.place(first)}, which is of the same group"
            raise _wrong(table, other, what, "give the rows of one group one prompt")
        if len(members) < 2:
            alone.append(first)
            continue
        if by_rank:
            ranks = _from_one([_rank(marks[row], table, row) for row in members])
        else:
            scores = [_score(marks[row], table, row) for row in members]
            order = sorted(set(scores), reverse=True)
            ranks = tuple(order.index(score) + 1 for score in scores)
        rankings.append(Ranking(prompts[first], tuple(responses[row] for row in members), ranks))
        rows.append(first)
    return Parsed(rankings, rows, {"rankings of fewer than two responses dropped": alone}, {})


def write(rankings: Iterable[Ranking]) -> Written:
    """A row for each ranking, with lists."""
    rows = [{"prompt": one.prompt, "responses": list(one.responses), "ranks": list(one.ranks)} for one in rankings]
    return Written(rows, [])


def write_grouped(rankings: Iterable[Ranking]) -> Written:
    """A row for each response, for files that hold no lists."""
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(rankings, start=1):
        for response, rank in zip(one.responses, one.ranks, strict=True):
            rows.append({"group": number, "prompt": one.prompt, "response": response, "rank": rank})
    return Written(rows, [])


def _from_one(ranks: Sequence[int]) -> tuple[int, ...]:
    least = min(ranks)
    return tuple(rank - least + 1 for rank in ranks)


def _rank(value: Any, table: Table, row: int) -> int:
    number = _number(value)
    if number is None or number != int(number):
        raise _wrong(table, row, f"the rank {value!r} is no whole number", "write 1 for the best, 2 for the next")
    return int(number)


def _score(value: Any, table: Table, row: int) -> float:
    number = _number(value)
    if number is None:
        raise _wrong(table, row, f"the score {value!r} is no number", "write a number; higher is better")
    return number


def _number(value: Any) -> float | None:
    """The finite number that a value is or, in a .csv, says."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number - number == 0 else None


def _wrong(table: Table, row: int, what: str, fix: str) -> DataError:
    return DataError(f"{table.place(row)}: {what}", fix)


WRITERS = {"ranked": write, "ranked-rows": write_grouped}
