"""The records of a plan."""

from dataclasses import dataclass, field

GIB = 2**30

PARTS = ("weights", "gradients", "optimizer", "cache", "activations", "logits", "runtime")
"""What memory goes to. weights: with the copies that bf16 products read; cache: keys and values; runtime: CUDA or Python."""


@dataclass(frozen=True)
class Phase:
    """One phase at its largest moment: bytes of every one of PARTS."""

    name: str
    bytes: dict[str, float]

    @property
    def total(self) -> float:
        """Bytes altogether."""
        return sum(self.bytes.values())

    @property
    def gib(self) -> dict[str, float]:
        """The parts in GiB."""
        return {part: self.bytes.get(part, 0.0) / GIB for part in PARTS}

    @property
    def total_gib(self) -> float:
        """GiB altogether."""
        return self.total / GIB


@dataclass(frozen=True)
class Plan:
    """What a config takes: its phases, or none where a model's size is not known (`unknown` says of which, and why).

    `device` is "GPU" or "RAM", `device_gib` how much there is, or None. `fits` is None where either is unknown.
    `largest_microbatch` is the most sequences whose update fits, a divisor of the minibatch; None: not even one, or
    unknown. `trainable` and `everything` count weights, as a run prints them.
    """

    device: str
    device_gib: float | None
    phases: tuple[Phase, ...] = ()
    microbatch: int = 0
    largest_microbatch: int | None = None
    key: str = "batch.microbatch"
    models: tuple[tuple[str, str, int], ...] = ()  # model, where its sizes are from, weights
    trainable: int = 0
    everything: int = 0
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = field(default=())

    @property
    def peak(self) -> Phase | None:
        """The phase that takes the most."""
        return max(self.phases, key=lambda phase: phase.total, default=None)

    @property
    def peak_gib(self) -> float | None:
        """What it takes, or None where that is unknown."""
        return None if self.peak is None else self.peak.total_gib

    @property
    def fits(self) -> bool | None:
        """Whether the peak leaves MARGIN of the device free, for the gaps that an allocator leaves."""
        if self.peak_gib is None or self.device_gib is None:
            return None
        return self.peak_gib <= room_gib(self.device_gib)


MARGIN = 0.05


def room_gib(device_gib: float) -> float:
    """What may be taken of a device."""
    return (1 - MARGIN) * device_gib
