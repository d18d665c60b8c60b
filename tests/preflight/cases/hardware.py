"""Cases of the machine's kind and its memory."""

GIB = 1 << 30
CPUINFO = "processor\t: 0\nflags\t\t: fpu vme %s sse2\n"


def board(vendor, product, flag="hypervisor"):
    return {
        "/sys/class/dmi/id/sys_vendor": vendor,
        "/sys/class/dmi/id/product_name": product,
        "/proc/cpuinfo": CPUINFO % flag,
    }


def meminfo(gib):
    return f"MemTotal:       {int(gib * GIB / 1024)} kB\nMemFree:  1 kB\n"


V1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes"

CASES = [
    {"id": "host.arch", "case": "this machine's family", "status": "pass", "fact": "x86_64"},
    {"id": "host.arch", "case": "arm", "status": "fail", "fact": "aarch64", "says": "aarch64"},
    {"id": "host.arch", "case": "unknown", "status": "fail", "fact": ""},
    {"id": "host.hypervisor", "case": "ahv", "status": "pass", "files": board("Nutanix", "AHV"), "says": "Nutanix AHV"},
    {"id": "host.hypervisor", "case": "kvm", "status": "pass", "files": board("QEMU", "Standard PC"), "says": "KVM"},
    {"id": "host.hypervisor", "case": "iron", "status": "pass", "files": board("Dell Inc.", "R750", ""),
     "says": "no hypervisor seen (Dell Inc. R750)"},
    {"id": "host.hypervisor", "case": "brand hidden", "status": "pass", "files": {"/proc/cpuinfo": CPUINFO % "hypervisor"},
     "says": "brand hidden"},
    {"id": "host.hypervisor", "case": "virtualbox", "status": "warn", "files": board("innotek GmbH", "VirtualBox")},
    {"id": "host.hypervisor", "case": "wsl", "status": "warn",
     "files": {"/proc/sys/kernel/osrelease": "6.6.87.2-microsoft-standard-WSL2\n"}, "says": "Windows"},
    {"id": "host.hypervisor", "case": "nothing to read", "status": "skip"},
    {"id": "host.ram", "case": "reference VM", "status": "pass", "files": {"/proc/meminfo": meminfo(62.8)}},
    {"id": "host.ram", "case": "small", "status": "warn", "files": {"/proc/meminfo": meminfo(32)}, "says": "Prism"},
    {"id": "host.ram", "case": "small, recipe unknown", "status": "warn", "files": {"/proc/meminfo": meminfo(32)},
     "need": {"models": ("o/m",)}, "says": "once its models are folders"},
    {"id": "host.ram", "case": "small is enough", "status": "pass", "files": {"/proc/meminfo": meminfo(32)},
     "need": {"ram_gib": 20.5}},
    {"id": "host.ram", "case": "no GPU to feed", "status": "pass", "files": {"/proc/meminfo": meminfo(15.6)},
     "need": {"gpus": 0}},
    {"id": "host.ram", "case": "recipe", "status": "fail", "files": {"/proc/meminfo": meminfo(62.8)},
     "need": {"ram_gib": 80.0}, "says": "smaller model"},
    {"id": "host.ram", "case": "cgroup 2", "status": "warn", "says": "8.0 GiB (of 62.8",
     "files": {"/proc/meminfo": meminfo(62.8), "/sys/fs/cgroup/memory.max": f"{8 * GIB}\n"}},
    {"id": "host.ram", "case": "cgroup 2 without limit", "status": "pass",
     "files": {"/proc/meminfo": meminfo(62.8), "/sys/fs/cgroup/memory.max": "max\n"}},
    {"id": "host.ram", "case": "cgroup 1", "status": "warn", "files": {"/proc/meminfo": meminfo(62.8), V1: f"{4 * GIB}\n"},
     "says": "mem_limit"},
    {"id": "host.ram", "case": "cgroup 1 without limit", "status": "pass",
     "files": {"/proc/meminfo": meminfo(62.8), V1: "9223372036854771712\n"}},
    {"id": "host.ram", "case": "no file", "status": "skip"},
]  # fmt: skip
