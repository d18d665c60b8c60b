"""A folder, or a file, exchanged for another one: wholly, or put back as it was."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def must_stay(data: Path) -> bool:
    """Whether the folder itself cannot be renamed: a volume, or in a folder that we may not write to."""
    if not data.exists():
        data.parent.mkdir(parents=True, exist_ok=True)
        return False
    volumes = os.path.ismount(data) or any(os.path.ismount(child) for child in data.iterdir())
    return volumes or not os.access(data.parent, os.W_OK)


@contextmanager
def swapped(data: Path, staged: Path, aside: Path, *, inside: bool) -> Iterator[None]:
    """`staged` stands where `data` stood, which is now `aside`; put back as it was if the block raises.

    Signals wait until it is over. `inside`: what is in the folder is exchanged, as the folder itself must stay.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    done: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        source.rename(target)
        done.append((source, target))

    try:
        if inside:
            aside.mkdir(mode=0o700)
            for child in sorted(data.iterdir()):
                if child.name != aside.name and not child.name.startswith(".restoring-") and not os.path.ismount(child):
                    move(child, aside / child.name)
            for child in sorted(staged.iterdir()):
                if not (data / child.name).exists():  # a volume of its own keeps what it holds
                    move(child, data / child.name)
        else:
            if data.exists():
                move(data, aside)
            move(staged, data)
        yield
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        if inside and aside.is_dir():
            aside.rmdir()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def swapped_file(fresh: Path, file: Path, stamp: str) -> Iterator[None]:
    """A SQLite file outside the data folder exchanged; put back if the block raises."""
    aside = file.with_name(f"{file.name}.before-restore-{stamp}")
    old = [f for f in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))) if f.exists()]
    for one in old:
        one.rename(aside.with_name(one.name.replace(file.name, aside.name, 1)))
    try:
        shutil.move(fresh, file)
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        for one in old:
            aside.with_name(one.name.replace(file.name, aside.name, 1)).rename(one)
        raise
