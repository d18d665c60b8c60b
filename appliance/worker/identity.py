"""Which process it is: number, start time, boot and a token in its environment. All four agree, or it is another one."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TOKEN = "APPLIANCE_RUN_TOKEN"

PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """A process of this machine as it was when it was started. No clock plays a part."""

    pid: int
    started: float  # clock ticks since boot
    boot_id: str
    token: str

    def alive(self) -> bool:
        """Whether exactly this process still runs; a zombie does not."""
        return self.boot_id == boot_id() and started(self.pid) == self.started and _carries(self.pid, self.token)

    def send(self, number: signal.Signals) -> bool:
        """Signal the process if it is still this one; whether it was."""
        if not self.alive():
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True


def boot_id() -> str:
    """Of this boot of the machine; another one after a reboot."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def started(pid: int) -> float | None:
    """When a process began, in clock ticks since boot; None when there is none of that number, or only its remains."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else float(fields[19])


def identity_of(pid: int, token: str) -> Identity | None:
    """The identity of a living process that carries the token, or None."""
    began = started(pid)
    return Identity(pid, began, boot_id(), token) if began is not None and _carries(pid, token) else None


def find(token: str) -> Identity | None:
    """The first process of this machine with the token in its environment: the leader of the run's session."""
    found = [identity for pid in carriers(token) if (identity := identity_of(pid, token))]
    return min(found, key=lambda one: (one.started, one.pid), default=None)


def carriers(token: str) -> Iterator[int]:
    """Every process that carries the token: a run's own, and those it started."""
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid() and _carries(int(folder.name), token):
            yield int(folder.name)


def kill_all(token: str) -> int:
    """SIGKILL to every process that carries the token, until none is left; how many there were."""
    killed: set[int] = set()
    for _ in range(20):  # one may start another between the look and the signal
        alive = [pid for pid in carriers(token) if started(pid) is not None]
        if not alive:
            break
        for pid in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name, which may itself hold blanks and brackets; first the state."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _carries(pid: int, token: str) -> bool:
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{TOKEN}={token}".encode() in environment.split(b"\0")
