"""The prompts that a policy continues."""

from pathlib import Path
from typing import NamedTuple

from appliance.config.ppo import Prompts
from appliance.data.sources import guess_column, read_table, texts
from appliance.errors import DataError

COLUMNS = ("text", "prompt")


class PromptTexts(NamedTuple):
    """Distinct prompts in the order of the file, and a sentence on each kind of row that was dropped."""

    texts: list[str]
    notes: list[str]


def read_prompts(options: Prompts) -> PromptTexts:
    """The prompts without blank rows, those under min_characters and repetitions; the first `limit` of what is left.

    A prompt keeps its white space. Raises DataError that names the file, the line and the columns there are.
    """
    table = read_table(options)
    column = options.column or guess_column(table, COLUMNS)
    kept: dict[str, None] = {}
    blank, short, repeated = [], [], []
    for row, text in enumerate(texts(table, column)):
        bare = len(text.strip())
        if bare == 0:
            blank.append(row)
        elif bare < options.min_characters:
            short.append(row)
        elif text in kept:
            repeated.append(row)
        else:
            kept[text] = None
    dropped = {
        "blank rows dropped": blank,
        f"prompts under {options.min_characters} characters dropped": short,
        "repeated prompts dropped": repeated,
    }
    notes = [table.note(rows, what) for what, rows in dropped.items() if rows]
    if not kept:
        raise DataError(f"no prompt is left; {'; '.join(notes)}", "give other prompts, or lower min_characters")
    return PromptTexts(list(kept)[: options.limit], notes)


def read_prompt_file(path: str) -> PromptTexts:
    """The prompts of one file: one per line of a .txt, or the column text or prompt. Raises DataError."""
    if not Path(path).expanduser().is_file():
        raise DataError(f"there is no file {path}", "check the path; prompts are one per line in a .txt, or a column")
    return read_prompts(Prompts(source=path))
