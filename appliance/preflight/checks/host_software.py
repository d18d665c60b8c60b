"""What waits for the next reboot: pending ones, driver upgrades that come by themselves, a kernel without a module."""

import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, passed, skip, warn


def probe_reboot(host: Host) -> dict[str, Any]:
    """Whether a package asked for a reboot, and which ones did."""
    asked = host.exists("/run/reboot-required") or host.exists("/var/run/reboot-required")
    names = host.read_text("/run/reboot-required.pkgs") or host.read_text("/var/run/reboot-required.pkgs") or ""
    weighty = sorted(set(names.split()), key=lambda name: ("nvidia" not in name, "linux-image" not in name, name))
    return {"required": asked, "packages": weighty}


def judge_reboot(fact: dict[str, Any], need: Need) -> Verdict:
    """No mark passes."""
    if not fact["required"]:
        return passed("none pending")
    names = fact["packages"]
    kernel = any(name.startswith("linux-image") for name in names)
    by = f", asked by {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else ""
    return warn(
        f"pending{by}",
        "none pending",
        why="Upgraded software is on the disk while the old one still runs. A driver in this state breaks at some moment "
        "of its own choosing; better now than in the middle of a run.",
        fix=("# a new kernel: host.kernel_next must pass first, or the GPU is gone afterwards\n" if kernel else "")
        + fixes.REBOOT,
        reboot=True,
    )


def probe_unattended(host: Host) -> dict[str, Any]:
    """Settings of unattended upgrades, and the driver's packages with those that apt holds. None: not or in vain asked."""
    texts = [host.read_text(f"/etc/apt/apt.conf.d/{name}") or "" for name in host.listdir("/etc/apt/apt.conf.d")]
    settings = apt_settings("\n".join(texts))
    if not settings["enabled"]:
        return {**settings, "packages": None, "held": None}
    packages = host.run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", "*nvidia*")
    held = host.run("apt-mark", "showhold")
    # dpkg-query ends with 1 where no package has such a name
    known = packages["problem"] is None and packages["code"] in (0, 1)
    rows = [line.split() for line in packages["out"].splitlines()]
    return {
        **settings,
        "packages": sorted(row[0] for row in rows if row[1:] and row[1][1:2] == "i") if known else None,
        "held": sorted(held["out"].split()) if held["problem"] is None and held["code"] == 0 else None,
    }


