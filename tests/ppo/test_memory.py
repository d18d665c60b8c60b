"""Running out of memory: halved, told, and with one sequence at a time an error that says what to do."""

import pytest
import torch

from appliance.errors import ApplianceError
from appliance.ppo.memory import ChunkSize, in_chunks, is_out_of_memory


def full(rows_that_fit):
    """Work that doubles its rows and has memory for so many of them."""

    def work(rows):
        if len(rows) > rows_that_fit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return rows * 2

    return work


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory"), True),  # from outside torch's allocator
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shape mismatch"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("not enough memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_real_failure_of_the_cpu_allocator_counts():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)


def test_pieces_that_do_not_fit_are_halved_and_nothing_is_lost_or_done_twice():
    heard = []
    chunk = ChunkSize("scoring", 8, heard.append)
    order = torch.tensor([4, 0, 3, 1, 2, 9, 8, 7, 6])
    pieces = in_chunks(full(3), order, chunk)
    assert [len(piece) for piece in pieces] == [2, 2, 2, 2, 1]  # 8 -> 4 -> 2
    assert torch.equal(torch.cat(pieces), order * 2)
    assert chunk.size == 2
    assert heard == [
        "out of memory in scoring with 8 sequences at a time: going on with 4",
        "out of memory in scoring with 4 sequences at a time: going on with 2",
    ]


def test_an_odd_size_is_halved_upwards_until_one():
    chunk, sizes = ChunkSize("scoring", 7, lambda _: None), []
    while chunk.size > 1:
        chunk.halve(MemoryError("x"))
        sizes.append(chunk.size)
    assert sizes == [4, 2, 1]


def test_one_sequence_that_does_not_fit_is_an_error_with_a_way_out():
    with pytest.raises(ApplianceError) as failure:
        in_chunks(full(0), torch.arange(2), ChunkSize("generation", 2, lambda _: None))
    assert "generation with one sequence at a time (CUDA out of memory. Tried" in failure.value.what
    assert "smaller model, LoRA, or shorter" in failure.value.fix


def test_a_memory_error_without_words_is_an_error_with_a_way_out():
    # Python raises MemoryError() with no message
    with pytest.raises(ApplianceError, match="with one sequence at a time"):
        ChunkSize("generation", 1, lambda _: None).halve(MemoryError())


def test_other_errors_pass_through_and_halve_nothing():
    def broken(rows):
        raise RuntimeError("shape mismatch")

    chunk = ChunkSize("scoring", 8, lambda _: None)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        in_chunks(broken, torch.arange(3), chunk)
    assert chunk.size == 8
