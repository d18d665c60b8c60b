"""What keeps the nvidia module out of the kernel, and the device nodes through which programs reach it."""

import errno
import os
import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks import _kernel
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, warn

EFI = "/sys/firmware/efi"
SECURE_BOOT = f"{EFI}/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
REFUSED = "[Ll]oading of .*module.* is rejected|unsigned module loading is restricted|Key was rejected by service"


def probe_nouveau(host: Host) -> dict[str, Any]:
    """Whether nouveau is loaded, and the files that forbid it."""
    folder = "/etc/modprobe.d"
    forbids = [
        name
        for name in host.listdir(folder)
        if re.search(r"(?m)^\s*(blacklist|install)\s+nouveau\b", host.read_text(f"{folder}/{name}") or "")
    ]
    return {"loaded": "nouveau" in _kernel.loaded_modules(host) or host.exists("/sys/module/nouveau"), "files": forbids}


def judge_nouveau(fact: dict[str, Any], need: Need) -> Verdict:
    """Not loaded; that it does not hold the card is known from pci.driver_bound."""
    if not fact["loaded"]:
        return passed(
            "not loaded" + (f", forbidden in {', '.join(fact['files'])}" if fact["files"] else ""), "not loaded"
        )
    return warn(
        "loaded, without a card",
        "not loaded",
        why="nvidia came first this time. At another boot nouveau may, and then the GPU is gone for CUDA.",
        fix=fixes.BLACKLIST_NOUVEAU,
        reboot=True,
    )


def probe_secureboot(host: Host) -> dict[str, Any]:
    """`state` "on", "off", "none" (no UEFI) or None; whether nvidia is loaded, is on disk, and was refused by the kernel."""
    loaded = "nvidia" in _kernel.loaded_modules(host) or host.exists("/sys/module/nvidia")
    state = _secure_boot(host, ask_shim=not loaded)
    wanted = state == "on" and not loaded
    return {
        "state": state,
        "loaded": loaded,
        "on_disk": _kernel.nvidia_on_disk(host),
        "refused": _kernel.log_lines(host, REFUSED) if wanted else [],
    }


def _secure_boot(host: Host, *, ask_shim: bool) -> str | None:
    """The firmware's "on", "off", "none" or None; the shim, asked through mokutil, can switch off what the firmware has on."""
    if not host.exists(EFI):
        return "none"
    said = host.run("mokutil", "--sb-state", timeout_s=1.0) if ask_shim else None
    text = (said["out"] + said["err"]).lower() if said else ""
    if "disabled" in text or "doesn't support" in text:  # "validation is disabled in shim" counts: modules then load
        return "off"
    data = host.read_bytes(SECURE_BOOT)
    if data is not None and len(data) >= 5:  # four bytes of attributes, then the value
        return "on" if data[4] == 1 else "off"
    return "on" if "enabled" in text else None


def judge_secureboot(fact: dict[str, Any], need: Need) -> Verdict:
    """Off, or no obstacle: the module is loaded, is not there to be refused, or was not refused."""
    expected = "off, or a signed module"
    state, on_disk, refused = fact["state"], fact["on_disk"], fact["refused"]
    if fact["loaded"]:
        return passed(f"{state or 'state unknown'}, and nvidia is loaded", expected)
    if state in ("off", "none"):
        return passed("off" if state == "off" else "legacy BIOS, no Secure Boot", expected)
    if state is None:
        return warn(
            "state cannot be read",
            expected,
            why="If it is on, the kernel turns away modules that nobody signed, and nvidia is not loaded.",
            fix="sudo mokutil --sb-state",
        )
    if refused:
        return _locked_out(f"on, and the kernel refused: {refused[-1][-90:]}", expected, "")
    if on_disk and refused is None:
        unsure = " The kernel's log would tell for sure; reading it needs sudo."
        return _locked_out("on, and nvidia is installed but not loaded", expected, unsure)
    return passed(
        "on; nothing of nvidia's was refused" if on_disk else "on; there is no nvidia module to refuse", expected
    )


def _locked_out(found: str, expected: str, unsure: str) -> Verdict:
    return fail(
        found,
        expected,
        why="Secure Boot lets the kernel load signed modules only. The nvidia module was built on this machine or came "
        "from NVIDIA's installer, and no key that the firmware knows has signed it." + unsure,
        fix=fixes.INSTALL_DRIVER.replace(
            "sudo reboot", "sudo reboot   # these modules are signed by Ubuntu, so Secure Boot can stay on"
        ),
        reboot=True,
    )


OPEN_TO_ALL = "sudo chmod 0666 /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm   # until the next boot"
CONTROL, MEMORY = "nvidiactl", "nvidia-uvm"


