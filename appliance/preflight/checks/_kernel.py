"""What the kernel tells about modules: those loaded, those on disk, and what it logged since it started."""

import re

from appliance.preflight.host import Host

UNSEEN = ("not seeing messages", "insufficient permissions", "no journal files")
"""What journalctl says, with exit code 0, to a user who sees only a part of the journal."""


def loaded_modules(host: Host) -> list[str]:
    """Names in /proc/modules."""
    return [line.split()[0] for line in (host.read_text("/proc/modules") or "").splitlines() if line]


def release(host: Host) -> str | None:
    """The running kernel, as "6.8.0-45-generic"."""
    return host.read_text("/proc/sys/kernel/osrelease")


def nvidia_on_disk(host: Host) -> bool | None:
    """Whether the running kernel has an nvidia module it could load; None where the list cannot be read (a container)."""
    data = host.read_bytes(f"/lib/modules/{release(host)}/modules.dep", limit=8_000_000)
    return None if data is None else re.search(rb"(?m)^(\S*/)?nvidia\.ko(\.\w+)?:", data) is not None


def log_lines(host: Host, pattern: str) -> list[str] | None:
    """Lines of this boot's log that match; None where this user may see neither the journal nor the kernel's buffer."""
    ran = host.run("journalctl", "-b", "--no-pager", "-o", "cat", "--grep", pattern, timeout_s=1.5)
    partial = any(word in ran["err"].lower() for word in UNSEEN)
    if (ran["code"] == 0 and not partial) or (ran["code"] == 1 and not ran["err"]):  # 1: nothing matches
        text = ran["out"]
    else:
        ran = host.run("dmesg", timeout_s=1.0)
        if ran["code"] != 0:
            return None
        text = ran["out"]
    return [line[:200] for line in text.splitlines() if re.search(pattern, line)][-5:]
