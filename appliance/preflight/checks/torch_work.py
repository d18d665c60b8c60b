"""Work on the GPU through torch, in child processes: does it start, does it compute rightly, can it compile."""

from collections.abc import Callable
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks._cards import runs_on
from appliance.preflight.checks.gpu_modes import VGPU
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

LARGEST_FP32 = 0.005  # entries are about 45 in size; right hardware stays below 0.001
LARGEST_BF16 = 0.02  # of the whole product; rounding to bf16 gives 0.002
WORKLOADS = "checks._workloads"

NOT_MEASURED = "nvidia-smi   # is another program on the card? Then stop it, and\nappliance preflight --level full"


def work(function: str, *arguments: Any, timeout_s: float) -> Callable[[Host], dict[str, Any]]:
    """A probe: what the child said ({"value", "problem"}) and, of the GPU that it used, `pci_device_id` (None: unknown).

    An error that the child caught is a `problem` like its death.
    """

    def probe(host: Host) -> dict[str, Any]:
        answer = host.child(f"{WORKLOADS}:{function}", *arguments, timeout_s=timeout_s)
        value, problem = answer["value"], answer["problem"]
        if value and "error" in value:
            value, problem = None, value["error"]
        return {"value": value, "problem": problem, "pci_device_id": _device_id(host, (value or {}).get("uuid"))}

    return probe


def _device_id(host: Host, uuid: str | None) -> str | None:
    gpus = host.nvml()["devices"]
    found = gpus[0] if len(gpus) == 1 else next((gpu for gpu in gpus if uuid and gpu["uuid"] == uuid), {})
    id = found.get("pci_device_id")
    return id if isinstance(id, str) else None


def probe_library(host: Host) -> dict[str, Any]:
    """Where libcuda comes from, and whether a GPU is virtual."""
    modes = [gpu["virtualization"] for gpu in host.nvml()["devices"]]
    return {**host.child(f"{WORKLOADS}:cuda_library", timeout_s=3.0), "vgpu": VGPU in modes}


def judge_library(fact: dict[str, Any], need: Need) -> Verdict:
    """The driver's own, not one from a package of forward compatibility."""
    path = fact["value"]["path"] if fact["value"] else None
    if path is None:
        return skip(fact["problem"] or "libcuda.so.1 is not found")
    if "/compat/" not in path:
        return passed(path, "the driver's own libcuda")
    say = fail if fact["vgpu"] else warn
    return say(
        path,
        "the driver's own libcuda",
        why="This libcuda is meant to lift an older driver and replaces that driver's own"
        + ("; on a vGPU it does not work at all." if fact["vgpu"] else ". It works on some cards and drivers only."),
        fix='echo "$LD_LIBRARY_PATH"; unset LD_LIBRARY_PATH   # and take the compat folder out of it for good',
    )


def probe_torch(host: Host) -> dict[str, Any]:
    """What torch says of itself and the GPU; the driver's version; whether this is a container."""
    found = work("torch_cuda", timeout_s=20.0)(host)
    return {**found, "driver": host.nvml().get("driver"), "in_container": host.in_container()}


def judge_torch(fact: dict[str, Any], need: Need) -> Verdict:
    """A build with CUDA that sees the GPU and carries code for it."""
    expected = f"torch {need.torch} that sees the GPU"
    seen = fact["value"]
    if seen and seen["torch"] is None and not fact["in_container"]:
        return skip("torch is not installed here; the image carries it: run preflight in the container")
    if seen is None:
        why = "torch did not get as far as naming the GPU; a run would end at the same point."
        return _unfinished("torch.cuda", fact, expected, why)
    if seen["torch"] is None:
        found, why = "torch is not installed", "This container is not the appliance's image, or its image is broken."
    elif seen["cuda"] is None:
        found, why = f"torch {seen['torch']}, built without CUDA", "This build of torch computes on the CPU only."
    elif not seen["available"]:
        driver = fact["driver"] if isinstance(fact["driver"], str) else "unknown"
        found = f"torch {seen['torch']} (CUDA {seen['cuda']}) sees no GPU with driver {driver}"
        why = "CUDA itself starts, but this torch finds no GPU: it needs another driver, or CUDA_VISIBLE_DEVICES hides it."
    elif not runs_on(seen["archs"], seen["capability"]):
        found = f"{seen['name']} needs sm_{''.join(map(str, seen['capability']))}; torch has {', '.join(seen['archs'])}"
        why = "This torch has no code for the card: every computation would end with 'no kernel image is available'."
    else:
        return passed(f"torch {seen['torch']} (CUDA {seen['cuda']}) on {seen['name']}", expected)
    fix = (
        f"# use the appliance's image; by hand:\npython -m pip install 'torch=={need.torch}' --index-url {_index(need)}"
    )
    return fail(found, expected, why=why, fix=fix)


