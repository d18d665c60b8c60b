"""CUDA itself, in child processes that can be killed: a GPU is good when it computes, not when it is listed."""

import ctypes
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed


def cuda_init() -> dict[str, Any]:
    """Runs in a child: how far libcuda gets. `step` and `code` of the first call that failed, code 0 when none did."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"step": "load", "code": None, "text": str(error), "driver": None, "count": None}
    version, count, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    steps = {
        "cuInit": lambda: cuda.cuInit(0),
        "cuDriverGetVersion": lambda: cuda.cuDriverGetVersion(ctypes.byref(version)),
        "cuDeviceGetCount": lambda: cuda.cuDeviceGetCount(ctypes.byref(count)),
        "cuCtxCreate": lambda: cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0),
        "cuCtxDestroy": lambda: cuda.cuCtxDestroy_v2(context),
    }
    for step, call in steps.items():
        code = call()
        if code:
            return {
                "step": step,
                "code": code,
                "text": _name(cuda, code),
                "driver": version.value,
                "count": count.value,
            }
    return {"step": None, "code": 0, "text": "", "driver": version.value, "count": count.value}


def _name(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    found = cuda.cuGetErrorName(code, ctypes.byref(text))
    return (text.value or b"").decode() if found == 0 else ""


def probe_init(host: Host) -> dict[str, Any]:
    """What the child said, or why it said nothing."""
    return dict(host.child("checks.cuda:cuda_init", timeout_s=25.0))


CODES: dict[int | None, tuple[str, str, bool]] = {
    None: (
        "libcuda.so.1 comes with the driver; a container gets it from the NVIDIA toolkit.",
        fixes.NVIDIA_TOOLKIT,
        False,
    ),
    3: (
        "The driver could not be started: most often /dev/nvidia-uvm is missing.",
        "sudo nvidia-modprobe -u -c=0",
        False,
    ),
    46: (
        "The GPU is busy or refused: another process has it exclusively, or a vGPU has no licence.",
        "nvidia-smi -q | grep -iA2 'vGPU Software'\nsudo fuser -v /dev/nvidia0",
        False,
    ),
    100: (
        "CUDA sees no GPU: it is hidden (CUDA_VISIBLE_DEVICES), or the container was started without it.",
        'echo "$CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES"\n' + fixes.NVIDIA_TOOLKIT,
        False,
    ),
    803: ("The CUDA library and the kernel module are of different drivers.", fixes.REBOOT, True),
    804: (
        "A forward-compatibility library is loaded that this GPU does not support.",
        "unset LD_LIBRARY_PATH   # and take /usr/local/cuda/compat out of it for good",
        False,
    ),
    999: ("The driver failed without a reason.", fixes.REBOOT_THEN_POWER_CYCLE, True),
}
"""By CUDA's code: why, fix, reboot. Any other code is treated like 999."""


def judge_init(fact: dict[str, Any], need: Need) -> Verdict:
    """A context could be made on the first GPU."""
    expected = "a CUDA context on GPU 0"
    if fact["problem"]:
        return fail(
            fact["problem"],
            expected,
            why="The call went into the driver and did not come back, so training would hang there too.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )
    seen = fact["value"]
    if seen["code"] == 0:
        version = seen["driver"]
        return passed(f"context made; the driver speaks CUDA {version // 1000}.{version % 1000 // 10}", expected)
    why, fix, reboot = CODES.get(seen["code"], CODES[999])
    code = "" if seen["code"] is None else f" {seen['code']}"
    return fail(f"{seen['step']}: {seen['text']}{code}", expected, why=why, fix=fix, reboot=reboot)


CHECKS = (
    Check(
        id="cuda.init",
        title="CUDA starts",
        section="CUDA",
        scope="both",
        level="full",
        needs=("nvml.init", "drv.min", "drv.lib_match", "mod.uvm_nodes", "vgpu.licence"),
        probe=probe_init,
        judge=judge_init,
        blocking=True,
        timeout_s=30.0,
        explain="""Opens libcuda in a process of its own and makes a context on the first GPU. nvidia-smi can look well
        while this fails: a missing device node, a vGPU without a licence, a card that another process keeps.""",
    ),
)