def apt_settings(text: str) -> dict[str, Any]:
    """{"enabled", "blacklist"} of apt.conf text: whether upgrades come by themselves, and the patterns they leave out."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(//|#).*$|\s//.*$", "", text, flags=re.MULTILINE)
    periodic = re.findall(r'APT::Periodic::Unattended-Upgrade\s+"([^"]*)"', text)
    lists = re.findall(r"Unattended-Upgrade::Package-Blacklist(?:::)?\s*(\{[^}]*\}|\"[^\"]*\")", text)
    patterns = [pattern for part in lists for pattern in re.findall(r'"([^"]*)"', part)]
    return {"enabled": bool(periodic) and periodic[-1] not in ("0", ""), "blacklist": patterns}


def is_driver(package: str) -> bool:
    """Whether a package is part of the driver: the container toolkit and tools beside it are not."""
    return bool(
        re.match(r"(linux-(modules|objects|signatures)-|lib|xserver-xorg-video-)?nvidia-(?!container|ctk)", package)
    )


def stays(package: str, fact: dict[str, Any]) -> bool:
    """Whether unattended upgrades leave a package alone: held, or named by a pattern that fits its beginning."""
    if package in (fact["held"] or []):
        return True
    for pattern in fact["blacklist"]:
        try:
            if re.match(pattern, package):
                return True
        except re.error:
            if package.startswith(pattern):
                return True
    return False


def judge_unattended(fact: dict[str, Any], need: Need) -> Verdict:
    """Off, or every driver package left out, or there are none from apt."""
    if not fact["enabled"]:
        return passed("off")
    if fact["packages"] is None:
        return skip("dpkg-query gave no list of packages")
    driver = [name for name in fact["packages"] if is_driver(name)]
    if not driver:
        return passed("no driver package from apt")
    free = [name for name in driver if not stays(name, fact)]
    if not free:
        return passed(f"{len(driver)} driver packages stay as they are")
    return warn(
        f"{len(free)} of {len(driver)} driver packages upgrade by themselves: {', '.join(free[:2])}"
        + (", ..." if len(free) > 2 else ""),
        "held, or left out of unattended upgrades",
        why="One night apt replaces the driver's libraries under the running module, and every new program on the GPU "
        "fails with a version mismatch until somebody reboots.",
        fix=fixes.HOLD_DRIVER,
    )


def probe_next(host: Host) -> dict[str, Any]:
    """The running kernel and the newest one on disk, with the nvidia module that each has (None: none)."""
    running = host.read_text("/proc/sys/kernel/osrelease") or ""
    folders = set(host.listdir("/lib/modules")) | set(host.listdir("/usr/lib/modules"))
    images = {name.removeprefix("vmlinuz-") for name in host.listdir("/boot") if name.startswith("vmlinuz-")}
    kernels = [name for name in (images or folders) if name[:1].isdigit()]
    newest = max(kernels, key=kernel_order, default=None)
    loaded = host.read_text("/sys/module/nvidia/version")
    return {
        "running": running,
        "newest": newest,
        "running_module": module_file(host, running),
        "newest_module": module_file(host, newest or ""),
        "driver": loaded,
    }


def kernel_order(release: str) -> list[int]:
    """The numbers of "6.8.0-45-generic", so that -100 comes after -99."""
    return [int(number) for number in re.findall(r"\d+", release)]


def module_file(host: Host, release: str) -> str | None:
    """Where modprobe would find the nvidia module of a kernel, below /lib/modules/<release>; None: nowhere."""
    for root in ("/lib/modules", "/usr/lib/modules"):
        listed = host.read_bytes(f"{root}/{release}/modules.dep", limit=16_000_000) if release else None
        found = re.search(rb"^((?:\S*/)?nvidia\.ko[.\w]*):", listed or b"", re.MULTILINE)
        if found:
            return found.group(1).decode("utf-8", "replace")
    return None


def judge_next(fact: dict[str, Any], need: Need) -> Verdict:
    """The kernel that the next boot takes has a module."""
    newest = fact["newest"]
    if newest is None:
        return skip("no kernel is seen in /boot or /lib/modules")
    if fact["newest_module"]:
        when = "which runs now" if newest == fact["running"] else f"now {fact['running']}"
        return passed(f"kernel {newest} has it, {when}")
    if newest == fact["running"]:
        return skip(f"where kernel {newest} has its loaded module from is not seen")
    if "dkms" in (fact["running_module"] or ""):
        fix = f"sudo apt-get install -y linux-headers-{newest}\nsudo dkms autoinstall -k {newest}\ndkms status"
    else:
        branch = (fact["driver"] or "").partition(".")[0]
        fix = fixes.INSTALL_DRIVER.replace("$(uname -r)", newest)
        if branch.isdigit() and int(branch) >= 535:
            fix = f"sudo apt-get update\nsudo apt-get install -y linux-modules-nvidia-{branch}-server-{newest}"
    return warn(
        f"kernel {newest} has none, now {fact['running']}",
        "a module for the kernel of the next boot",
        why="All is well until the next reboot: then the newer kernel starts, and for that one there is no driver.",
        fix=fix,
    )


CHECKS = (
    Check(
        id="host.reboot_required",
        title="Pending reboot",
        section="VM",
        scope="host",
        probe=probe_reboot,
        judge=judge_reboot,
        explain="""Looks for the mark that Ubuntu's packages leave when they need a reboot, and names the packages. A new
        kernel or driver that waits for it is the usual reason why a machine that worked yesterday does not today.""",
    ),
    Check(
        id="host.unattended_nvidia",
        title="Unattended driver upgrades",
        section="VM",
        scope="host",
        probe=probe_unattended,
        judge=judge_unattended,
        explain="""Compares the installed driver packages with what apt holds and what unattended upgrades leave out. Ubuntu
        brings drivers by its security updates, so without a hold the libraries change under the loaded module, mostly at
        night. Upgrade driver and kernel together instead, by hand, and reboot at once.""",
    ),
    Check(
        id="host.kernel_next",
        title="Module for the next kernel",
        section="VM",
        scope="host",
        needs=("mod.nvidia_loaded",),
        probe=probe_next,
        judge=judge_next,
        explain="""Takes the newest kernel of /boot, which the next boot starts, and looks in its list of modules for nvidia.
        A kernel can arrive by an upgrade before the module built for it, or a DKMS build fails quietly; nobody sees it
        until the machine comes back without a GPU.""",
    ),
)
