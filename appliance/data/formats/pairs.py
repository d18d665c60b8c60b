"""TRL's layout: columns chosen and rejected, and prompt where there is one; texts, or lists of {role, content} messages.

Source: TRL's dataset formats. Messages become one text by a plain rule: each is "\\n\\nHuman: ", "\\n\\nAssistant: " or
"\\n\\nSystem: " (by its role: user, assistant, system) and its content. The messages that both sides share, and a last
"\\n\\nAssistant:", are the prompt.
"""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

from appliance.data.formats._chat import Message, dialogue, messages, rendered
from appliance.data.formats._rows import ASSISTANT, Parsed, Written, all_pairs, lost, pair
from appliance.data.rankings import Ranking, pairs
from appliance.data.sources import texts
from appliance.data.tables import Table

HOLDS = "prompt, chosen, rejected"


def fits(table: Table) -> str | None:
    """Why a table looks like this layout, or None."""
    if not {"chosen", "rejected"} <= set(table.columns):
        return None
    return f"it has the columns {', '.join(name for name in ('prompt', 'chosen', 'rejected') if name in table.columns)}"


def read(table: Table) -> Parsed:
    """A ranking for each row; without a prompt column the prompt is "" (texts) or what both sides share (messages)."""
    if "chosen" in table.columns and isinstance(next(iter(table.column("chosen"))), list):
        return _read_messages(table)
    chosen, rejected = texts(table, "chosen"), texts(table, "rejected")
    prompts = texts(table, "prompt") if "prompt" in table.columns else [""] * len(table)
    return Parsed(list(map(pair, prompts, chosen, rejected)), list(range(len(table))), {}, {})


def _read_messages(table: Table) -> Parsed:
    rankings, rows = [], []
    apart: list[int] = []
    given = table.column("prompt") if "prompt" in table.columns else repeat(None)
    sides = zip(given, table.column("chosen"), table.column("rejected"), strict=False)
    for row, (prompt, chosen, rejected) in enumerate(sides):
        better = messages(chosen, table, row, "chosen")
        worse = messages(rejected, table, row, "rejected")
        before = messages(prompt, table, row, "prompt") if isinstance(prompt, list) else []
        if isinstance(prompt, str) and prompt and better[0].role == worse[0].role == "assistant":
            before = [Message("user", prompt)]
        shared = next(
            (n for n, (a, b) in enumerate(zip(better, worse, strict=False)) if a != b), min(len(better), len(worse))
        )
        if better == worse:
            shared -= 1  # equal sides: both keep their last message, and the reader of pairs drops them
        if not before and shared < 1:
            apart.append(row)
            continue
        before += better[:shared]
        left, right = better[shared:], worse[shared:]
        answers = bool(left and right) and left[0].role == right[0].role == "assistant"
        head = rendered(before) + (ASSISTANT if answers else "")
        rankings.append(
            pair(head, rendered(left)[len(ASSISTANT) * answers :], rendered(right)[len(ASSISTANT) * answers :])
        )
        rows.append(row)
    return Parsed(rankings, rows, {"pairs with different prompts dropped": apart}, {})


def write(rankings: Iterable[Ranking]) -> Written:
    """Rows of prompt, chosen and rejected, as texts."""
    rows: list[dict[str, Any]] = []
    ties, count = 0, 0
    for ranking in rankings:
        found = pairs(ranking)
        ties += all_pairs(ranking) - len(found)
        count += 1
        rows += [one._asdict() for one in found]
    if not any(row["prompt"] for row in rows):
        rows = [{"chosen": row["chosen"], "rejected": row["rejected"]} for row in rows]
    return Written(rows, lost(ties, 0, len(rows), count, "pairs"))


def write_chat(rankings: Iterable[Ranking]) -> Written:
    """Rows of prompt, chosen and rejected, as messages. A prompt that is no dialogue becomes one user message."""
    rows: list[dict[str, Any]] = []
    ties, count, other = 0, 0, 0
    for ranking in rankings:
        found = pairs(ranking)
        ties += all_pairs(ranking) - len(found)
        count += 1
        for one in found:
            before = dialogue(one.prompt.removesuffix(ASSISTANT)) if one.prompt.endswith(ASSISTANT) else None
            if before is None:
                other += 1
                before = [Message("user", one.prompt)]
            sides = [_answer(text) for text in (one.chosen, one.rejected)]
            rows.append({key: [m._asdict() for m in value] for key, value in zip(_KEYS, (before, *sides), strict=True)})
    notes = lost(ties, 0, len(rows), count, "pairs-chat")
    if other:
        notes.append(f"{other} prompts are no dialogue of Human and Assistant: each became one user message")
    return Written(rows, notes)


_KEYS = ("prompt", "chosen", "rejected")


def _answer(text: str) -> list[Message]:
    """The messages of a response: exact where it continues a dialogue, else one answer without the space before it."""
    return dialogue(f"{ASSISTANT}{text}") or [Message("assistant", text.removeprefix(" "))]


WRITERS = {"pairs": write, "pairs-chat": write_chat}
