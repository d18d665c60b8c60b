"""What a check says. A warning or failure without a reason and a remedy cannot be made."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "warn", "fail", "skip"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "skip")


@dataclass(frozen=True)
class Verdict:
    """Found against expected; for a warning or failure why it matters, lines to paste (`fix`), and if a reboot follows."""

    status: Status
    found: str
    expected: str = ""
    why: str = ""
    fix: str = ""
    reboot: bool = False

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")
        if not self.found:
            raise ValueError("a verdict says what was found")
        if self.status in ("warn", "fail") and not (self.why.strip() and self.fix.strip() and self.expected.strip()):
            raise ValueError(f"{self.status} {self.found!r} needs expected, why and fix")


def passed(found: str, expected: str = "") -> Verdict:
    """It is as it should be."""
    return Verdict("pass", found, expected)


def warn(found: str, expected: str, *, why: str, fix: str, reboot: bool = False) -> Verdict:
    """Training runs, but something is at risk or slow."""
    return Verdict("warn", found, expected, why, fix, reboot)


def fail(found: str, expected: str, *, why: str, fix: str, reboot: bool = False) -> Verdict:
    """Training cannot run, or its results cannot be trusted."""
    return Verdict("fail", found, expected, why, fix, reboot)


def skip(found: str) -> Verdict:
    """It was not measured; `found` says why not."""
    return Verdict("skip", found)
