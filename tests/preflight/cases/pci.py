"""Cases of the PCI bus."""

SLOT = "/sys/bus/pci/devices/0000:00:06.0"


def card(device, kind="0x030200"):
    return {f"{SLOT}/vendor": "0x10de\n", f"{SLOT}/class": f"{kind}\n", f"{SLOT}/device": f"{device}\n"}


def held(driver, *, loaded=False, **files):
    """A card that `driver` holds, with the nvidia module in the kernel or not."""
    modules = "nvidia 56000000 0 - Live 0x0\n" if loaded else "snd 1 0 - Live 0x0\n"
    case = {"id": "pci.driver_bound", "files": {**card("0x20f1"), "/proc/modules": modules, **files}}
    return case | ({"links": {f"{SLOT}/driver": f"../../bus/pci/drivers/{driver}"}} if driver else {})


KERNEL = "6.8.0-45-generic"
ON_DISK = {
    "/proc/sys/kernel/osrelease": f"{KERNEL}\n",
    f"/lib/modules/{KERNEL}/modules.dep": "kernel/fs/ext4.ko:\nupdates/dkms/nvidia.ko.zst: kernel/drm.ko\n",
}
LINE = "NVRM: The NVIDIA GPU 0000:00:06.0 (PCI ID: 10de:20b5) is not supported by the NVIDIA 525.60.13 driver release."

CASES = [
    {"id": "pci.gpu_present", "case": "A100", "status": "pass", "files": card("0x20f1"), "says": "10de:20f1"},
    {"id": "pci.gpu_present", "case": "nothing", "status": "fail", "says": "Passthrough"},
    {"id": "pci.gpu_present", "case": "only a sound device", "status": "fail", "files": card("0x1aef", "0x040300")},
    {"id": "pci.gpu_present", "case": "CPU image", "status": "skip", "need": {"gpus": 0}},
    {"id": "pci.gpu_present", "case": "one of two", "status": "fail", "files": card("0x20f1"), "need": {"gpus": 2}},
    held("nvidia", loaded=True) | {"case": "nvidia", "status": "pass", "says": "nvidia"},
    held(None) | {"case": "free", "status": "pass", "says": "free"},
    held("nouveau") | {"case": "nouveau", "status": "fail", "says": "nvidia-headless", "reboot": True},
    held("nouveau", **ON_DISK)
    | {"case": "nouveau before", "status": "fail", "says": "update-initramfs -u\nsudo reboot"},
    held("nvidiafb") | {"case": "frame buffer", "status": "fail", "says": "blacklist-nvidiafb.conf"},
    held("vfio-pci") | {"case": "set aside", "status": "fail", "says": "virtual machine", "reboot": True},
    held(None, loaded=True)
    | {"case": "refused", "status": "fail", "commands": {"journalctl": f"echo '{LINE}'"}, "says": "GRID guest driver"},
    held(None, loaded=True)
    | {"case": "gave up", "status": "fail", "commands": {"journalctl": "exit 1"}, "says": "dmesg"},
    held(None, loaded=True) | {"case": "log not readable", "status": "fail", "says": "needs sudo"},
    {
        "id": "pci.driver_bound",
        "case": "second card",
        "status": "fail",
        "need": {"gpus": 2},
        "fact": {
            "gpus": [
                {"slot": "0000:00:06.0", "device": "20f1", "driver": "nvidia"},
                {"slot": "0000:00:07.0", "device": "20f1", "driver": "vfio-pci"},
            ],
            "loaded": True,
            "installed": True,
            "refused": [],
        },
        "says": "00:07.0: held by vfio-pci",
    },
]
