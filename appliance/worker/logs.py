"""A run's log: what its process writes to stdout and stderr, kept short however much it writes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 20 * 2**20
KEPT_BYTES = 2 * 2**20

ATTEMPT = "--- attempt"

ERROR = re.compile(r"^error: (?P<what>.*?)\n\s+fix: (?P<fix>.*?)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class LastWords:
    """What a failed process said at its end, if anything: in our own form, or as the last line of a traceback."""

    what: str | None = None
    fix: str | None = None
    error: str | None = None  # the class of the exception, from a traceback


def path_of(data: Path, run_id: int) -> Path:
    """Where the log of a run is."""
    return data / "logs" / f"{run_id}.log"


def shorten(file: Path) -> bool:
    """Cut a log that is larger than MOST_BYTES down to its last KEPT_BYTES, in place: its writer appends and goes on."""
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return False
    if size <= MOST_BYTES:
        return False
    with file.open("r+b") as log, file.open("ab") as end:
        log.seek(size - KEPT_BYTES)
        tail = log.read()
        tail = tail[tail.find(b"\n") + 1 :]
        log.truncate(0)
        end.write(f"[the log was longer; {(size - len(tail)) / 2**20:.1f} MiB before this line are gone]\n".encode())
        end.write(tail)
    return True


def tail(file: Path, most: int = 65536) -> str:
    """The last lines of a log, at most about `most` bytes; progress bars that redraw a line leave their last state."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - most))
            content = log.read()
    except FileNotFoundError:
        return ""
    if size > most:
        content = content[content.find(b"\n") + 1 :]
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def last_words(text: str) -> LastWords:
    """What the newest attempt in a log's tail ended with."""
    said = text[text.rfind(ATTEMPT) :] if ATTEMPT in text else text
    ours = list(ERROR.finditer(said))
    if ours:
        return LastWords(ours[-1]["what"], ours[-1]["fix"])
    lines = [line for line in said.splitlines() if line.strip()]
    traces = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    if not traces:
        return LastWords()
    for line in lines[traces[-1] + 1 :]:
        found = re.match(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", line)
        if found:
            return LastWords(line.strip(), None, found[1].rpartition(".")[2])
    return LastWords()
