"""How long the phases of a step take, and how much memory the process has used."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Seconds by phase since it was made. On a GPU each phase ends when the GPU has done its work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.started = time.perf_counter()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds what passes inside to the phase `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - began

    def record(self, tokens: int) -> dict[str, float]:
        """seconds in all and by phase, `tokens` sampled, and the peak memory so far in GiB (the GPU's, or the process's)."""
        return {
            "seconds": round(time.perf_counter() - self.started, 4),
            **{name: round(seconds, 4) for name, seconds in self.phases.items()},
            "response_tokens": tokens,
            "peak_memory_gib": round(peak_memory_gib(self.device), 3),
        }


def peak_memory_gib(device: torch.device) -> float:
    """The most GPU memory that tensors took, or on a CPU the most the process took, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
