"""Running out of memory is answered by halving the number of sequences at a time, with the same result."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from appliance.errors import ApplianceError

T = TypeVar("T")

Notice = Callable[[str], None]
"""Hears what the person who started the run should know."""

SIGNS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Words of the errors that are a plain RuntimeError: the CPU's, and the GPU's from outside torch's allocator."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the GPU's or the machine's memory is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


class ChunkSize:
    """How many sequences go through a model at a time; `notice` hears of every halving."""

    def __init__(self, what: str, size: int, notice: Notice) -> None:
        self.what, self.size, self.notice = what, size, notice

    def halve(self, error: BaseException) -> None:
        """Half the size, and the memory of the failed try given back. Raises ApplianceError when one is too many."""
        if self.size == 1:
            said = str(error).splitlines() or [type(error).__name__]  # a MemoryError has no words
            raise ApplianceError(
                f"out of memory in {self.what} with one sequence at a time ({said[0]})",
                "use a smaller model, LoRA, or shorter prompts and responses",
            ) from error
        before, self.size = self.size, (self.size + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.notice(f"out of memory in {self.what} with {before} sequences at a time: going on with {self.size}")


def in_chunks(work: Callable[[Tensor], T], order: Tensor, chunk: ChunkSize) -> list[T]:
    """work(rows) over consecutive pieces of `order` [B], at most `chunk.size` rows each; a piece that does not fit is halved."""
    done: list[T] = []
    start = 0
    while start < len(order):
        rows = order[start : start + chunk.size]
        try:
            done.append(work(rows))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # the traceback holds the tensors that must go
        else:
            start += len(rows)
            continue
        chunk.halve(failure)
    return done
