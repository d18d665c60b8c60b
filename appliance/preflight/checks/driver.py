"""The NVIDIA kernel module, its library, and whether its version carries the image's CUDA."""

import re
from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip


def probe_loaded(host: Host) -> dict[str, Any]:
    """Version of the loaded module, by /sys or /proc; both None: it is not loaded."""
    text = host.read_text("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)", text or "")
    return {"sys": host.read_text("/sys/module/nvidia/version"), "proc": found.group(1) if found else None}


def judge_loaded(fact: dict[str, Any], need: Need) -> Verdict:
    """Loaded or not."""
    version = fact["sys"] or fact["proc"]
    if version:
        return passed(f"nvidia {version}")
    return fail(
        "not loaded",
        "the nvidia kernel module",
        why="The card is there, but the kernel has no driver for it: not installed, or not built for this kernel.",
        fix=fixes.INSTALL_DRIVER,
        reboot=True,
    )


def probe_init(host: Host) -> dict[str, Any]:
    """How opening NVML ended, and how many GPUs it knows."""
    seen = host.nvml()
    return {"init": seen["init"], "count": seen.get("count"), "driver": seen.get("driver")}


INIT_PROBLEMS: dict[object, tuple[str, str, bool]] = {
    nvml.NOT_LOADED: (
        "The library is there but finds no driver in the kernel.",
        fixes.INSTALL_DRIVER,
        True,
    ),
    nvml.NO_LIBRARY: (
        "libnvidia-ml.so.1 is missing. On the host: no driver is installed. In a container: it was started without GPUs, "
        "or the NVIDIA container toolkit is not set up.",
        "# on the host:\n" + fixes.INSTALL_DRIVER + "\n# in a container, on its host:\n" + fixes.NVIDIA_TOOLKIT,
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
    return fail(f"{fact['init']['name']} ({code})", "NVML opens", why=why, fix=fix, reboot=reboot)


def version_numbers(version: str) -> tuple[int, ...]:
    """(525, 60, 13) of "525.60.13" and of "525.60.13-grid"; empty for text without a version."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def probe_min(host: Host) -> dict[str, Any]:
    """The driver's version: NVML's, or the loaded module's where NVML does not open (a mismatch is another check's)."""
    version = host.nvml().get("driver")
    if not isinstance(version, str):
        loaded = probe_loaded(host)
        version = loaded["sys"] or loaded["proc"]
    return {"driver": version}


def judge_min(fact: dict[str, Any], need: Need) -> Verdict:
    """The whole version against the image's floor."""
    version = fact["driver"]
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
        fix=fixes.INSTALL_DRIVER,
        reboot=True,
    )


CHECKS = (
    Check(
        id="mod.nvidia_loaded",
        title="Kernel module",
        section="PCI and driver",
        scope="both",
        needs=("pci.gpu_present",),
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
        needs=("mod.nvidia_loaded",),
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
