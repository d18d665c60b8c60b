"""The NVIDIA kernel module, its library, and whether its version carries the image's CUDA."""

import re
from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.checks import _kernel
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip


def version_numbers(version: str) -> tuple[int, ...]:
    """(525, 60, 13) of "525.60.13" and of "525.60.13-grid"; empty for text without a version."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def loaded_version(host: Host) -> str | None:
    """Version of the loaded module, by /sys or /proc; None: it is not loaded."""
    text = host.read_text("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)", text or "")
    return host.read_text("/sys/module/nvidia/version") or (found.group(1) if found else None)


def probe_loaded(host: Host) -> dict[str, Any]:
    """The loaded module's version, the running kernel, whether that has a module on disk, and DKMS's driver versions."""
    return {
        "version": loaded_version(host),
        "kernel": _kernel.release(host),
        "on_disk": _kernel.nvidia_on_disk(host),
        "dkms": [name for name in host.listdir("/var/lib/dkms/nvidia") if version_numbers(name)],
    }


BUILDS_ON_6_2 = (525, 147, 5)
"""The first 525 whose source compiles on kernel 6.2 and later."""


def judge_loaded(fact: dict[str, Any], need: Need) -> Verdict:
    """Loaded or not."""
    if fact["version"]:
        return passed(f"nvidia {fact['version']}")
    kernel, old = fact["kernel"], [name for name in fact["dkms"] if version_numbers(name) < BUILDS_ON_6_2]
    if fact["on_disk"]:
        why = f"Kernel {kernel} has the module on disk, and nothing has loaded it, or loading it went wrong."
        fix = "sudo modprobe nvidia\nsudo dmesg | grep -i nvrm   # the reason, where it will not load"
        return fail("installed but not loaded", "the nvidia kernel module", why=why, fix=fix)
    if fact["dkms"]:
        why = f"DKMS has the source of driver {', '.join(fact['dkms'])}, but no module was built for kernel {kernel}."
        if old and version_numbers(kernel or "") >= (6, 2):
            why += f" The source of {old[0]} does not compile on kernels from 6.2 on."
    else:
        why = "The card is there, but the kernel has no driver for it: not installed, or not built for this kernel."
    fix = fixes.INSTALL_DRIVER
    return fail("not loaded", "the nvidia kernel module", why=why, fix=fix, reboot=True)


LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64")
LIBRARIES = ("libnvidia-ml.so.1", "libcuda.so.1", "libnvidia-ptxjitcompiler.so.1")


def library_versions(host: Host) -> dict[str, str]:
    """Version of each of the driver's libraries, by what its link points to; those not found are left out."""
    found: dict[str, str] = {}
    for folder in LIBRARY_FOLDERS:
        for name in LIBRARIES:
            version = (host.readlink(f"{folder}/{name}") or "").rpartition(".so.")[2]
            if "." in version and version_numbers(version):
                found.setdefault(name, version)
    return found


def probe_init(host: Host) -> dict[str, Any]:
    """How opening NVML ended, how many GPUs it knows, and the versions of the module and of NVML's library."""
    seen = host.nvml()
    versions = {"module": loaded_version(host), "library": library_versions(host).get(LIBRARIES[0])}
    return {"init": seen["init"], "count": seen.get("count"), "driver": seen.get("driver"), **versions}


INIT_PROBLEMS: dict[object, tuple[str, str, bool]] = {
    nvml.NOT_LOADED: (
        "The library is there but finds no way to the driver: its device nodes are missing, or its module is not loaded.",
        fixes.DEVICE_NODES
        + "\n# no such command, or no module? Then the driver is not installed:\n"
        + fixes.INSTALL_DRIVER,
        True,
    ),
    nvml.NO_PERMISSION: (
        "The driver's device nodes are there, but this user may not open them.",
        "ls -l /dev/nvidia*   # crw-rw-rw- is usual\nsudo chmod 0666 /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm",
        False,
    ),
    nvml.NO_LIBRARY: (
        "libnvidia-ml.so.1 is missing. On the host: no driver is installed. In a container: it was started without GPUs, "
        "or the NVIDIA container toolkit is not set up.",
        "# on the host:\n"
        + fixes.INSTALL_DRIVER
        + "\n# in a container, on its host:\n"
        + fixes.TOOLKIT_REPOSITORY
        + "\n"
        + fixes.NVIDIA_TOOLKIT,
        True,
    ),
    nvml.MISMATCH: (
        "The driver's libraries were upgraded while the old module stayed loaded, often by an unattended upgrade.",
        fixes.REBOOT,
        True,
    ),
    "module": (
        "The reader of the driver's facts is a Python package, and this environment lacks it.",
        "python -m pip install nvidia-ml-py",
        False,
    ),
}
"""By NVML's code at opening: why, fix, reboot. Any other code gets the last resort below."""