def _unfinished(id: str, fact: dict[str, Any], expected: str, why: str) -> Verdict:
    """A failure for work that did not end, with the remedy for what kept it from ending."""
    problem = fact["problem"]
    again = f"appliance preflight --only {id}"
    if "no time" in problem:
        return fail(problem, expected, why="It was not tried: checks before it took too long.", fix=again)
    if "out of memory" in problem:
        return fail(problem, expected, why=why, fix=fixes.STOP_GPU_USERS)
    fix = f"{again}   # once more: a first start reads gigabytes from disk\n# the same again?\n"
    return fail(problem, expected, why=why, fix=fix + fixes.REBOOT_THEN_POWER_CYCLE, reboot=True)


def _index(need: Need) -> str:
    return f"https://download.pytorch.org/whl/cu{need.cuda.replace('.', '')}"


def judge_matmul(fact: dict[str, Any], need: Need) -> Verdict:
    """Equal to the CPU's product up to rounding."""
    expected = f"fp32 within {LARGEST_FP32}, bf16 within {LARGEST_BF16:.0%} of the CPU's"
    seen = fact["value"]
    if seen is None:
        why = "A matrix product is the whole of training, and it did not come to an end on this card."
        return _unfinished("torch.matmul", fact, expected, why)
    errors = (seen["fp32"], seen["bf16"])
    shown = ["not a number" if error is None else f"{error:.2g}" for error in errors]
    found = f"fp32 off by {shown[0]}, bf16 by {shown[1]}"
    if all(e is not None and e <= most for e, most in zip(errors, (LARGEST_FP32, LARGEST_BF16), strict=True)):
        return passed(found, expected)
    return fail(
        found,
        expected,
        why="The card computes wrong numbers without saying so. Nothing that it trained can be trusted.",
        fix=fixes.REBOOT_THEN_POWER_CYCLE,
        reboot=True,
    )


def judge_triton(fact: dict[str, Any], need: Need) -> Verdict:
    """A kernel could be compiled here, and computes what the plain function does."""
    expected = "a compiled kernel that agrees with the plain one"
    seen = fact["value"]
    if seen and seen["largest"] is not None and seen["largest"] < 1e-4:
        return passed(f"compiled; off by {seen['largest']:.1g}", expected)
    return warn(
        f"off by {seen['largest']}" if seen else fact["problem"],
        expected,
        why="torch.compile does not work here. The appliance does without it; plugins of your own may not.",
        fix="export TORCHDYNAMO_DISABLE=1   # in compose.yaml, under environment\n"
        "# 'no C compiler': apt-get install gcc in the image; 'kernel image is invalid': a newer driver",
    )


def _check(id: str, title: str, probe: Any, judge: Any, explain: str, **changes: Any) -> Check:
    common = {"section": "CUDA", "scope": "both", "level": "full", "needs": ("torch.matmul",), "timeout_s": 22.0}
    return Check(id=id, title=title, probe=probe, judge=judge, explain=explain, **{**common, **changes})


CHECKS = (
    _check(
        "cuda.compat_lib",
        "CUDA library",
        probe_library,
        judge_library,
        """Finds the file from which programs load libcuda. It must be the driver's. Images of NVIDIA carry another in a
        folder called compat, for old drivers: picked up by mistake, it breaks CUDA on some cards.""",
        needs=("cuda.init",),
        timeout_s=4.0,
    ),
    _check(
        "torch.cuda",
        "torch sees the GPU",
        probe_torch,
        judge_torch,
        """Imports torch in its own process and asks for the GPU. It fails when torch was built for a CUDA that the driver
        does not know, without CUDA at all, or without code for this generation of card.""",
        needs=("cuda.init",),
        blocking=True,
    ),
    _check(
        "torch.matmul",
        "Right results",
        work("matmul", "cuda", 2048, 4096, timeout_s=20.0),
        judge_matmul,
        """Multiplies matrices on the card and compares them with the CPU's result, in fp32 and bf16. A card with broken
        cells or a faulty driver gives wrong numbers or none; nvidia-smi knows nothing of that.""",
        needs=("torch.cuda",),
        blocking=True,
    ),
    _check(
        "triton.jit",
        "Compiled kernels",
        work("compiled", "cuda", timeout_s=120.0),
        judge_triton,
        """Compiles one small function with torch.compile, which makes a Triton kernel, and runs it. It fails without a C
        compiler, on drivers older than the compiler's CUDA, and with a cache folder that cannot be written.""",
        level="deep",
        timeout_s=125.0,
    ),
)
