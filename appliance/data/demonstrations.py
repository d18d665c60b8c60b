"""The texts that supervised fine-tuning imitates."""

from typing import NamedTuple

from appliance.config.sft import Demonstrations
from appliance.data.sources import read_table, texts
from appliance.errors import DataError


class Demonstration(NamedTuple):
    """A text to imitate, and the prompt before it, which is not trained on (None: there is no prompt)."""

    prompt: str | None
    text: str


class DemonstrationTexts(NamedTuple):
    """Demonstrations in the order of the file, and a sentence on what was dropped."""

    rows: list[Demonstration]
    notes: list[str]


def read_demonstrations(options: Demonstrations) -> DemonstrationTexts:
    """The demonstrations without those whose text is blank; the first `limit` of what is left. Raises DataError."""
    table = read_table(options)
    wanted = texts(table, options.column or "text")
    prompts = [None] * len(table) if options.prompt_column is None else texts(table, options.prompt_column)
    rows = [Demonstration(prompt, text) for prompt, text in zip(prompts, wanted, strict=True) if text.strip()]
    blank = [row for row, text in enumerate(wanted) if not text.strip()]
    notes = [table.note(blank, "blank texts dropped")] if blank else []
    if not rows:
        raise DataError(f"no demonstration is left; {notes[0]}", "choose the column that holds the texts")
    return DemonstrationTexts(rows[: options.limit], notes)
