"""Between lists of messages and dialogues as text."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance.data.tables import Table
from appliance.errors import DataError

NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
ROLES = {name: role for role, name in NAMES.items()}
TURN = re.compile(r"\n\n(Human|Assistant|System): ")


class Message(NamedTuple):
    """One turn of a dialogue."""

    role: str
    content: str


def messages(value: Any, table: Table, row: int, column: str) -> list[Message]:
    """The value as messages. Raises DataError that names the place and what is wrong with it."""
    if not isinstance(value, list) or not value:
        raise _wrong(table, row, column, f"is {_shown(value)}, not a list of messages as in the first row")
    found = []
    for number, one in enumerate(value, start=1):
        role, content = (one.get("role"), one.get("content")) if isinstance(one, dict) else (None, None)
        if role not in NAMES:
            raise _wrong(table, row, column, f"message {number} has the role {role!r}; known are {', '.join(NAMES)}")
        if not isinstance(content, str):
            raise _wrong(table, row, column, f"message {number} has the content {_shown(content)}; it must be a text")
        found.append(Message(role, content))
    return found


def rendered(turns: Sequence[Message]) -> str:
    """The messages as one text."""
    return "".join(f"\n\n{NAMES[turn.role]}: {turn.content}" for turn in turns)


def dialogue(text: str) -> list[Message] | None:
    """The messages whose rendering is this text, or None if there are none."""
    pieces = TURN.split(text)
    found = [Message(ROLES[name], content) for name, content in zip(pieces[1::2], pieces[2::2], strict=True)]
    return found if found and rendered(found) == text else None


def _shown(value: object) -> str:
    return "null" if value is None else f"{str(value)[:40]!r} ({type(value).__name__})"


def _wrong(table: Table, row: int, column: str, what: str) -> DataError:
    return DataError(
        f'{table.place(row)}: "{column}" {what}', 'write a list such as [{"role": "user", "content": "..."}, ...]'
    )
