"""Whole GPU, virtual GPU or none of both; NVIDIA's two builds of the driver; the licence that a virtual GPU needs."""

import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks._gpu import each, reads
from appliance.preflight.checks.driver import loaded_version
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

BARE, PASSTHROUGH, VGPU = 0, 1, 2  # NVML's virtualization modes; 3 and 4 are the two kinds of hypervisor
LICENSED, UNLICENSED, RESTRICTED, UNRESTRICTED = 5, 4, 3, 2  # NVML's states of a licence


def probe_mode(host: Host) -> dict[str, Any]:
    """NVML's virtualization mode of every GPU, and what says that this is a virtual machine."""
    dmi = [host.read_text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    flags = re.search(r"(?m)^flags\s*:.*\bhypervisor\b", host.read_text("/proc/cpuinfo") or "")
    return {
        **reads("virtualization")(host),
        "dmi": " ".join(text for text in dmi if text),
        "virtual": flags is not None,
    }


def judge_mode(fact: dict[str, Any], need: Need) -> Verdict:
    """A whole GPU, passed through or in a machine without hypervisor."""
    expected = "a whole GPU, passed through"

    def judge(gpu: dict[str, Any]) -> Verdict:
        mode = gpu["virtualization"]
        if mode == PASSTHROUGH:
            return passed("passthrough" + (f" on {fact['dmi']}" if fact["dmi"] else ""), expected)
        if mode == BARE and fact["virtual"]:
            return passed("passthrough; the hypervisor hides itself from the driver", expected)
        if mode == BARE:
            return passed("no virtualization", expected)
        if mode == VGPU:
            return warn(
                "vGPU, a share of a GPU",
                expected,
                why="This appliance is measured on whole GPUs. A vGPU has less memory, shares its time with other machines, "
                "needs a licence, and keeps most of the card's health to itself.",
                fix=fixes.ATTACH_WHOLE_GPU,
            )
        return fail(
            f"the GPU's hypervisor side (mode {mode})",
            expected,
            why="This system is the one that hands GPUs out to virtual machines. Its driver does not do CUDA.",
            fix="# run the appliance in a virtual machine of this host\n" + fixes.ADD_GPU,
        )

    return each({"init": fact["init"], "devices": fact["devices"]}, judge)


def probe_flavor(host: Host) -> dict[str, Any]:
    """Signs of the GRID build: its daemon, its packages, its installer's log. `unseen`: a container shows none of them."""
    signs = []
    if host.exists("/usr/bin/nvidia-gridd"):
        signs.append("/usr/bin/nvidia-gridd")
    if any(host.read_text(f"/proc/{pid}/comm") == "nvidia-gridd" for pid in host.listdir("/proc") if pid.isdigit()):
        signs.append("nvidia-gridd runs")
    version, log = loaded_version(host), host.read_text("/var/log/nvidia-installer.log") or ""
    if version and f"{version}-grid" in log:  # logs of earlier drivers stay behind
        signs.append(f"installed from a {version}-grid.run")
    packages = host.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n", "nvidia-linux-grid*")
    signs += [line.split()[-1] for line in packages["out"].splitlines() if line.startswith("ii")]
    return {**reads("virtualization", "license")(host), "signs": signs, "unseen": host.in_container()}


def judge_flavor(fact: dict[str, Any], need: Need) -> Verdict:
    """The GRID build on a vGPU, the datacenter build on a whole GPU."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        told = gpu["license"]
        grid = bool(fact["signs"] or (told and told["supported"]))
        signs = ", ".join(fact["signs"]) or "it asks for a licence"
        if not grid and told is None and fact["unseen"]:
            return skip("a container does not show which build the host has")
        if gpu["virtualization"] == VGPU:
            if grid:
                return passed("GRID guest driver", "the GRID guest driver for a vGPU")
            return fail(
                "the datacenter driver on a vGPU",
                "the GRID guest driver for a vGPU",
                why="The card is a vGPU and nothing of NVIDIA's GRID guest driver is here. The datacenter driver does not "
                "serve a vGPU, whatever its version.",
                fix=fixes.GRID_DRIVER,
                reboot=True,
            )
        if not grid:
            return passed("datacenter driver", "the datacenter driver")
        return warn(
            f"GRID driver on a whole GPU ({signs})",
            "the datacenter driver",
            why="It works, and CUDA is the judge. But it is made for vGPUs: Ubuntu does not update it, updates come from "
            "NVIDIA's licensing portal alone, and its daemon complains about a licence that a whole GPU does not need.",
            fix=fixes.REPLACE_GRID,
            reboot=True,
        )

    return each({"init": fact["init"], "devices": fact["devices"]}, judge, "license")


def probe_licence(host: Host) -> dict[str, Any]:
    """NVML's mode and licence of every GPU, and the last word of the licence daemon."""
    ran = host.run("journalctl", "-u", "nvidia-gridd", "-b", "-n", "50", "--no-pager", "-o", "cat", timeout_s=1.5)
    words = [line[:160] for line in ran["out"].splitlines() if "licen" in line.lower()]
    return {**reads("virtualization", "license")(host), "daemon": words[-1] if words else None}


def judge_licence(fact: dict[str, Any], need: Need) -> Verdict:
    """Licensed, or no vGPU at all. An unknown state warns and does not skip, for CUDA waits for this."""
    expected = "licensed"
    daemon = fact["daemon"] or ""
    said = f" Its daemon last said: {daemon!r}." if daemon else ""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if gpu["virtualization"] is not None and gpu["virtualization"] != VGPU:
            return passed("no vGPU, so no licence needed", expected)
        states = [state for _, state in (gpu["license"] or {"features": []})["features"]]
        if LICENSED in states or (not states and "acquired successfully" in daemon):
            return passed("vGPU, licensed", expected)
        if gpu["virtualization"] is None and not states:
            return passed("the driver knows of no vGPU", expected)
        if gpu["license"] and not gpu["license"]["supported"]:
            return skip("this driver has no licensing; drv.flavor tells")
        if UNRESTRICTED in states:
            return warn(
                "vGPU without a licence, not restricted yet",
                expected,
                why="It runs at full speed for a grace period, within a day it slows down and then refuses CUDA."
                + said,
                fix=fixes.VGPU_LICENCE,
            )
        if RESTRICTED in states or UNLICENSED in states:
            return fail(
                "vGPU without a licence, restricted",
                expected,
                why="nvidia-smi looks well, but every CUDA program is told that the device is busy or unavailable."
                + said,
                fix=fixes.VGPU_LICENCE,
            )
        return warn(
            "vGPU, licence state unknown",
            expected,
            why="The driver has not decided, or does not tell. Without a licence CUDA stops working within a day."
            + said,
            fix="nvidia-smi -q | grep -A2 'vGPU Software'\nsystemctl status nvidia-gridd\n" + fixes.VGPU_LICENCE,
        )

    return each({"init": fact["init"], "devices": fact["devices"]}, judge, "virtualization", "license")


CHECKS = (
    Check(
        id="virt.mode",
        title="Whole GPU or vGPU",
        section="PCI and driver",
        scope="both",
        needs=("nvml.init",),
        probe=probe_mode,
        judge=judge_mode,
        blocking=True,
        explain="""Asks the driver how the GPU comes to this system: directly, passed through by a hypervisor, or as a
        vGPU, which is a share of one. The numbers of this appliance hold for a whole GPU. A hypervisor can hide itself,
        so a virtual machine in which the driver sees none counts as passthrough.""",
    ),
    Check(
        id="drv.flavor",
        title="Driver's build",
        section="PCI and driver",
        scope="both",
        needs=("virt.mode",),
        probe=probe_flavor,
        judge=judge_flavor,
        explain="""NVIDIA builds each driver twice: for datacenters, and as the GRID guest driver for vGPUs. The version
        does not tell them apart, so this looks for the GRID daemon, packages and installer, and asks NVML about licences.
        GRID on a whole GPU works with drawbacks; the datacenter build on a vGPU does not work.""",
    ),
    Check(
        id="vgpu.licence",
        title="vGPU licence",
        section="PCI and driver",
        scope="both",
        needs=("nvml.init",),
        probe=probe_licence,
        judge=judge_licence,
        blocking=True,
        explain="""For a vGPU: whether it has got its licence from NVIDIA's licence server, by NVML and by the log of
        nvidia-gridd. The usual causes are a missing token file, a clock that is off, or a firewall before the server.
        Without a licence nvidia-smi still looks well while CUDA is refused.""",
    ),
)
