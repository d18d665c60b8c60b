"""The lines of a text file, in the encoding that it is in.

UTF-8 is taken first. UTF-16 and UTF-32 are known by their mark. What is neither is read as Windows-1252 (Western
European) when its other bytes stand alone (or two together) among ASCII letters and are letters or typographic marks
there; else it is refused.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from appliance.errors import DataError

LINE_LIMIT = (
    16 * 2**20
)  # characters in one line, one field, one text: some four million tokens, more than any model reads
BLOCK = 2**20
MARKS = {
    codecs.BOM_UTF32_LE: ("utf-32", "UTF-32"),  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: ("utf-32", "UTF-32"),
    codecs.BOM_UTF16_LE: ("utf-16", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16", "UTF-16"),
    codecs.BOM_UTF8: ("utf-8-sig", "UTF-8 with a mark"),
}
HIGH = re.compile(rb"[\x80-\xff]+")
ASCII_LETTERS = re.compile(rb"[A-Za-z]")
RUN_MAXIMUM = 1.5  # mean length of a run of such bytes: accents stand alone; Cyrillic, Chinese or Greek letters do not
LIKELY_SHARE = 0.9
LIKELY = {
    byte
    for byte in range(0x80, 0x100)
    if (char := bytes([byte]).decode("cp1252", "replace")).isalpha() or char in "€‚„…‘’“”•–—™£§©«®°´·»¿¡\xa0\xad×"
}
"""Bytes of Windows-1252 that Western text holds."""


class Encoding(NamedTuple):
    """A codec, its name for people, and what to say about it (None for UTF-8)."""

    codec: str
    name: str
    note: str | None


def detect(path: Path) -> Encoding:
    """The encoding of a whole file, read once in blocks. Raises DataError that names the line of what does not fit."""
    with path.open("rb") as file:
        start = file.read(4)
        codec, name = next((MARKS[mark] for mark in MARKS if start.startswith(mark)), ("utf-8", "UTF-8"))
        decoder = codecs.getincrementaldecoder(codec)()
        file.seek(0)
        line = 1
        while True:
            block = file.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                if codec == "utf-8":
                    return _western(path)
                if codec == "utf-8-sig":
                    raise _not_utf8(path, *_first_bad(path), "") from None
                raise DataError(
                    f"{path.name}: by its first bytes it is {name}, but near line {line} it is not", _SAVE
                ) from None
            if "\0" in text:
                line += text[: text.index("\0")].count("\n")
                raise DataError(
                    f"{path.name} line {line}: a byte 0x00, so this is no text, or UTF-16 without a mark", _SAVE
                )
            if not block:
                break
            line += text.count("\n")
    by_mark = name.startswith(("UTF-16", "UTF-32"))
    return Encoding(codec, name, f"{path.name} is not UTF-8: read as {name}, by its mark" if by_mark else None)


def decoded_lines(path: Path, encoding: Encoding) -> Iterator[str]:
    """Each line with its line end; a mark at the beginning is left out. Raises DataError for one above LINE_LIMIT.

    Lines end at \\n alone, so that the other characters which Unicode counts as line ends may stand in a text.
    """
    with path.open(encoding=encoding.codec, newline="\n") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT:
                raise DataError(
                    f"{path.name} line {number}: the line is longer than {LINE_LIMIT:,} characters, the limit of one line",
                    "write one text a line; a file that is one JSON list is named .json",
                )
            yield line


_SAVE = "save the file as UTF-8"


def _western(path: Path) -> Encoding:
    """Windows-1252, where it is plausible. Raises DataError otherwise."""
    number, byte, value = _first_bad(path)
    seen: Counter[int] = Counter()
    runs, longest, letters, utf8_lines = 0, 0, 0, 0
    with path.open("rb") as file:
        while raw := file.readline(LINE_LIMIT):
            found = HIGH.findall(raw)
            if found:
                runs += len(found)
                longest = max(longest, len(max(found, key=len)))
                letters += len(ASCII_LETTERS.findall(raw))
                seen.update(b"".join(found))
                utf8_lines += _is_utf8(raw)
    total = sum(seen.values())
    likely = sum(count for key, count in seen.items() if key in LIKELY)
    if utf8_lines:
        raise _not_utf8(path, number, byte, value, f"; {utf8_lines} other lines are")
    apart = total <= RUN_MAXIMUM * runs or (longest <= 2 and total <= letters)
    if not apart or likely < LIKELY_SHARE * total:
        raise _not_utf8(path, number, byte, value, ", nor does the file read like Windows-1252")
    note = (
        f"{path.name} is not UTF-8 (line {number}, byte {byte} is 0x{value:02x}): "
        "read as Windows-1252, Western European; look at its accents"
    )
    return Encoding("cp1252", "Windows-1252", note)


def _first_bad(path: Path) -> tuple[int, int, int]:
    """Line, place in it (both from 1, the mark not counted) and value of the first byte that is not UTF-8."""
    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        number = 0
        while raw := file.readline(LINE_LIMIT):
            number += 1
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return number, error.start + 1, raw[error.start]
    raise AssertionError("the file changed while it was read")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(path: Path, number: int, byte: int, value: int, more: str) -> DataError:
    return DataError(
        f"{path.name} line {number}: byte {byte} is 0x{value:02x}, which is not UTF-8{more}",
        f"{_SAVE}; if you know its encoding: iconv -f ENCODING -t UTF-8 {path.name} > new-{path.name}",
    )