def judge_init(fact: dict[str, Any], need: Need) -> Verdict:
    """Opened with at least one GPU, or the reason by code."""
    code = fact["init"]["error"]
    if not code:
        return passed(f"opened, {fact['count']} GPU(s)")
    why, fix, reboot = INIT_PROBLEMS.get(
        code,
        (
            "The driver is loaded but does not answer as it should. In a container that ran before, the device may have "
            "been taken away by a daemon-reload on the host.",
            "sudo dmesg | grep -i nvrm | tail\n# in a container: docker compose restart\n"
            + fixes.REBOOT_THEN_POWER_CYCLE,
            True,
        ),
    )
    found = f"{fact['init']['name']} ({code})"
    if code == nvml.MISMATCH and fact["module"] and fact["library"]:
        found = f"module {fact['module']}, library {fact['library']}"
    return fail(found, "NVML opens", why=why, fix=fix, reboot=reboot)


def probe_min(host: Host) -> dict[str, Any]:
    """The driver's version: NVML's, or the loaded module's where NVML does not open; whether a .run file installed it."""
    seen = host.nvml()
    version = seen.get("driver")
    return {
        "driver": version if isinstance(version, str) else loaded_version(host),
        "init": seen["init"]["error"],
        "run_file": host.exists("/usr/bin/nvidia-uninstall"),
    }


def judge_min(fact: dict[str, Any], need: Need) -> Verdict:
    """The whole version against the image's floor; after an upgrade that awaits its reboot there is no one version."""
    version = fact["driver"]
    if fact["init"] == nvml.MISMATCH:
        return skip("the module and its library differ; nvml.init tells")
    if not version or not version_numbers(version):
        return skip("the driver's version cannot be read")
    expected = f"{need.min_driver} or newer"
    if version_numbers(version) >= version_numbers(need.min_driver):
        return passed(f"driver {version}", expected)
    return fail(
        f"driver {version}",
        f"{expected}, for CUDA {need.cuda}",
        why=f"This image carries torch {need.torch}. CUDA {need.cuda} does not start on driver {version}, and no setting "
        "changes that. Driver 580 runs CUDA 12 and 13; it is the server branch that Ubuntu maintains.",
        fix=("sudo nvidia-uninstall   # this driver came from a .run file\n" if fact["run_file"] else "")
        + fixes.INSTALL_DRIVER,
        reboot=True,
    )


CHECKS = (
    Check(
        id="mod.nvidia_loaded",
        title="Kernel module",
        section="PCI and driver",
        scope="both",
        needs=("pci.driver_bound", "mod.secureboot"),
        probe=probe_loaded,
        judge=judge_loaded,
        blocking=True,
        explain="""Looks for the nvidia module in /sys/module and /proc/driver. Without it there is no GPU for any
        program. Usual causes: no driver installed, a new kernel without a module for it, or Secure Boot refusing it.""",
    ),
    Check(
        id="nvml.init",
        title="Driver answers (NVML)",
        section="PCI and driver",
        scope="both",
        needs=("mod.nvidia_loaded", "ctr.env"),
        probe=probe_init,
        judge=judge_init,
        blocking=True,
        explain="""Opens NVML, the library below nvidia-smi, in a process that is killed if it hangs. Each way that this
        fails has its own remedy: no library, no module, versions that differ, or a driver that stopped answering.""",
    ),
    Check(
        id="drv.min",
        title="Driver for the image's CUDA",
        section="PCI and driver",
        scope="both",
        needs=("mod.nvidia_loaded",),
        probe=probe_min,
        judge=judge_min,
        blocking=True,
        explain="""Compares the driver's whole version with the least that the image's CUDA starts on: 525.60.13 for every
        CUDA 12, 580 for CUDA 13. A driver of the right branch can still be too old: 525.53 is.""",
    ),
)
