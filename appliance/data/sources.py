"""From what a config names (a file, a folder, a hub id) to a table of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import settings
from appliance.config.base import TextSource
from appliance.data.lines import LINE_LIMIT
from appliance.data.readers import READERS, Broken, read_file
from appliance.data.tables import MISSING, Table, joined
from appliance.errors import DataError
from appliance.staging.folders import find

if TYPE_CHECKING:
    from datasets import Dataset

SAVED_SPLITS, SAVED_ONE = "dataset_dict.json", "state.json"


def read_table(options: TextSource, broken: Broken | None = None) -> Table:
    """All rows of the source; `limit` is left to the caller, which drops rows first. Raises DataError.

    Wrong lines of a file go to `broken`, where that is given.
    """
    path = Path(options.source).expanduser()
    if path.is_dir():
        return _read_folder(path, options.split)
    if path.exists():
        return read_file(path, broken)
    if _is_path(options.source):
        raise DataError(
            f"there is no file or folder {options.source}", "check the path; a hub id looks like owner/name"
        )
    return _read_hub(options)


def texts(table: Table, column: str) -> list[str]:
    """The column's values. Raises DataError for the first row where it is absent or no text."""
    if column not in table.columns:
        raise _no_key(table, 0, [column])
    values = list(table.column(column))
    for row, value in enumerate(values):
        error = unreadable(table, row, column, value)
        if error is not None:
            raise error
    return values


def unreadable(table: Table, row: int, column: str, value: Any) -> DataError | None:
    """Why this value is no text, or None if it is one."""
    if not isinstance(value, str):
        return _no_text(table, row, column, value)
    if len(value) > LINE_LIMIT:
        return DataError(
            f'{table.place(row)}: "{column}" has {len(value):,} characters; the limit of one text is {LINE_LIMIT:,}',
            "split the text, or drop it",
        )
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return DataError(
            f'{table.place(row)}: "{column}" holds half of a surrogate pair (such as \\ud800), which is no character',
            "write the file again with a program that writes whole characters",
        )
    return None


def _no_key(table: Table, row: int, wanted: list[str]) -> DataError:
    names, keys = " or ".join(f'"{name}"' for name in wanted), table.keys(row)
    return DataError(
        f"{table.place(row)}: no {names} key; the keys are: {', '.join(keys)}",
        f'choose the column "{keys[0]}", or rename it'
        if len(keys) == 1
        else "choose one of these columns, or rename it",
    )


def _no_text(table: Table, row: int, column: str, value: Any) -> DataError:
    if value is MISSING:
        return _no_key(table, row, [column])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return DataError(
            f'{table.place(row)}: "{column}" is a list of messages; only plain text is read',
            "write each conversation as one text first, for example with the tokenizer's chat template",
        )
    shown = "null" if value is None else f"{str(value)[:40]!r} ({type(value).__name__})"
    return DataError(f'{table.place(row)}: "{column}" is {shown}; it must be a text', "write it in quotes, or drop it")


def _is_path(source: str) -> bool:
    return (
        source.startswith((".", "~", "/"))
        or source.count("/") > 1
        or "\\" in source
        or Path(source).suffix.lower() in READERS
    )


def _read_folder(folder: Path, split: str) -> Table:
    if (folder / SAVED_SPLITS).exists() or (folder / SAVED_ONE).exists():
        return _read_saved(folder, split)
    files = sorted(
        file
        for place in (folder, folder / "data")
        if place.is_dir()
        for file in place.iterdir()
        if file.suffix.lower() in READERS and not file.name.startswith((".", "_"))
    )
    if not files:
        raise DataError(f"the folder {folder} holds no data files", f"put one there: {', '.join(READERS)}")
    part = re.compile(re.escape(split) + r"(-\d+-of-\d+)?")
    chosen = [file for file in files if part.fullmatch(file.stem)]
    if not chosen and len(files) == 1 and split == "train":
        chosen = files  # the only file, whatever its name
    if not chosen:
        names = ", ".join(file.name for file in files[:8])
        raise DataError(f"the folder {folder} has no file for the split {split!r}; there are: {names}", _SPLIT)
    if len({file.suffix.lower() for file in chosen}) > 1:
        names = ", ".join(file.name for file in chosen[:8])
        raise DataError(f"the folder {folder} has the split {split!r} in several forms: {names}", _SPLIT)
    return read_file(chosen[0]) if len(chosen) == 1 else joined([read_file(file) for file in chosen])


_SPLIT = "set split to a file's name without its ending, or give the file itself as the source"


def _read_saved(folder: Path, split: str) -> Table:
    """A folder that the `datasets` library saved."""
    import datasets
    import pyarrow

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(
            f"the data set in {folder} cannot be read: {error}", "save it again with save_to_disk"
        ) from None
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise DataError(f"{folder} has no split {split!r}", f"set split to one of: {', '.join(saved)}")
        saved = saved[split]
    return _from_dataset(saved, folder.name)


def _read_hub(options: TextSource) -> Table:
    name = options.source
    staged = "stage it (`appliance models stage --dataset`), or give the path of a file or folder"
    folder = find(name, options.revision, kind="dataset")
    if folder is None and settings.read().offline:
        raise DataError(f"{name} is no file or folder here, and APPLIANCE_OFFLINE is 1", staged)
    import datasets

    try:
        if folder is not None:  # read as the hub's own is: its card says which files are which split
            found = datasets.load_dataset(str(folder), split=options.split)
        else:
            found = datasets.load_dataset(name, revision=options.revision, split=options.split)
    except datasets.exceptions.DatasetNotFoundError:
        raise DataError(f"{name} is no file or folder here, and no data set of the hub", "check the spelling") from None
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error.__cause__ or error).split())[:300]
        raise DataError(f"the hub's data set {name} cannot be used: {why}", staged) from None
    except OSError as error:
        if folder is not None:
            raise DataError(f"the data set {name}, staged in {folder}, cannot be read: {error}", _CACHE) from None
        raise DataError(f"{name} is no file or folder here, and the hub does not answer: {error}", staged) from None
    return _from_dataset(found, name)


_CACHE = "`appliance models verify` checks its files; the folder of HF_HOME must be writable"


def _from_dataset(dataset: Dataset, name: str) -> Table:
    if not len(dataset):
        raise DataError(f"{name} is empty: it holds no rows", "choose another split, or another data set")
    plain = dataset.with_format(None)

    def column(name: str) -> Iterator[Any]:
        for batch in plain.select_columns(name).iter(batch_size=1000):
            yield from batch[name]

    return Table(((0, name),), "row", tuple(plain.column_names), range(1, len(plain) + 1), column)
