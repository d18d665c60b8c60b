"""One check: a probe that touches the machine, and a judgement that does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict

Section = Literal["VM", "PCI and driver", "GPU health", "CUDA", "Container engine", "Network and weights"]
SECTIONS: tuple[Section, ...] = get_args(Section)
Scope = Literal["host", "container", "both"]
Level = Literal["quick", "full", "deep"]
LEVELS: tuple[Level, ...] = get_args(Level)
BOUND_S: dict[str, float] = {"quick": 5.0, "full": 60.0, "deep": 300.0}
"""The whole report takes at most this long, whatever hangs."""

Fact = Any
"""What a probe found, as JSON can hold it."""


@dataclass(frozen=True)
class Check:
    """A question about the machine.

    `needs` are ids of checks that must pass or warn before this one is worth asking. `blocking`: when the check itself
    crashes or times out, that counts as a failure, else as a warning. `explain` is for `appliance preflight explain`.
    """

    id: str
    title: str
    section: Section
    scope: Scope
    probe: Callable[[Host], Fact]
    judge: Callable[[Fact, Need], Verdict]
    explain: str
    needs: tuple[str, ...] = ()
    level: Level = "quick"
    blocking: bool = False
    timeout_s: float = 4.0

    def __post_init__(self) -> None:
        if self.section not in SECTIONS or self.scope not in get_args(Scope) or self.level not in LEVELS:
            raise ValueError(f"check {self.id}: section {self.section!r}, scope {self.scope!r}, level {self.level!r}")
        if len(self.explain.split()) < 15:
            raise ValueError(f"check {self.id}: explain is too short to help anyone")
