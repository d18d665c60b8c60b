"""Progress for people: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from appliance import settings

LINE_SECONDS = 15.0
"""Without a terminal, at most one line in this time."""


class Progress:
    """One stage's progress. `advance` moves it; `say` prints a line without breaking the bar."""

    def __init__(self, title: str, total: int, done: int, *, bars: bool, stream: TextIO) -> None:
        self.title, self.total, self.bars, self.stream = title, total, bars, stream
        self.done, self.started, self.first = done, time.monotonic(), done
        self.last_line = self.started
        layout = "{desc:<14} {percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self.bar = (
            tqdm(desc=title, total=total, initial=done, file=stream, bar_format=layout, dynamic_ncols=True)
            if bars
            else None
        )

    def advance(self, count: int = 1, **figures: float) -> None:
        """`count` more are done; `figures` are shown beside the bar."""
        self.done += count
        if self.bar is not None:
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()}, refresh=False)
            self.bar.update(count)
            return
        now = time.monotonic()
        if now - self.last_line >= LINE_SECONDS or self.done >= self.total:
            self.last_line = now
            shown = "".join(f", {name} {value:.3g}" for name, value in figures.items())
            left = (now - self.started) / max(1, self.done - self.first) * (self.total - self.done)
            print(f"{self.title}: {self.done}/{self.total}, {left:.0f} s left{shown}", file=self.stream, flush=True)

    def begin_at(self, done: int) -> None:
        """`done` were done before: they count as progress and not as speed."""
        self.done = self.first = done
        if self.bar is not None:
            self.bar.n = self.bar.initial = done
            self.bar.refresh()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.close()


@contextmanager
def progress(title: str, total: int, *, done: int = 0, stream: TextIO | None = None) -> Iterator[Progress]:
    """A Progress on stderr that is closed at the end; APPLIANCE_PROGRESS decides between bars and lines."""
    target = stream or sys.stderr
    wanted = settings.read().progress
    shown = Progress(title, total, done, bars=wanted == "on" or (wanted == "auto" and target.isatty()), stream=target)
    try:
        yield shown
    finally:
        shown.close()
