"""Cases of the kernel module, NVML and the driver's version."""

PROC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.60.13  Wed Nov 30 06:39:21 UTC 2022\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
CU13 = {"cuda": "13.0", "min_driver": "580"}


def loaded(version):
    return {"/sys/module/nvidia/version": f"{version}\n"}


def kernel(release, modules):
    """The running kernel and its list of modules."""
    return {"/proc/sys/kernel/osrelease": f"{release}\n", f"/lib/modules/{release}/modules.dep": modules}


CASES = [
    {"id": "mod.nvidia_loaded", "case": "sys", "status": "pass", "files": loaded("580.95.05")},
    {"id": "mod.nvidia_loaded", "case": "proc", "status": "pass", "files": {"/proc/driver/nvidia/version": PROC}},
    {"id": "mod.nvidia_loaded", "case": "open", "status": "pass", "files": {"/proc/driver/nvidia/version": OPEN}},
    {"id": "mod.nvidia_loaded", "case": "none", "status": "fail", "says": "580-server", "reboot": True},
    {
        "id": "mod.nvidia_loaded",
        "case": "built, not loaded",
        "status": "fail",
        "files": kernel("6.8.0-45-generic", "updates/dkms/nvidia.ko.zst:\n"),
        "says": "sudo modprobe nvidia",
        "reboot": False,
    },
    {
        "id": "mod.nvidia_loaded",
        "case": "new kernel",
        "status": "fail",
        "files": kernel("6.8.0-45-generic", "kernel/a.ko:\n") | {"/var/lib/dkms/nvidia/525.60.13/source": ""},
        "says": "does not compile on kernels from 6.2 on",
        "reboot": True,
    },
    {
        "id": "mod.nvidia_loaded",
        "case": "not rebuilt",
        "status": "fail",
        "files": kernel("6.8.0-45-generic", "kernel/a.ko:\n") | {"/var/lib/dkms/nvidia/550.54.14/source": ""},
        "says": "no module was built for kernel 6.8.0-45-generic.\n",
    },
    {"id": "nvml.init", "case": "healthy", "status": "pass", "gpu": "a100-40"},
    {"id": "nvml.init", "case": "no library", "status": "fail", "says": "libnvidia-ml.so.1"},
    {
        "id": "nvml.init",
        "case": "no module",
        "status": "fail",
        "gpu": "a100-40",
        "nvml": {"Init": "!9"},
        "says": "nodes",
    },
    {
        "id": "nvml.init",
        "case": "mismatch",
        "status": "fail",
        "gpu": "a100-40",
        "nvml": {"Init": "!18"},
        "says": "upgrade",
    },
    {
        "id": "nvml.init",
        "case": "cgroup",
        "status": "fail",
        "gpu": "a100-40",
        "nvml": {"Init": "!999"},
        "says": "reload",
    },
    {
        "id": "nvml.init",
        "case": "mismatch with versions",
        "status": "fail",
        "gpu": "a100-40",
        "nvml": {"Init": "!18"},
        "files": loaded("535.183.01"),
        "links": {"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": "libnvidia-ml.so.580.95.05"},
        "says": "module 535.183.01, library 580.95.05",
        "reboot": True,
    },
    {
        "id": "nvml.init",
        "case": "no permission",
        "status": "fail",
        "gpu": "a100-40",
        "nvml": {"Init": "!4"},
        "says": "chmod 0666",
    },
    {
        "id": "drv.min",
        "case": "upgraded, not rebooted",
        "status": "skip",
        "gpu": "a100-40",
        "nvml": {"Init": "!18"},
        "files": loaded("515.86.01"),
    },
    {"id": "drv.min", "case": "floor", "status": "pass", "gpu": "a100-40"},
    {
        "id": "drv.min",
        "case": "grid",
        "status": "pass",
        "fact": {"driver": "525.60.13-grid", "init": 0, "run_file": True},
    },
    {"id": "drv.min", "case": "newer branch", "status": "pass", "gpu": "a100-80"},
    {
        "id": "drv.min",
        "case": "published VM",
        "status": "fail",
        "gpu": "old-driver",
        "says": "515.86.01",
        "reboot": True,
    },
    {
        "id": "drv.min",
        "case": "from a run file",
        "status": "fail",
        "gpu": "old-driver",
        "files": {"/usr/bin/nvidia-uninstall": ""},
        "says": "sudo nvidia-uninstall",
    },
    {
        "id": "drv.min",
        "case": "right branch but older",
        "status": "fail",
        "fact": {"driver": "525.53", "init": 0, "run_file": False},
    },
    {"id": "drv.min", "case": "CUDA 13", "status": "fail", "gpu": "a100-40", "need": CU13, "says": "580"},
    {"id": "drv.min", "case": "CUDA 13 on 580", "status": "pass", "gpu": "a100-80", "need": CU13},
    {"id": "drv.min", "case": "module only", "status": "pass", "files": loaded("570.86.10")},
    {"id": "drv.min", "case": "nothing known", "status": "skip"},
]
