"""What `torch_work` runs in child processes: each function does one piece of work on a device and returns JSON.

`device` is "cuda" or "cpu"; sizes can be lowered, for tests. What torch raises is returned as {"error": its first line}.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def _reported(work: Callable[..., Result]) -> Callable[..., Result]:
    """`work` with torch's errors (out of memory, CUDA errors) as values: their texts run over many lines."""

    @functools.wraps(work)
    def call(*arguments: Any) -> Result:
        try:
            return work(*arguments)
        except (RuntimeError, ImportError, OSError) as error:
            text = str(error).strip().splitlines()
            return {"error": f"{type(error).__name__}: {text[0] if text else 'no message'}"[:200]}

    return call


def cuda_library() -> Result:
    """`path`: the file from which libcuda.so.1 is loaded, links resolved; None where none is found."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"path": None}
    files = (line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines())
    return {"path": next((file for file in files if Path(file).name.startswith("libcuda.so")), None)}


@_reported
def torch_cuda() -> Result:
    """torch's version (None: not installed), the CUDA it is built for, its architectures, and the GPU that it sees."""
    try:
        import torch
    except ModuleNotFoundError:
        return {"torch": None}
    available = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list(),
        "available": available,
        "name": torch.cuda.get_device_name() if available else None,
        "capability": list(torch.cuda.get_device_capability()) if available else None,
    }


@_reported
def matmul(device: str, size: int, half_size: int) -> Result:
    """How far products on the device are from the CPU's: fp32 [size, size] largest error, bf16 relative error of all.

    The fp32 reference is computed in fp64, so the error is the device's alone; inputs are standard normal. A product
    with NaN or infinity has None for its error.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(size, size, generator=generator) for _ in range(2))  # [size, size]
    product = (left.to(device) @ right.to(device)).cpu().double()
    error = (product - left.double() @ right.double()).abs().max().item()

    fixed = torch.Generator(device).manual_seed(2)
    halves = [torch.randn(half_size, half_size, generator=fixed, device=device).bfloat16() for _ in range(2)]
    full = halves[0].float() @ halves[1].float()  # [half_size, half_size]
    off = ((halves[0] @ halves[1]).float() - full).norm() / full.norm()
    return {"fp32": _finite(error), "bf16": _finite(off.item()), "size": size}


def _finite(number: float) -> float | None:
    return number if abs(number) < float("inf") else None  # NaN compares false


@_reported
def membw(device: str, mib: int) -> Result:
    """`gb_s`: bytes read and written per second by copies within the device's memory, the best of five."""
    import torch

    source = torch.ones(mib << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = _best_s(device, lambda: target.copy_(source), repeats=10)
    return {"gb_s": 2 * source.numel() / seconds / 1e9, **_identity(device)}


@_reported
def bf16(device: str, size: int) -> Result:
    """`tflops` of bf16 products of [size, size] matrices, the best of five."""
    import torch

    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))  # [size, size]
    out = torch.empty_like(left)
    seconds = _best_s(device, lambda: torch.mm(left, right, out=out), repeats=5)
    return {"tflops": 2 * size**3 / seconds / 1e12, **_identity(device)}


@_reported
def h2d(device: str, mib: int) -> Result:
    """`to_gb_s` and `from_gb_s`: copies between pinned RAM and the device; `link`: the PCIe link right after them.

    `link` has the NVML facts performance_state and pcie, read while the CUDA context is still there; None without NVML.
    """
    import torch

    on_gpu = device != "cpu"
    ram = torch.ones(mib << 20, dtype=torch.uint8, pin_memory=on_gpu)
    memory = torch.empty_like(ram, device=device, pin_memory=False)
    to_s = _best_s(device, lambda: memory.copy_(ram, non_blocking=True), repeats=4)
    from_s = _best_s(device, lambda: ram.copy_(memory, non_blocking=True), repeats=4)
    identity = _identity(device)
    speeds = {"to_gb_s": ram.numel() / to_s / 1e9, "from_gb_s": ram.numel() / from_s / 1e9}
    return {**speeds, **identity, "link": link(identity["uuid"])}


def link(uuid: str | None) -> Result | None:
    """NVML's uuid, performance_state and pcie of the GPU of that uuid, or of the only one; None where it is not found."""
    from appliance.preflight import nvml

    with nvml.session() as opened:
        gpus = [] if opened["error"] else nvml.devices(("uuid", "performance_state", "pcie"))
    if len(gpus) == 1:
        return gpus[0]
    return next((gpu for gpu in gpus if gpu["uuid"] == uuid), None)


@_reported
def compiled(device: str) -> Result:
    """`largest`: how far a function compiled by torch.compile (on a GPU: one Triton kernel) is from the plain one."""
    import torch

    values = torch.linspace(-3, 3, 1000, device=device)

    def wave(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) * x + 1

    return {"largest": _finite((torch.compile(wave)(values) - wave(values)).abs().max().item())}


def _best_s(device: str, work: Callable[[], object], repeats: int) -> float:
    """Seconds of one call of `work`: the best of five averages over `repeats` calls, after one to warm up."""
    import torch

    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    work()
    times = []
    for _ in range(5):
        wait()
        begun = time.perf_counter()
        for _ in range(repeats):
            work()
        wait()
        times.append((time.perf_counter() - begun) / repeats)
    return max(min(times), 1e-9)  # the clock may not move during a tiny piece of work


def _identity(device: str) -> Result:
    """NVML's uuid of the device, None for the CPU."""
    import torch

    return {"uuid": f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device != "cpu" else None}


def peers() -> Result:
    """NVML's P2P status (0: fine, or a failed call) for reading between every two GPUs, by "0-1"."""
    from itertools import permutations

    import pynvml

    from appliance.preflight import nvml

    with nvml.session() as opened:
        if opened["error"]:
            return {}
        count = nvml.attempt(pynvml.nvmlDeviceGetCount)
        handles = [] if nvml.is_error(count) else [_handle(index) for index in range(count)]
        read = 0  # NVML_P2P_CAPS_INDEX_READ, which is a tuple in nvidia-ml-py 13
        return {
            f"{a}-{b}": nvml.attempt(pynvml.nvmlDeviceGetP2PStatus, handles[a], handles[b], read)
            for a, b in permutations(range(len(handles)), 2)
            if not (nvml.is_error(handles[a]) or nvml.is_error(handles[b]))
        }


def _handle(index: int) -> Any:
    import pynvml

    from appliance.preflight import nvml

    return nvml.attempt(pynvml.nvmlDeviceGetHandleByIndex, index)
