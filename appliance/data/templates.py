"""Templates: a text in which {name} stands for a row's value in the column of that name."""

import re
from collections.abc import Mapping, Sequence

from appliance.data.tables import MISSING, Table
from appliance.errors import DataError

BRACES = re.compile(r"\{([^{}\n]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*")


def slots(template: str, columns: Sequence[str]) -> list[str]:
    """The columns that a template names, each once. Raises DataError for a name that is no column.

    Braces around anything else, such as {} or {"a": 1}, are text.
    """
    found: dict[str, None] = {}
    for name in BRACES.findall(template):
        if name in columns:
            found[name] = None
        elif NAME.fullmatch(name):
            raise DataError(
                f"the template names {{{name}}}, and there is no such column; the columns are: {', '.join(columns)}",
                "name one of them, or write the braces otherwise",
            )
    return list(found)


def filled(
    template: str, table: Table, rows: Sequence[int], given: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """The template for each of the rows. `given` holds values for those rows that stand in for a column's.

    What a value holds is text, also where it has braces. Raises DataError for a value that is no text or number.
    """
    given = given or {}
    names = slots(template, [*table.columns, *(name for name in given if name not in table.columns)])
    values: dict[str, Sequence[str]] = {name: given[name] for name in names if name in given}
    for name in names:
        if name not in values:
            column = list(table.column(name))
            values[name] = [_text(column[row], table, row, name) for row in rows]
    parts: list[str | Sequence[str]] = []
    for index, piece in enumerate(BRACES.split(template)):  # every second piece stood in braces
        parts.append(piece if index % 2 == 0 else values.get(piece, f"{{{piece}}}"))
    return ["".join(part if isinstance(part, str) else part[at] for part in parts) for at in range(len(rows))]


def _text(value: object, table: Table, row: int, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    found = "missing" if value is MISSING else "null" if value is None else f"of type {type(value).__name__}"
    raise DataError(
        f'{table.place(row)}: "{name}" is {found}, and the template needs a text there', "write a text, or drop the row"
    )
