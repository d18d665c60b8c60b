"""What kind of machine this is: its processor family, its hypervisor and its memory."""

import platform
import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

REFERENCE_GIB = 57.0  # of the reference VM's 64 GB, what a kernel shows, less a tenth
CPU_ONLY_GIB = 7
NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 where there is no limit


def probe_arch(host: Host) -> str:
    """The kernel's name for the processor family."""
    return platform.machine()


def judge_arch(fact: str, need: Need) -> Verdict:
    """x86_64 and nothing else."""
    if fact in ("x86_64", "AMD64"):
        return passed("x86_64")
    return fail(
        fact or "unknown",
        "x86_64",
        why="The image holds programs for 64-bit Intel and AMD processors; on another family they do not start.",
        fix="# make the VM on an x86_64 host; there is no setting that helps",
    )


def probe_hypervisor(host: Host) -> dict[str, Any]:
    """Vendor and product of the (virtual) board, whether the CPU says that it is virtual, and the kernel's release."""
    board = {name: host.read_text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")}
    flags = re.search(r"^flags\s*:.*$", host.read_text("/proc/cpuinfo") or "", re.MULTILINE)
    virtual = None if flags is None else " hypervisor" in flags.group()
    return {**board, "virtual": virtual, "kernel": host.read_text("/proc/sys/kernel/osrelease")}


HYPERVISORS: tuple[tuple[str, str], ...] = (
    ("nutanix", "Nutanix AHV"),
    ("ahv", "Nutanix AHV"),
    ("virtualbox", "VirtualBox"),
    ("innotek", "VirtualBox"),
    ("vmware", "VMware"),
    ("xen", "Xen"),
    ("qemu", "KVM"),
    ("kvm", "KVM"),
    ("openstack", "KVM (OpenStack)"),
    ("google", "Google Cloud"),
    ("amazon", "Amazon EC2"),
)
"""Word in the board's vendor or product, in lower case -> the hypervisor's name; the first that fits."""


def judge_hypervisor(fact: dict[str, Any], need: Need) -> Verdict:
    """Names it. Warns only where a GPU cannot be passed through; an unknown one passes, as a brand can be hidden."""
    board = " ".join(part for part in (fact["sys_vendor"], fact["product_name"]) if part)
    if "microsoft" in (fact["kernel"] or "").lower():
        return warn(
            "Windows Subsystem for Linux",
            "a virtual machine or a server",
            why="The NVIDIA driver is the one of Windows here, so most checks of it and most fix lines do not apply.",
            fix="# for more than a trial take a server VM with Ubuntu 24.04 and the GPU passed through",
        )
    name = next((name for word, name in HYPERVISORS if word in board.lower()), None)
    if name == "VirtualBox":
        return warn(
            "VirtualBox",
            "a hypervisor that passes a GPU through",
            why="VirtualBox has no PCI passthrough any more: this VM will not see a GPU, and training stays on the CPU.",
            fix="# make the VM on AHV, KVM or ESXi, with the GPU passed through",
        )
    if name:
        return passed(name)
    if not board and fact["virtual"] is None:
        return skip("neither the board nor the processor says")
    if fact["virtual"]:
        return passed(f"virtual machine{f' ({board})' if board else ', brand hidden'}")
    return passed(f"no hypervisor seen{f' ({board})' if board else ''}")


def probe_ram(host: Host) -> dict[str, int | None]:
    """Bytes of memory, and the cgroup's limit in bytes (None: no limit)."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", host.read_text("/proc/meminfo") or "", re.MULTILINE)
    limits = [
        host.read_text(file) for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    ]
    numbers = [int(text) for text in limits if text and text.isdigit() and int(text) < NO_LIMIT]
    return {"total_bytes": int(total.group(1)) * 1024 if total else None, "limit_bytes": min(numbers, default=None)}


def judge_ram(fact: dict[str, int | None], need: Need) -> Verdict:
    """What the recipe needs; without a recipe the reference VM's 64 GB, and less warns."""
    total, limit = fact["total_bytes"], fact["limit_bytes"]
    if total is None:
        return skip("/proc/meminfo cannot be read")
    usable = total if limit is None else min(total, limit)
    found = f"{usable / GIB:.1f} GiB" + (f" (of {total / GIB:.1f}, limited by the cgroup)" if usable < total else "")
    fix = (
        "# in compose.yaml: raise or remove the service's `mem_limit`\ndocker compose up -d"
        if usable < total
        else fixes.RESIZE_VM
    )
    if need.ram_gib is not None:
        expected = f"{need.ram_gib:g} GiB or more for this recipe"
        if usable >= need.ram_gib * GIB:
            return passed(found, expected)
        return fail(
            found,
            expected,
            why="Loading the recipe's models takes more memory than there is: the kernel would kill the run.",
            fix=f"{fix}\n# or choose a recipe with a smaller model",
        )
    reference_gib = REFERENCE_GIB if need.gpus else CPU_ONLY_GIB
    expected = f"{reference_gib:g} GiB or more"
    if usable >= reference_gib * GIB:
        return passed(found, expected)
    return warn(
        found,
        expected,
        why="Small models train in less, large ones do not load. "
        + (
            "What this recipe needs can be told once its models are folders on this machine."
            if need.models
            else "`--config` with your recipe tells what it needs."
        ),
        fix=fix,
    )


CHECKS = (
    Check(
        id="host.arch",
        title="Processor family",
        section="VM",
        scope="both",
        probe=probe_arch,
        judge=judge_arch,
        blocking=True,
        explain="""Asks the kernel for the processor family. The image and its GPU libraries are built for x86_64 (Intel and
        AMD, 64 bits) alone, so an ARM server cannot run them, whatever GPU it has.""",
    ),
    Check(
        id="host.hypervisor",
        title="Hypervisor",
        section="VM",
        scope="both",
        probe=probe_hypervisor,
        judge=judge_hypervisor,
        explain="""Reads the board's vendor and product and the processor's mark of a virtual machine. It is there to tell
        support where this runs. An administrator can hide the brand, so an unknown name is no fault; only WSL and
        VirtualBox warn, because a passed-through GPU is not to be had there.""",
    ),
    Check(
        id="host.ram",
        title="Memory",
        section="VM",
        scope="both",
        probe=probe_ram,
        judge=judge_ram,
        blocking=True,
        explain="""Reads the machine's memory and, in a container, the limit that its cgroup sets. Weights pass through main
        memory on their way to the GPU, and saving a checkpoint needs a copy there. Too little shows as a run that ends
        with "Killed" and no message. With --config the recipe's own need decides.""",
    ),
)
