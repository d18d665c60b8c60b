"""What the NVIDIA driver says about its GPUs, call by call: an error is a value, never an exception.

Facts of one GPU are keyed by the names in `_calls`. A call that failed has {"error": NVML's code, "name": its text}.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NOT_SUPPORTED, NO_PERMISSION, NOT_LOADED, NO_LIBRARY, NO_FUNCTION, LOST, RESET, MISMATCH = 3, 4, 9, 12, 13, 15, 16, 18

Value = Any
"""Number, text, list of those, or the dict of a failed call."""


def is_error(value: Value) -> bool:
    """Whether a fact is a call that failed."""
    return isinstance(value, dict) and "error" in value


def attempt(call: Callable[..., Value], *arguments: Any) -> Value:
    """call(*arguments), or {"error": code, "name": text} if NVML refused or the library lacks the function."""
    import pynvml

    try:
        return call(*arguments)
    except pynvml.NVMLLibraryMismatchError:  # no NVMLError: how pynvml says that a driver lacks a later call's version
        return {"error": NO_FUNCTION, "name": "Function Not Found"}
    except pynvml.NVMLError as error:
        return {"error": error.value, "name": str(error)}


def _calls(n: Any) -> dict[str, Callable[[Any], Value]]:
    """How each fact of a GPU is read; `n` is pynvml, `h` the GPU's handle. Units are in the names."""
    volatile, aggregate = n.NVML_VOLATILE_ECC, n.NVML_AGGREGATE_ECC
    corrected, uncorrected = n.NVML_MEMORY_ERROR_TYPE_CORRECTED, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    dram, sram = n.NVML_MEMORY_LOCATION_DRAM, n.NVML_MEMORY_LOCATION_SRAM
    calls: dict[str, Callable[[Any], Value]] = {
        "name": n.nvmlDeviceGetName,
        "uuid": n.nvmlDeviceGetUUID,
        "bus_id": lambda h: _text(n.nvmlDeviceGetPciInfo(h).busId),
        "pci_device_id": lambda h: f"{n.nvmlDeviceGetPciInfo(h).pciDeviceId >> 16:04x}",
        "capability": lambda h: list(n.nvmlDeviceGetCudaComputeCapability(h)),
        "memory_bytes": lambda h: _fields(n.nvmlDeviceGetMemoryInfo(h), "total", "used", "free"),
        "temperature_c": lambda h: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
        "slowdown_c": lambda h: n.nvmlDeviceGetTemperatureThreshold(h, n.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        "performance_state": n.nvmlDeviceGetPerformanceState,
        "persistence": n.nvmlDeviceGetPersistenceMode,
        "power_mw": n.nvmlDeviceGetPowerUsage,
        "power_cap_mw": n.nvmlDeviceGetEnforcedPowerLimit,
        "power_default_mw": n.nvmlDeviceGetPowerManagementDefaultLimit,
        "display": n.nvmlDeviceGetDisplayActive,
        "utilization_percent": lambda h: n.nvmlDeviceGetUtilizationRates(h).gpu,
        "compute_mode": n.nvmlDeviceGetComputeMode,
        "mig": lambda h: list(n.nvmlDeviceGetMigMode(h)),
        "virtualization": n.nvmlDeviceGetVirtualizationMode,
        "license": lambda h: _license(n.nvmlDeviceGetGridLicensableFeatures(h)),
        "ecc_mode": lambda h: list(n.nvmlDeviceGetEccMode(h)),
        "remapped_rows": lambda h: list(n.nvmlDeviceGetRemappedRows(h)),  # corrected, uncorrected, pending, failed
        "retired_single": lambda h: len(n.nvmlDeviceGetRetiredPages(h, 0)),
        "retired_double": lambda h: len(n.nvmlDeviceGetRetiredPages(h, 1)),
        "retired_pending": n.nvmlDeviceGetRetiredPagesPendingStatus,
        "inforom": lambda h: n.nvmlDeviceValidateInforom(h) or 0,
        "recovery_action": lambda h: _field(n, h, n.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
        "throttle_mask": lambda h: _throttle(n, h),
        "pcie": lambda h: [
            n.nvmlDeviceGetCurrPcieLinkGeneration(h),
            n.nvmlDeviceGetCurrPcieLinkWidth(h),
            n.nvmlDeviceGetMaxPcieLinkGeneration(h),
            n.nvmlDeviceGetMaxPcieLinkWidth(h),
        ],  # generation, width, and the most of each
        "bar1_bytes": lambda h: n.nvmlDeviceGetBAR1MemoryInfo(h).bar1Total,
        "compute_pids": lambda h: [process.pid for process in n.nvmlDeviceGetComputeRunningProcesses(h)],
        "graphics_pids": lambda h: [process.pid for process in n.nvmlDeviceGetGraphicsRunningProcesses(h)],
    }
    for kind, error in (("corrected", corrected), ("uncorrected", uncorrected)):
        for when, counter in (("volatile", volatile), ("aggregate", aggregate)):
            calls[f"ecc_{kind}_{when}"] = lambda h, e=error, c=counter: n.nvmlDeviceGetTotalEccErrors(h, e, c)
            for where, place in (("dram", dram), ("sram", sram)):
                calls[f"ecc_{kind}_{when}_{where}"] = lambda h, e=error, c=counter, p=place: (
                    n.nvmlDeviceGetMemoryErrorCounter(h, e, c, p)
                )
    return calls


LIVE = (
    *("name", "bus_id", "memory_bytes", "temperature_c", "performance_state", "persistence", "power_mw"),
    *("power_cap_mw", "display", "utilization_percent", "compute_mode", "mig", "ecc_mode", "ecc_uncorrected_volatile"),
)
"""What `appliance gpu` and the page's status strip show."""


def _fields(structure: Any, *names: str) -> dict[str, int]:
    return {name: int(getattr(structure, name)) for name in names}


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _license(features: Any) -> dict[str, Value]:
    """Whether vGPU licences apply, and each feature's (code, state); state 5 is licensed."""
    count = min(features.licensableFeaturesCount, len(features.gridLicensableFeatures))
    listed = [features.gridLicensableFeatures[i] for i in range(count)]
    return {
        "supported": bool(features.isGridLicenseSupported),
        "features": [[f.featureCode, f.featureState] for f in listed],
    }


def _field(n: Any, handle: Any, field: int) -> Value:
    value = n.nvmlDeviceGetFieldValues(handle, [field])[0]
    if value.nvmlReturn:
        raise n.NVMLError(value.nvmlReturn)
    return int(value.value.uiVal)


def _throttle(n: Any, handle: Any) -> int:
    """The mask of reasons for a lowered clock; drivers before 535 know it by the older name."""
    try:
        return n.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except n.NVMLError_FunctionNotFound:
        return n.nvmlDeviceGetCurrentClocksThrottleReasons(handle)


def device(index: int, names: tuple[str, ...] | None = None) -> dict[str, Value]:
    """The facts of one GPU, all or those of `names`; inside `session`."""
    import pynvml

    calls = _calls(pynvml)
    handle = attempt(pynvml.nvmlDeviceGetHandleByIndex, index)
    facts = {name: handle if is_error(handle) else attempt(calls[name], handle) for name in names or calls}
    return {"index": index, **facts}


@contextmanager
def session() -> Iterator[dict[str, Value]]:
    """NVML opened: {"error": 0} or why it could not be; closed again at the end."""
    try:
        import pynvml
    except ImportError:
        yield {"error": "module", "name": "the Python package nvidia-ml-py is not installed"}
        return
    opened = attempt(pynvml.nvmlInit)
    if is_error(opened):
        yield opened
        return
    try:
        yield {"error": 0, "name": "Success"}
    finally:
        attempt(pynvml.nvmlShutdown)


def devices(names: tuple[str, ...] | None = None) -> list[dict[str, Value]]:
    """The facts of every GPU; inside `session`."""
    import pynvml

    count = attempt(pynvml.nvmlDeviceGetCount)
    return [] if is_error(count) else [device(index, names) for index in range(count)]


def snapshot() -> dict[str, Value]:
    """Everything NVML says: `init`, `driver`, `cuda` (12020 for 12.2), `count` and `devices`."""
    with session() as init:
        if init["error"]:
            return {"init": init, "devices": []}
        import pynvml

        cuda = attempt(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        return {
            "init": init,
            "driver": attempt(pynvml.nvmlSystemGetDriverVersion),
            "cuda": attempt(pynvml.nvmlSystemGetCudaDriverVersion) if is_error(cuda) else cuda,
            "count": attempt(pynvml.nvmlDeviceGetCount),
            "devices": devices(),
        }


COMPUTE_MODES = {0: "Default", 1: "Exclusive_Thread", 2: "Prohibited", 3: "Exclusive_Process"}
ON_OFF = {0: "Off", 1: "On"}


def status(facts: dict[str, Value]) -> dict[str, str]:
    """The eleven values that nvidia-smi shows of a GPU (and its name), as text; "N/A" where the driver does not tell."""

    def show(name: str, form: Callable[[Value], str]) -> str:
        value = facts.get(name)
        return "N/A" if value is None or is_error(value) else form(value)

    def watts(value: int) -> str:
        return f"{value / 1000:.0f} W"

    errors = show("ecc_uncorrected_volatile", str)
    ecc = show("ecc_mode", lambda modes: "Off" if modes[0] == 0 else f"On, {errors} errors")
    return {
        "index": str(facts["index"]),
        "name": show("name", str),
        "temperature": show("temperature_c", lambda value: f"{value} C"),
        "performance state": show("performance_state", lambda value: f"P{value}"),
        "persistence": show("persistence", lambda value: ON_OFF.get(value, str(value))),
        "power": f"{show('power_mw', watts)} / {show('power_cap_mw', watts)}",
        "bus id": show("bus_id", str),
        "display": show("display", lambda value: ON_OFF.get(value, str(value))),
        "memory": show("memory_bytes", lambda m: f"{m['used'] >> 20} MiB / {m['total'] >> 20} MiB"),
        "ecc": ecc,
        "utilization": show("utilization_percent", lambda value: f"{value}%"),
        "compute mode": show("compute_mode", lambda value: COMPUTE_MODES.get(value, str(value))),
        "mig": show("mig", lambda modes: ON_OFF.get(modes[0], str(modes[0]))),
    }
