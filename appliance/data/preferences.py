"""Responses to prompts and which of them are better: what a reward model learns from."""

from typing import NamedTuple

from appliance import parts
from appliance.config.reward import Preferences
from appliance.data.formats._rows import Parsed
from appliance.data.rankings import Preference, Ranking, pairs
from appliance.data.sources import read_table
from appliance.data.tables import Table
from appliance.data.templates import filled
from appliance.errors import DataError

__all__ = ["Preference", "PreferenceTexts", "Ranking", "pairs", "read_preferences"]

FOLDER = "data/formats"
ORDER = ("ranked", "hh", "pairs", "nemo")
"""The order in which layouts are tried: one that asks for more of the columns comes first."""


class PreferenceTexts(NamedTuple):
    """Rankings in the order of the file (a pair is one of two), and a sentence on each guess and kind of dropped row."""

    rows: list[Ranking]
    notes: list[str]


class Sifted(NamedTuple):
    """Rankings, the first row of each, rows that were dropped or noticed by why, and the layout (why: None if named)."""

    rankings: list[Ranking]
    rows: list[int]
    dropped: dict[str, list[int]]
    format: str
    why: str | None


def read_preferences(options: Preferences) -> PreferenceTexts:
    """The rankings without those that are equal or partly blank; the first `limit` of what is left.

    Raises DataError that names the file and the line.
    """
    table = read_table(options)
    found = sift(table, options)
    notes = [*table.notes]
    if found.why is not None:
        notes.append(f"format {found.format} taken: {found.why}")
    dropped = [table.note(rows, what) for what, rows in found.dropped.items() if rows]
    if not found.rankings:
        raise DataError(f"no pair is left; {'; '.join(dropped)}", "give pairs whose two sides are texts that differ")
    return PreferenceTexts(found.rankings[: options.limit], notes + dropped)


def sift(table: Table, options: Preferences) -> Sifted:
    """The rankings of a table, and what is left out of it. Raises DataError."""
    name, why = (options.format, None) if options.format != "auto" else choose(table)
    parsed: Parsed = parts.load(FOLDER, name).read(table)
    rankings, rows = parsed.rankings, parsed.rows
    if options.template is not None and rankings:
        prompts = filled(options.template, table, rows, {"prompt": [one.prompt for one in rankings]})
        rankings = [one._replace(prompt=prompt) for one, prompt in zip(rankings, prompts, strict=True)]
    kept: list[Ranking] = []
    kept_rows: list[int] = []
    blank: list[int] = []
    equal: list[int] = []
    tied: list[int] = []
    repeated: list[int] = []
    seen: set[Ranking] = set()
    for row, ranking in zip(rows, rankings, strict=True):
        if not all(text.strip() for text in ranking.responses):
            blank.append(row)
        elif len(set(ranking.responses)) < len(ranking.responses):
            equal.append(row)
        else:
            kept.append(ranking)
            kept_rows.append(row)
            if len(set(ranking.ranks)) == 1:
                tied.append(row)
            if ranking in seen:
                repeated.append(row)
            seen.add(ranking)
    two = name != "ranked"
    found = {
        "pairs with a blank side dropped" if two else "rankings with a blank response dropped": blank,
        "pairs with two equal sides dropped" if two else "rankings with two equal responses dropped": equal,
        **parsed.dropped,
        **parsed.noticed,
        "rankings whose responses all tie kept, though they make no pair": tied,
        "repeated pairs kept" if two else "repeated rankings kept": repeated,
    }
    return Sifted(kept, kept_rows, found, name, why)


def choose(table: Table) -> tuple[str, str]:
    """The layout that a table has, and why. Raises DataError that lists the layouts when there is none."""
    known = parts.names(FOLDER)
    for name in [*ORDER, *(other for other in known if other not in ORDER)]:
        why = parts.load(FOLDER, name).fits(table)
        if why is not None:
            return name, why
    keys = table.keys(0)
    missing = next((f'no "{name}" key; ' for name in ("chosen", "rejected") if name not in keys), "")
    layouts = "; ".join(f"{name}: {parts.load(FOLDER, name).HOLDS}" for name in known)
    raise DataError(
        f"{table.place(0)}: {missing}the keys are: {', '.join(keys)}, and no layout of preferences has these",
        f"rename the columns to those of one, or set format ({layouts})",
    )
