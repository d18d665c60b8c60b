"""The GPU as the PCI bus shows it, and the kernel driver that holds it."""

from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks import _kernel
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip

DEVICES = "/sys/bus/pci/devices"


def probe_present(host: Host) -> list[dict[str, str | None]]:
    """NVIDIA's display and 3D controllers: slot, PCI device id and the kernel driver that holds them."""
    found = []
    for slot in host.listdir(DEVICES):
        vendor, kind = (host.read_text(f"{DEVICES}/{slot}/{name}") for name in ("vendor", "class"))
        if vendor == "0x10de" and (kind or "").startswith(("0x0300", "0x0302")):
            driver = host.readlink(f"{DEVICES}/{slot}/driver")
            found.append(
                {
                    "slot": slot,
                    "device": (host.read_text(f"{DEVICES}/{slot}/device") or "").removeprefix("0x"),
                    "driver": driver.rpartition("/")[2] if driver else None,
                }
            )
    return found


def judge_present(fact: list[dict[str, str | None]], need: Need) -> Verdict:
    """At least as many as are needed; an image without CUDA needs none, and all checks of GPUs are skipped."""
    if need.gpus == 0:
        return skip("the image is the one for machines without a GPU")
    expected = f"{need.gpus} NVIDIA GPU{'s' if need.gpus > 1 else ''}"
    if len(fact) >= need.gpus:
        return passed(", ".join(f"10de:{gpu['device']} in {gpu['slot']}" for gpu in fact), expected)
    return fail(
        f"{len(fact)} on the PCI bus",
        expected,
        why="The VM does not see the card at all, so no driver can help: it was not attached, or to another VM.",
        fix=fixes.ADD_GPU,
    )


REFUSED = "not supported by the NVIDIA"
"""What the driver writes to the kernel's log about a card that it does not know."""


def probe_bound(host: Host) -> dict[str, Any]:
    """Who holds each card, whether the nvidia module is loaded, and its refusals in the kernel's log (None: not seen)."""
    gpus = probe_present(host)
    loaded = "nvidia" in _kernel.loaded_modules(host) or host.exists("/sys/module/nvidia")
    idle = loaded and any(gpu["driver"] is None for gpu in gpus)
    return {
        "gpus": gpus,
        "loaded": loaded,
        "installed": loaded or bool(_kernel.nvidia_on_disk(host)),
        "refused": _kernel.log_lines(host, REFUSED) if idle else [],
    }


def judge_bound(fact: dict[str, Any], need: Need) -> Verdict:
    """The nvidia driver, or nobody as long as its module is not loaded; never another driver."""
    expected = "held by nvidia"
    gpus = fact["gpus"]
    if sum(gpu["driver"] == "nvidia" for gpu in gpus) >= need.gpus:
        return passed(", ".join(f"{gpu['slot']}: {gpu['driver'] or 'nobody'}" for gpu in gpus), expected)
    gpu = next((gpu for gpu in gpus if gpu["driver"] not in (None, "nvidia")), None)
    if gpu is None:
        slots = ", ".join(gpu["slot"] for gpu in gpus if gpu["driver"] is None)
        if not fact["loaded"]:
            return passed(f"{slots}: free for the nvidia module", expected)
        return _refused(f"{slots}: held by nobody, though nvidia is loaded", expected, fact["refused"])
    found = f"{gpu['slot']}: held by {gpu['driver']}"
    if gpu["driver"] == "vfio-pci":
        return fail(
            found,
            expected,
            why="vfio-pci sets a card aside for a virtual machine. This system does not use it itself.",
            fix="grep -rl vfio /etc/modprobe.d /etc/default/grub   # remove the entries that name this card, then\n"
            "sudo update-initramfs -u && sudo update-grub && sudo reboot",
            reboot=True,
        )
    fix = fixes.BLACKLIST_NOUVEAU.replace("nouveau", gpu["driver"])
    if not fact["installed"]:
        fix = fix.removesuffix(fixes.REBOOT) + fixes.INSTALL_DRIVER
    return fail(
        found,
        expected,
        why=f"{gpu['driver']} took the card at boot. It knows nothing of CUDA, and nvidia cannot have the card beside it.",
        fix=fix,
        reboot=True,
    )


def _refused(found: str, expected: str, lines: list[str] | None) -> Verdict:
    """The module is loaded and left the card alone."""
    if lines:
        return fail(
            found,
            expected,
            why=f"The kernel's log says: {lines[-1]!r}. Either the driver is older than the card, or the card is a vGPU, "
            "which needs NVIDIA's GRID guest driver and refuses the datacenter one.",
            fix="lspci -nnk -d 10de:   # which card it is; Prism says whether it is passed through or a vGPU\n"
            "# passed through:\n" + fixes.INSTALL_DRIVER + "\n# vGPU:\n" + fixes.GRID_DRIVER,
            reboot=True,
        )
    unseen = " The kernel's log, which has the reason, needs sudo." if lines is None else ""
    return fail(
        found,
        expected,
        why="The driver tried this card and gave up." + unseen,
        fix="sudo dmesg | grep -i nvrm   # the reason\n" + fixes.REBOOT_THEN_POWER_CYCLE,
        reboot=True,
    )


CHECKS = (
    Check(
        id="pci.gpu_present",
        title="GPU on the PCI bus",
        section="PCI and driver",
        scope="both",
        probe=probe_present,
        judge=judge_present,
        blocking=True,
        explain="""Lists NVIDIA display and 3D controllers in /sys/bus/pci. None means that the hypervisor gave this VM no
        GPU: add it in Prism, with the VM powered off. A card that is passed through serves one VM at a time.""",
    ),
    Check(
        id="pci.driver_bound",
        title="Who holds the GPU",
        section="PCI and driver",
        scope="both",
        needs=("pci.gpu_present",),
        probe=probe_bound,
        judge=judge_bound,
        blocking=True,
        explain="""Reads which kernel driver has taken each card. nouveau, Ubuntu's own graphics driver, takes it when it
        comes first at boot; vfio-pci keeps it for a virtual machine. Both shut nvidia out until the next boot. A card that
        nvidia left alone is one it does not know, or a vGPU under a datacenter driver.""",
    ),
)
