"""OmegaConf's `${...}` in a NeMo config: other settings by name, and the two sums that NeMo uses."""

import re
from collections.abc import Mapping
from typing import Any

INNER = re.compile(r"\$\{([^${}]*)\}")
SUMS = {"int_div": lambda a, b: a // b, "multiply": lambda a, b: a * b}
DEPTH = 20
"""References to references; a file that goes deeper refers to itself."""


def resolved(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with each `${a.b}`, `${.sibling}`, `${int_div:x,y}` and `${multiply:x,y}` replaced by what it means.

    What cannot be found or computed stays as it is written.
    """
    return {key: _of(value, (str(key),), document) for key, value in document.items()}


def _of(value: Any, path: tuple[str, ...], document: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _of(item, (*path, str(key)), document) for key, item in value.items()}
    if isinstance(value, list):
        return [_of(item, path, document) for item in value]
    for _ in range(DEPTH):
        if not isinstance(value, str):
            return value
        inner = INNER.search(value)
        if inner is None:
            return value
        found = _meaning(inner[1].strip(), path, document)
        if found is None:
            return value
        value = found if inner[0] == value else value.replace(inner[0], str(found))
    return value


def _meaning(expression: str, path: tuple[str, ...], document: Mapping[str, Any]) -> Any:
    """A setting's value, or a sum's; None if there is none."""
    name, colon, arguments = expression.partition(":")
    if colon:
        numbers = [part.strip() for part in arguments.split(",")]
        if name not in SUMS or len(numbers) != 2 or not all(re.fullmatch(r"-?\d+", part) for part in numbers):
            return None
        a, b = map(int, numbers)
        return SUMS[name](a, b) if b or name != "int_div" else None
    dots = len(expression) - len(expression.lstrip("."))
    steps = [*path[: len(path) - dots], *expression[dots:].split(".")] if dots else expression.split(".")
    where: Any = document
    for step in steps:
        if not isinstance(where, Mapping) or step not in where:
            return None
        where = where[step]
    return where