def open_nodes(files: list[str]) -> dict[str, str | None]:
    """Runs in a child, for opening can hang in the driver: what opening each file for reading and writing ended with."""
    ended: dict[str, str | None] = {}
    for file in files:
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
            ended[file] = None
        except OSError as error:
            ended[file] = errno.errorcode.get(error.errno or 0, str(error.errno))
    return ended


def probe_nodes(host: Host) -> dict[str, Any]:
    """Per node "open", "missing" or the error's name (EPERM); `problem` where opening did not come back."""
    cards = [name for name in host.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)]
    names = [*(cards or ["nvidia0"]), CONTROL, MEMORY]
    here = [name for name in names if host.exists(f"/dev/{name}")]
    paths = {name: str(host.path(f"/dev/{name}")) for name in here}
    ended = host.child("checks.modules:open_nodes", list(paths.values())) if here else {"value": {}, "problem": None}
    opened = ended["value"] or {}
    return {
        "uvm_loaded": "nvidia_uvm" in _kernel.loaded_modules(host),
        "nodes": {name: (opened.get(paths[name]) or "open") if name in here else "missing" for name in names},
        "problem": ended["problem"],
        "container": host.in_container(),
    }


def judge_nodes(fact: dict[str, Any], need: Need) -> Verdict:
    """All of them open for reading and writing."""
    expected = "/dev/nvidia0, nvidiactl and nvidia-uvm open"
    if fact["problem"]:
        return fail(
            f"opening them: {fact['problem']}",
            expected,
            why="The driver holds on to whoever opens its devices, so every CUDA program would hang as well.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )
    missing = [name for name, state in fact["nodes"].items() if state == "missing"]
    refused = [f"/dev/{name} ({state})" for name, state in fact["nodes"].items() if state not in ("open", "missing")]
    if not missing and not refused:
        return passed(", ".join(fact["nodes"]), expected)
    found = ", ".join([*(f"no /dev/{name}" for name in missing), *refused])
    if missing and fact["container"]:
        return fail(
            found,
            expected,
            why="The container was given only a part of the driver's devices, most often because they did not exist on "
            "the host when it was created.",
            fix="# on the host:\n" + fixes.DEVICE_NODES + "\ndocker compose up -d --force-recreate",
        )
    if missing:
        return fail(
            found,
            expected,
            why="CUDA reaches the GPU through these files. nvidia-smi works without nvidia-uvm, CUDA does not"
            + ("." if fact["uvm_loaded"] or MEMORY not in missing else "; its module is not loaded."),
            fix=fixes.DEVICE_NODES,
        )
    return fail(
        found,
        expected,
        why="The files are there, but this user may not open them, or the container's device rules forbid it.",
        fix="ls -l /dev/nvidia*   # crw-rw-rw- is usual\n"
        + ("# on the host:\ndocker compose up -d --force-recreate" if fact["container"] else OPEN_TO_ALL),
    )


CHECKS = (
    Check(
        id="mod.nouveau",
        title="nouveau kept away",
        section="PCI and driver",
        scope="host",
        needs=("pci.driver_bound",),
        probe=probe_nouveau,
        judge=judge_nouveau,
        explain="""Looks for Ubuntu's own driver of NVIDIA cards in /proc/modules and for files in /etc/modprobe.d that
        forbid it. Loaded beside nvidia it does no harm today, but which of the two gets the card is decided anew at
        every boot. Usual cause: nvidia was installed from a .run file.""",
    ),
    Check(
        id="mod.secureboot",
        title="Secure Boot",
        section="PCI and driver",
        scope="host",
        needs=("pci.driver_bound",),
        probe=probe_secureboot,
        judge=judge_secureboot,
        blocking=True,
        explain="""Reads the firmware's Secure Boot switch (a UEFI variable, mokutil) and, when it is on and nvidia is not
        loaded, the kernel's log for a refusal. Modules built by DKMS or NVIDIA's installer carry no key that the firmware
        trusts. Ubuntu's prebuilt linux-modules-nvidia packages do; a VM without Secure Boot is the other way.""",
    ),
    Check(
        id="mod.uvm_nodes",
        title="Device nodes",
        section="PCI and driver",
        scope="both",
        needs=("nvml.init",),
        probe=probe_nodes,
        judge=judge_nodes,
        blocking=True,
        explain="""Opens /dev/nvidia0, /dev/nvidiactl and /dev/nvidia-uvm for reading and writing, in a process that is
        killed if it hangs. nvidia-uvm is made late, by the first CUDA program or by nvidia-persistenced, so a VM can look
        ready in nvidia-smi and still fail in CUDA. In a container: the toolkit handed over what existed at its creation.""",
    ),
)
