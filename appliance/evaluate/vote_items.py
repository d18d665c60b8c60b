"""What raters compare: answers of the starting and of the trained model to one prompt, from a run's own report."""

from collections.abc import Iterator

from appliance.evaluate.records import Comparison

Item = tuple[str, list[str], list[str]]
"""A prompt, its answers, and where each came from: before or after."""


def pair_items(comparison: Comparison, limit: int) -> list[Item]:
    """Up to `limit` pairs of an answer before and one after that differ; every prompt gives one before any gives two."""
    found: list[Item] = []
    for sample in range(comparison.samples):
        for row, prompt in enumerate(comparison.prompts):
            texts = [comparison.before.texts[row][sample], comparison.after.texts[row][sample]]
            if texts[0].strip() != texts[1].strip():
                found.append((prompt, texts, ["before", "after"]))
    return found[:limit]


def four_items(comparison: Comparison, limit: int) -> list[Item]:
    """Up to `limit` prompts with four different answers, two before and two after where there are as many."""
    found: list[Item] = []
    for row, prompt in enumerate(comparison.prompts):
        before = list(_different(comparison.before.texts[row], set()))
        after = list(_different(comparison.after.texts[row], {text.strip() for text in before}))
        mine = after[: max(2, 4 - len(before))]
        theirs = before[: 4 - len(mine)]
        if len(mine) + len(theirs) == 4:
            found.append((prompt, theirs + mine, ["before"] * len(theirs) + ["after"] * len(mine)))
    return found[:limit]


def _different(texts: list[str], seen: set[str]) -> Iterator[str]:
    known = set(seen)
    for text in texts:
        if text.strip() not in known:
            known.add(text.strip())
            yield text


ITEMS = {"pair": pair_items, "best_of_4": four_items}
"""How the items of each mode are made."""
