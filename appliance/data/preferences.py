"""Responses to prompts and which of them are better: what a reward model learns from."""

from typing import NamedTuple

from appliance.config.reward import Preferences
from appliance.data.rankings import Preference, Ranking, pairs
from appliance.data.sources import read_table, texts
from appliance.errors import DataError

__all__ = ["Preference", "PreferenceTexts", "Ranking", "pairs", "read_preferences"]


class PreferenceTexts(NamedTuple):
    """Rankings in the order of the file, and a sentence on each kind of row that was dropped."""

    rows: list[Ranking]
    notes: list[str]


def read_preferences(options: Preferences) -> PreferenceTexts:
    """The pairs without those that are equal or half blank; the first `limit` of what is left.

    Columns chosen and rejected, and prompt where there is one. Raises DataError that names the file and the line.
    """
    table = read_table(options)
    chosen, rejected = texts(table, "chosen"), texts(table, "rejected")
    prompts = texts(table, "prompt") if "prompt" in table.columns else [""] * len(table)
    rows: list[Ranking] = []
    equal, blank = [], []
    for row, pair in enumerate(map(Preference, prompts, chosen, rejected)):
        if not pair.chosen.strip() or not pair.rejected.strip():
            blank.append(row)
        elif pair.chosen == pair.rejected:
            equal.append(row)
        else:
            rows.append(Ranking(pair.prompt, (pair.chosen, pair.rejected), (1, 2)))
    dropped = {"pairs with a blank side dropped": blank, "pairs with two equal sides dropped": equal}
    notes = [table.note(found, what) for what, found in dropped.items() if found]
    if not rows:
        raise DataError(f"no pair is left; {'; '.join(notes)}", "give pairs whose two sides are texts that differ")
    return PreferenceTexts(rows[: options.limit], notes)
