"""Cases of the kernel log. The lines have the driver's form; what follows the number differs between drivers."""

BOOT = "Linux version 6.8.0-45-generic\nnvidia: loading out-of-tree module taints kernel.\n"
NOBODY = "Hint: You are currently not seeing messages from other users and the system."


def xid(number, text="pid=812, name=python"):
    return f"NVRM: Xid (PCI:0000:00:06): {number}, {text}\n"


def log(text, program="journalctl"):
    return {program: f"cat <<'END'\n{BOOT}{text}END"}


def seen(bad_rows=False, **counts):
    found = {f"{name.removeprefix('xid')} 0000:00:06": count for name, count in counts.items()}
    return {"source": "journalctl", "problem": None, "seen": found, "bad_rows": bad_rows}


NO_LEAVE = {
    "journalctl": f"echo '-- No entries --'; echo '{NOBODY}' >&2",
    "dmesg": "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1",
}
BY_DMESG = {"journalctl": "echo 'No journal files were found.' >&2; exit 1", **log(xid(79), "dmesg")}
LOST = "NVRM: GPU at PCI:0000:00:06: GPU-4711\nNVRM: GPU 0000:00:06.0: GPU has fallen off the bus.\n"

CASES = [
    {"id": "gpu.xid", "case": "quiet", "status": "pass", "commands": log(""), "says": "journalctl"},
    {"id": "gpu.xid", "case": "a program's", "status": "pass", "commands": log(xid(31) + xid(13)), "says": "2 of programs"},
    {"id": "gpu.xid", "case": "fatal", "status": "fail", "commands": log(xid(13) + xid(79) + xid(79)),
     "says": "Xid 79 x2 (the GPU fell off the bus)", "reboot": True},
    {"id": "gpu.xid", "case": "in words", "status": "fail", "commands": log(LOST), "says": "Xid 79 x1"},
    {"id": "gpu.xid", "case": "by dmesg", "status": "fail", "commands": BY_DMESG, "says": "Xid 79"},
    {"id": "gpu.xid", "case": "quiet dmesg", "status": "pass", "commands": log("", "dmesg"), "says": "dmesg"},
    {"id": "gpu.xid", "case": "warning", "status": "warn", "commands": log(xid(63)), "says": "marked for replacement"},
    {"id": "gpu.xid", "case": "not listed", "status": "warn", "fact": seen(xid999=1), "says": "Xid 999 x1"},
    {"id": "gpu.xid", "case": "row's failure is told", "status": "warn", "fact": seen(True, xid64=1, xid48=1)},
    {"id": "gpu.xid", "case": "and another", "status": "fail", "fact": seen(True, xid64=1, xid119=1), "says": "Xid 119"},
    {"id": "gpu.xid", "case": "no permission", "status": "skip", "commands": NO_LEAVE, "says": "no permission"},
    {"id": "gpu.xid", "case": "needs sudo", "status": "skip", "commands": NO_LEAVE, "says": "sudo"},
    {"id": "gpu.xid", "case": "no programs", "status": "skip", "says": "dmesg is not installed"},
]  # fmt: skip
