"""fp32 products for the compiled policy on a CPU with AMX: amx.cpp, built here, and what of a graph it takes over."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.fx import Graph, Node

SOURCE = Path(__file__).with_name("amx.cpp")

SMALLEST = 128
"""Products that are narrower than this, as those of an adapter, are left to torch."""


@cache
def load() -> bool:
    """Builds the products and makes torch know them, where the CPU and the compiler can do AMX; says whether they can.

    It takes seconds the first time; torch's compiler keeps what it built. Where they can, the process keeps its memory, too.
    """
    from torch._inductor.codecache import CppCodeCache
    from torch._inductor.cpu_vec_isa import VecAMX, pick_vec_isa

    if not isinstance(pick_vec_isa(), VecAMX):
        return False
    CppCodeCache.load(SOURCE.read_text(encoding="utf-8"), device_type="cpu", needs_vec_isa=True)
    _make_known()
    _keep_freed_memory()
    return True


def _make_known() -> None:
    """Inductor gives the product a buffer of its own choice, one that was in use before: memory is written to at once."""
    from torch._inductor import ir, lowering

    def lower(a: Any, b: Any) -> Any:
        factors = [ir.ExternKernel.realize_input(x) for x in (a, b)]
        layout = ir.FixedLayout(a.get_device(), a.get_dtype(), [a.get_size()[0], b.get_size()[1]])
        return ir.TensorBox.create(
            ir.ExternKernelOut(layout, factors, python_kernel_name="torch.ops.appliance.product.out")
        )

    torch.library.register_fake("appliance::product")(lambda a, b: a.new_empty(a.shape[0], b.shape[1]))
    lowering.register_lowering(torch.ops.appliance.product.default, type_promotion_kind=None)(lower)


def _keep_freed_memory() -> None:
    """What this process frees stays with it: glibc would give large buffers back, and each page be cleared anew.

    Cleared pages were a tenth of an iteration. It holds for the whole process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # glibc's numbers for them; the second may be 32 MiB at most
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 2**31 - 1)


def take_products(graph: Graph) -> None:
    """Lets every `mm` of fp32 that is wide enough be one of ours. `load` must have said yes."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mm.default):
        if _is_wide(node):
            node.target = torch.ops.appliance.product.default


def _is_wide(node: Node) -> bool:
    """Sizes that change from call to call are numbers of tokens, and count as wide."""
    a, b = (factor.meta["val"] for factor in node.args if isinstance(factor, Node))
    return a.dtype == torch.float32 and all(
        size >= SMALLEST for size in (*a.shape, b.shape[1]) if isinstance(size, int)
    )
