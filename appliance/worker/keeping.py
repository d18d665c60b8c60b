"""Processes that belong together: started together, started again when one dies, ended together."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from appliance.errors import ApplianceError
from appliance.worker.following import GRACE_S

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
STEADY_S = 30.0
"""A process that lived so long is started again at once; one that did not, after twice the time of before."""

HOPELESS = 5
"""Deaths in a row, each soon after its start: then somebody has to look."""


@dataclass
class Part:
    """One of the processes, and when it may be started next."""

    name: str
    command: Sequence[str]
    child: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    next_start: float = float("-inf")
    deaths: int = field(default=0)


def keep_up(
    parts: Sequence[Part], *, monotonic: Callable[[], float] = time.monotonic, grace_s: float = GRACE_S + 10.0
) -> None:
    """Keep all parts alive until SIGTERM or Ctrl-C, then end them. Raises ApplianceError when one dies again and again."""
    asked = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        while not asked.is_set():
            for part in parts:
                look_after(part, monotonic())
            asked.wait(0.5)
    finally:
        end_all(parts, grace_s)
        for number, handler in before.items():
            signal.signal(number, handler)


def look_after(part: Part, now: float) -> None:
    """Start the part if it does not run and its time has come. Raises ApplianceError when it is hopeless."""
    if part.child is not None:
        code = part.child.poll()
        if code is None:
            return
        part.deaths = 0 if now - part.began >= STEADY_S else part.deaths + 1
        if part.deaths >= HOPELESS:
            raise ApplianceError(
                f"{part.name} ended {part.deaths} times in a row, the last time with code {code}",
                f"start it alone to see why: {' '.join(part.command[1:])}",
            )
        wait_s = 0.0 if part.deaths == 0 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (part.deaths - 1))
        part.child, part.next_start = None, now + wait_s
        print(f"{part.name} ended with code {code}; starting it again in {wait_s:.0f} s", file=sys.stderr, flush=True)
    if now >= part.next_start:
        part.child = subprocess.Popen(part.command, stdin=subprocess.DEVNULL, start_new_session=True)
        part.began = now


def end_all(parts: Sequence[Part], grace_s: float) -> None:
    """SIGTERM to all, and SIGKILL to those that are still there after `grace_s` seconds."""
    living = [part.child for part in parts if part.child is not None and part.child.poll() is None]
    for child in living:
        child.terminate()
    deadline = time.monotonic() + grace_s
    for child in living:
        try:
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
