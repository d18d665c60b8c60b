"""Cases of nouveau, Secure Boot and the device nodes."""

KERNEL = "6.8.0-45-generic"
ON_DISK = {
    "/proc/sys/kernel/osrelease": f"{KERNEL}\n",
    f"/lib/modules/{KERNEL}/modules.dep": "kernel/fs/ext4/ext4.ko.zst:\nupdates/dkms/nvidia.ko.zst:\n",
}
NOT_ON_DISK = ON_DISK | {f"/lib/modules/{KERNEL}/modules.dep": "kernel/fs/ext4.ko:\nkernel/drivers/nvidia-drm.ko:\n"}
SWITCH = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ON, OFF = {SWITCH: b"\x06\0\0\0\x01"}, {SWITCH: b"\x06\0\0\0\0"}
LOADED = {"/proc/modules": "nvidia_uvm 1 0 - Live 0x0\nnvidia 56 2 nvidia_uvm, Live 0x0\n"}
REFUSAL = "Loading of unsigned module is rejected"


def secureboot(case, status, **rest):
    return {"id": "mod.secureboot", "case": case, "status": status, **rest}


def nodes(case, status, *, missing=(), container=False, loaded=True, problem=None, says="", **states):
    names = ("nvidia0", "nvidiactl", "nvidia-uvm")
    given = {name: "missing" if name in missing else states.get(name, "open") for name in names}
    fact = {"nodes": given, "uvm_loaded": loaded, "container": container, "problem": problem}
    return {"id": "mod.uvm_nodes", "case": case, "status": status, "fact": fact, "says": says}


CASES = [
    {"id": "mod.nouveau", "case": "absent", "status": "pass", "files": LOADED},
    {
        "id": "mod.nouveau",
        "case": "forbidden",
        "status": "pass",
        "files": {
            "/etc/modprobe.d/no-nouveau.conf": "# off\nblacklist nouveau\n",
            "/etc/modprobe.d/x.conf": "#nouveau",
        },
        "says": "forbidden in no-nouveau.conf",
    },
    {
        "id": "mod.nouveau",
        "case": "beside",
        "status": "warn",
        "files": {"/proc/modules": "nouveau 1 0 - Live 0x0\n"},
        "says": "options nouveau modeset=0",
        "reboot": True,
    },
    {"id": "mod.nouveau", "case": "by sysfs", "status": "warn", "files": {"/sys/module/nouveau/refcnt": "0"}},
    secureboot("legacy BIOS", "pass", says="legacy BIOS"),
    secureboot("off", "pass", files=ON_DISK | OFF, says="off"),
    secureboot("on and loaded", "pass", files=ON | LOADED, says="nvidia is loaded"),
    secureboot("on without a driver", "pass", files=ON | NOT_ON_DISK, says="no nvidia module"),
    secureboot("on, not refused", "pass", files=ON | ON_DISK, commands={"journalctl": "exit 1"}, says="refused"),
    secureboot("shim off", "pass", files=ON | ON_DISK, commands={"mokutil": "echo SecureBoot validation is disabled"}),
    secureboot(
        "refused", "fail", files=ON | ON_DISK, commands={"journalctl": f"echo '{REFUSAL}'"}, says="refused: Load"
    ),
    secureboot("dmesg", "fail", files=ON | ON_DISK, commands={"dmesg": f"echo a; echo '{REFUSAL}'"}, says="unsigned"),
    secureboot("log not readable", "fail", files=ON | ON_DISK, says="needs sudo", reboot=True),
    secureboot(
        "others' messages hidden",
        "fail",
        files=ON | ON_DISK,
        commands={
            "journalctl": "echo 'Hint: You are currently not seeing messages from other users' >&2; exit 1",
            "dmesg": "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1",
        },
        says="needs sudo",
    ),
    secureboot(
        "own messages alone",
        "fail",
        files=ON | ON_DISK,
        commands={"journalctl": "echo 'Hint: You are currently not seeing messages from other users' >&2"},
        says="needs sudo",
    ),
    secureboot(
        "journal cannot search",
        "fail",
        files=ON | ON_DISK,
        commands={"journalctl": "echo Compiled without pattern matching support >&2; exit 1", "dmesg": "exit 1"},
        says="needs sudo",
    ),
    secureboot(
        "mokutil alone",
        "fail",
        files=ON_DISK | {"/sys/firmware/efi/runtime": ""},
        commands={"mokutil": "echo SecureBoot enabled", "journalctl": f"echo '{REFUSAL}'"},
    ),
    secureboot("unknown", "warn", files={"/sys/firmware/efi/runtime": ""}, says="mokutil --sb-state"),
    {
        "id": "mod.uvm_nodes",
        "case": "all open",
        "status": "pass",
        "files": {f"/dev/{name}": "" for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-modeset")} | LOADED,
    },
    {
        "id": "mod.uvm_nodes",
        "case": "second card in a container",
        "status": "pass",
        "files": {"/.dockerenv": "", "/dev/nvidia1": "", "/dev/nvidiactl": "", "/dev/nvidia-uvm": ""},
    },
    {
        "id": "mod.uvm_nodes",
        "case": "no uvm",
        "status": "fail",
        "files": {"/dev/nvidia0": "", "/dev/nvidiactl": "", "/proc/modules": "nvidia 56 0 - Live 0x0\n"},
        "says": "nvidia-modprobe -u -c=0",
        "reboot": False,
    },
    {
        "id": "mod.uvm_nodes",
        "case": "not a device",
        "status": "fail",
        "files": {"/dev/nvidia0/x": "", "/dev/nvidiactl": "", "/dev/nvidia-uvm": ""},
        "says": "/dev/nvidia0 (EISDIR)",
    },
    nodes("module not loaded", "fail", missing=("nvidia-uvm",), loaded=False, says="module is not loaded"),
    nodes("container", "fail", missing=("nvidia-uvm",), container=True, says="--force-recreate"),
    nodes("refused", "fail", nvidiactl="EACCES", says="chmod 0666"),
    nodes("refused in a container", "fail", nvidiactl="EPERM", container=True, says="device rules"),
    nodes("hangs", "fail", problem="python gave no answer in 3 s", says="would hang"),
]
