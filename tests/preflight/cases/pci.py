"""Cases of the PCI bus."""

SLOT = "/sys/bus/pci/devices/0000:00:06.0"


def card(device, kind="0x030200"):
    return {f"{SLOT}/vendor": "0x10de\n", f"{SLOT}/class": f"{kind}\n", f"{SLOT}/device": f"{device}\n"}


CASES = [
    {"id": "pci.gpu_present", "case": "A100", "status": "pass", "files": card("0x20f1"), "says": "10de:20f1"},
    {"id": "pci.gpu_present", "case": "nothing", "status": "fail", "says": "Passthrough"},
    {"id": "pci.gpu_present", "case": "only a sound device", "status": "fail", "files": card("0x1aef", "0x040300")},
    {"id": "pci.gpu_present", "case": "one of two", "status": "fail", "files": card("0x20f1"), "need": {"gpus": 2}},
]
