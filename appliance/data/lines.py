"""The lines of a UTF-8 text file."""

from collections.abc import Iterator
from pathlib import Path

from appliance.errors import DataError

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def decoded_lines(path: Path) -> Iterator[str]:
    """Each line with its line end; a byte order mark is left out. Raises DataError for a byte that is not UTF-8.

    Lines end at \\n alone, so that the other characters which Unicode counts as line ends may stand in a text.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                encoding = "UTF-16" if number == 1 and raw.startswith(UTF16_MARKS) else "ISO-8859-1"
                raise DataError(
                    f"{path.name} line {number}: byte {error.start + 1} is 0x{error.object[error.start]:02x}, which is not UTF-8",
                    f"save it as UTF-8; if it is {encoding}: iconv -f {encoding} -t UTF-8 {path.name} > new-{path.name}",
                ) from None
