"""The GPU as the PCI bus shows it, before any driver."""

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed

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
    """At least as many as are needed."""
    expected = f"{need.gpus} NVIDIA GPU{'s' if need.gpus > 1 else ''}"
    if len(fact) >= need.gpus:
        return passed(", ".join(f"10de:{gpu['device']} in {gpu['slot']}" for gpu in fact), expected)
    return fail(
        f"{len(fact)} on the PCI bus",
        expected,
        why="The VM does not see the card at all, so no driver can help: it was not attached, or to another VM.",
        fix=fixes.ADD_GPU,
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
)
