"""Cases of which GPUs there are and how they are set."""

A100 = "a100-40"
SLOT = "/sys/bus/pci/devices/0000:00:0{}.0"
OLD_ARCHS = ("sm_50", "sm_80")


def on_bus(count):
    kinds = {"vendor": "0x10de\n", "class": "0x030200\n", "device": "0x20f1\n"}
    return {f"{SLOT.format(6 + n)}/{name}": text for n in range(count) for name, text in kinds.items()}


def gpu(**facts):
    return {"init": {"error": 0, "name": "Success"}, "devices": [{"index": 0, **facts}]}


def counted(count, on_bus):
    return {"init": {"error": 0, "name": "Success"}, "count": count, "on_bus": on_bus}


def card(name, major, minor):
    return gpu(capability=[major, minor], name=name)


LOST = {"error": 999, "name": "Unknown Error"}
TWO_CARDS = {  # the second one has the trouble: the worst of all is shown, with its number
    "init": {"error": 0, "name": "Success"},
    "devices": [{"index": 0, "compute_mode": 0}, {"index": 1, "compute_mode": 2}],
}

CASES = [
    {"id": "gpu.count", "case": "one", "status": "pass", "gpu": A100, "files": on_bus(1)},
    {"id": "gpu.count", "case": "one did not start", "status": "fail", "gpu": A100, "files": on_bus(2),
     "says": "1 of the 2", "reboot": True},
    {"id": "gpu.count", "case": "container with one of two", "status": "pass", "gpu": A100,
     "files": {**on_bus(2), "/.dockerenv": ""}},
    {"id": "gpu.count", "case": "container with none", "status": "fail", "fact": counted(0, None), "says": "compose",
     "reboot": False},
    {"id": "gpu.count", "case": "fewer than needed", "status": "fail", "fact": counted(1, 1), "need": {"gpus": 2}},
    {"id": "gpu.count", "case": "not countable", "status": "fail", "fact": counted(LOST, 1), "says": "Unknown Error"},
    {"id": "gpu.count", "case": "no driver", "status": "skip", "says": "NVML"},
    {"id": "gpu.arch", "case": "A100", "status": "pass", "gpu": A100, "says": "8.0"},
    {"id": "gpu.arch", "case": "H200", "status": "warn", "gpu": "h200", "says": "9.0"},
    {"id": "gpu.arch", "case": "A10 by sm_86", "status": "warn", "fact": card("NVIDIA A10", 8, 6)},
    {"id": "gpu.arch", "case": "L4 by sm_86", "status": "warn", "fact": card("NVIDIA L4", 8, 9)},
    {"id": "gpu.arch", "case": "V100", "status": "fail", "fact": card("Tesla V100", 7, 0), "says": "bf16"},
    {"id": "gpu.arch", "case": "B200", "status": "fail", "fact": card("NVIDIA B200", 10, 0), "says": "without code"},
    {"id": "gpu.arch", "case": "H100 without sm_90", "status": "fail", "fact": card("NVIDIA H100", 9, 0),
     "need": {"archs": OLD_ARCHS}},
    {"id": "gpu.temp", "case": "cool", "status": "pass", "gpu": A100, "says": "34 C"},
    {"id": "gpu.temp", "case": "four below", "status": "warn", "fact": gpu(temperature_c=88, slowdown_c=92)},
    {"id": "gpu.temp", "case": "five below", "status": "warn", "fact": gpu(temperature_c=87, slowdown_c=92)},
    {"id": "gpu.temp", "case": "six below", "status": "pass", "fact": gpu(temperature_c=86, slowdown_c=92)},
    {"id": "gpu.temp", "case": "too hot", "status": "fail", "fact": gpu(temperature_c=92, slowdown_c=92)},
    {"id": "gpu.temp", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.persistence", "case": "on", "status": "pass", "gpu": A100},
    {"id": "gpu.persistence", "case": "off", "status": "warn", "fact": gpu(persistence=0, virtualization=1),
     "says": "nvidia-persistenced"},
    {"id": "gpu.persistence", "case": "mode unknown", "status": "warn", "fact": gpu(persistence=0, virtualization=LOST)},
    {"id": "gpu.persistence", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.compute_mode", "case": "default", "status": "pass", "gpu": A100},
    {"id": "gpu.compute_mode", "case": "exclusive", "status": "warn", "gpu": A100,
     "nvml": {"DeviceGetComputeMode": "3"}, "says": "Exclusive_Process"},
    {"id": "gpu.compute_mode", "case": "prohibited", "status": "fail", "fact": gpu(compute_mode=2), "says": "-c 0"},
    {"id": "gpu.compute_mode", "case": "second card", "status": "fail", "fact": TWO_CARDS, "says": "GPU 1: Prohibited"},
    {"id": "gpu.mig", "case": "off", "status": "pass", "gpu": A100},
    {"id": "gpu.mig", "case": "on", "status": "fail", "gpu": A100, "nvml": {"DeviceGetMigMode": "1,1"},
     "says": "-mig 0", "reboot": True},
    {"id": "gpu.mig", "case": "going off", "status": "fail", "fact": gpu(mig=[1, 0]), "reboot": True},
    {"id": "gpu.mig", "case": "going on", "status": "warn", "fact": gpu(mig=[0, 1]), "reboot": False},
    {"id": "gpu.mig", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.power_cap", "case": "its own", "status": "pass", "gpu": A100, "says": "250 W"},
    # 90 % of 250 W is 225 W
    {"id": "gpu.power_cap", "case": "a tenth less", "status": "pass",
     "fact": gpu(power_cap_mw=225000, power_default_mw=250000)},
    {"id": "gpu.power_cap", "case": "lowered", "status": "warn",
     "fact": gpu(power_cap_mw=224000, power_default_mw=250000), "says": "-pl 250"},
    {"id": "gpu.power_cap", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.display", "case": "off", "status": "pass", "gpu": A100},
    {"id": "gpu.display", "case": "on", "status": "warn", "fact": gpu(display=1), "reboot": True},
]  # fmt: skip
