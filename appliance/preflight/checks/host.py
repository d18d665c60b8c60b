"""The virtual machine: its system, processors and clock."""

import ctypes
import os
import shlex
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

TESTED = ("22.04", "24.04")


def probe_os(host: Host) -> dict[str, str] | None:
    """Id and version of the distribution."""
    text = host.read_text("/etc/os-release")
    if text is None:
        return None
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: " ".join(shlex.split(pairs.get(key, ""))) for key in ("ID", "VERSION_ID", "PRETTY_NAME")}


def judge_os(fact: dict[str, str] | None, need: Need) -> Verdict:
    """Ubuntu 22.04 and 24.04 are tested; anything else warns."""
    if fact is None:
        return skip("there is no /etc/os-release")
    name = fact["PRETTY_NAME"] or fact["ID"] or "unnamed"
    if fact["ID"] == "ubuntu" and fact["VERSION_ID"] in TESTED:
        return passed(name)
    return warn(
        name,
        f"Ubuntu {' or '.join(TESTED)}",
        why="The fix lines of this report and the provisioning scripts are made for these releases; others may work.",
        fix="lsb_release -a   # for a new VM take the Ubuntu 24.04 server image",
    )


def probe_cpu(host: Host) -> dict[str, Any]:
    """CPUs that this process may run on, and the cgroup's limit in CPUs (None: no limit)."""
    return {"cpus": len(os.sched_getaffinity(0)), "limit": cpu_limit(host.read_text("/sys/fs/cgroup/cpu.max"))}


def cpu_limit(text: str | None) -> float | None:
    """CPUs of a cgroup's cpu.max ("quota period" in microseconds, or "max period"); None where there is no limit."""
    quota, _, period = (text or "max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def judge_cpu(fact: dict[str, Any], need: Need) -> Verdict:
    """16 or more pass, fewer than 16 warn, fewer than 4 fail; without a GPU to feed 2 pass and 1 warns."""
    limit = fact["limit"]
    usable = fact["cpus"] if limit is None else min(fact["cpus"], limit)
    found = f"{usable:g} CPUs" + (f" (of {fact['cpus']}, limited by the cgroup)" if usable < fact["cpus"] else "")
    if need.gpus == 0:
        why = "The page and the training share the only CPU: both are slow."
        fix = fixes.RESIZE_VM
        return passed(found, "2 or more") if usable >= 2 else warn(found, "2 or more", why=why, fix=fix)
    if usable >= 16:
        return passed(found, "16 or more")
    say = fail if usable < 4 else warn
    return say(
        found,
        "16 or more, at least 4",
        why="Reading data, tokenizing, the page and the worker share the CPUs; with too few of them the GPU waits.",
        fix=fixes.RESIZE_VM + "\n# in a container: raise or remove `cpus` in compose.yaml",
    )


def probe_clock(host: Host) -> dict[str, Any]:
    """What timedatectl says about synchronization; in a container, which has no timedatectl, what the kernel says."""
    if host.in_container():
        return {"kernel": kernel_clock()}
    return dict(host.run("timedatectl", "show", "-p", "NTPSynchronized", "--value"))


def kernel_clock() -> dict[str, Any]:
    """The largest error of the clock in microseconds by adjtimex(2), which changes nothing; or the error's text."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(256)  # struct timex is 208 bytes; all zero: only read
    if libc.adjtimex(timex) < 0:
        return {"error": os.strerror(ctypes.get_errno())}
    # unsigned modes, 4 bytes of padding, then long offset, freq, maxerror
    return {"error": None, "max_error_us": int.from_bytes(timex.raw[24:32], "little", signed=True)}


SYNCHRONIZED_US = 16_000_000
"""The kernel's error bound grows to 16 s while nothing corrects the clock; below that, timedatectl too says "yes"."""


def judge_clock(fact: dict[str, Any], need: Need) -> Verdict:
    """Synchronized passes, not synchronized warns; where neither timedatectl nor the kernel tells it is not known."""
    if "kernel" in fact:
        kernel = fact["kernel"]
        if kernel["error"]:
            return skip(f"the kernel does not tell: {kernel['error']}")
        synchronized = kernel["max_error_us"] < SYNCHRONIZED_US
    elif fact["problem"] or fact["code"] != 0:
        return skip(fact["problem"] or f"timedatectl: {fact['err'].splitlines()[0] if fact['err'] else 'no answer'}")
    else:
        synchronized = fact["out"] == "yes"
    if synchronized:
        return passed("synchronized")
    return warn(
        "not synchronized",
        "synchronized with a time server",
        why="With a wrong clock downloads fail on certificates, tokens expire and a vGPU licence is refused.",
        fix="# a container has its host's clock: on the host\n" * ("kernel" in fact) + "sudo timedatectl set-ntp true\n"
        "timedatectl status   # at a closed site set NTP= in /etc/systemd/timesyncd.conf",
    )


CHECKS = (
    Check(
        id="host.os",
        title="Operating system",
        section="VM",
        scope="host",
        probe=probe_os,
        judge=judge_os,
        explain="""Reads /etc/os-release. The appliance is tested on Ubuntu 22.04 and 24.04, and every fix line here is
        written for them. Another system may run it well, but you will have to translate package names yourself.""",
    ),
    Check(
        id="host.cpu",
        title="Processors",
        section="VM",
        scope="both",
        probe=probe_cpu,
        judge=judge_cpu,
        explain="""Counts the CPUs that this process may use, with the limit that a container's cgroup sets. The reference
        VM has 16. With fewer than 4 the GPU waits for data most of the time, so training there is refused.""",
    ),
    Check(
        id="host.clock",
        title="Clock",
        section="VM",
        scope="both",
        probe=probe_clock,
        judge=judge_clock,
        explain="""Asks timedatectl, or in a container the kernel, whether the clock follows a time server. A clock that
        is minutes off breaks TLS to the hub and to registries, and the licence of a vGPU, with messages that never mention
        time.""",
    ),
)
