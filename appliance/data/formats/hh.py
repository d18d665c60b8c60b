"""Anthropic's helpful-harmless layout: columns chosen and rejected, each a whole dialogue; what both begin with is the prompt.

Source: the data set Anthropic/hh-rlhf. A turn begins with "\\n\\nHuman:" or "\\n\\nAssistant:"; the prompt ends behind the last
"\\n\\nAssistant:" that both dialogues share.
"""

from collections.abc import Iterable
from itertools import islice

from appliance.data.formats._rows import ASSISTANT, Parsed, Written, all_pairs, common_length, lost, pair
from appliance.data.rankings import Ranking, pairs
from appliance.data.sources import texts
from appliance.data.tables import Table
from appliance.errors import DataError

HOLDS = "chosen and rejected are whole dialogues"


def fits(table: Table) -> str | None:
    """Why a table looks like this layout, or None."""
    if not {"chosen", "rejected"} <= set(table.columns) or "prompt" in table.columns:
        return None
    sides: list[object] = [text for name in ("chosen", "rejected") for text in islice(table.column(name), 50)]
    if all(isinstance(text, str) and ASSISTANT in text and "\n\nHuman:" in text for text in sides):
        return "chosen and rejected are dialogues of Human and Assistant"
    return None


def read(table: Table) -> Parsed:
    """A ranking for each row. Rows whose dialogues share no prompt are dropped."""
    rankings, rows = [], []
    apart: list[int] = []
    early: list[int] = []
    for row, (chosen, rejected) in enumerate(zip(texts(table, "chosen"), texts(table, "rejected"), strict=True)):
        end = chosen.rfind(ASSISTANT, 0, common_length(chosen, rejected))
        if end < 0:
            apart.append(row)
            continue
        end += len(ASSISTANT)
        rankings.append(pair(chosen[:end], chosen[end:], rejected[end:]))
        rows.append(row)
        if "\n\nHuman:" in chosen[end:] or "\n\nHuman:" in rejected[end:]:
            early.append(row)
    return Parsed(
        rankings,
        rows,
        {"pairs with different prompts dropped": apart},
        {"pairs whose dialogues part before the last answer, kept": early},
    )


def write(rankings: Iterable[Ranking]) -> Written:
    """Rows of chosen and rejected. Raises DataError for prompts that are not dialogues."""
    rows, ties, moved, count = [], 0, 0, 0
    wrong: list[Ranking] = []
    for ranking in rankings:
        count += 1
        if not ranking.prompt.endswith(ASSISTANT):
            wrong.append(ranking)
            continue
        found = pairs(ranking)
        ties += all_pairs(ranking) - len(found)
        for one in found:
            chosen, rejected = one.prompt + one.chosen, one.prompt + one.rejected
            moved += chosen.rfind(ASSISTANT, 0, common_length(chosen, rejected)) != len(one.prompt) - len(ASSISTANT)
            rows.append({"chosen": chosen, "rejected": rejected})
    if wrong:
        raise DataError(
            f"hh holds dialogues: {len(wrong)} of {count} prompts do not end with "
            f"{ASSISTANT!r}; the first: {wrong[0].prompt[-60:]!r}",
            r'write another layout, or wrap them: --template "\n\nHuman: {prompt}\n\nAssistant:"',
        )
    return Written(rows, lost(ties, moved, len(rows), count, "hh"))


WRITERS = {"hh": write}
