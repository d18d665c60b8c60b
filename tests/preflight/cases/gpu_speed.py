"""Cases of speeds. Limits by hand: A100 PCIe 40 GB 969.75 GB/s (half of it 484.9), bf16 0.6 x 312 = 187.2 TFLOP/s."""

OUT_OF_MEMORY = {
    "value": None,
    "problem": "OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB.",
    "pci_device_id": None,
}


def copied(gb_s, card="20f1"):
    return {"value": {"gb_s": gb_s, "uuid": None}, "problem": None, "pci_device_id": card}


def multiplied(tflops, card="20f1"):
    return {"value": {"tflops": tflops, "uuid": None}, "problem": None, "pci_device_id": card}


def moved(to_gb_s, from_gb_s):
    value = {"to_gb_s": to_gb_s, "from_gb_s": from_gb_s, "uuid": None, "link": None}
    return {"value": value, "problem": None, "pci_device_id": "20f1"}


CASES = [
    {"id": "perf.membw", "case": "40 GB", "status": "pass", "fact": copied(1290), "says": "1290 GB/s"},
    {"id": "perf.membw", "case": "at the limit", "status": "pass", "fact": copied(969.75)},
    {"id": "perf.membw", "case": "at half", "status": "warn", "fact": copied(969.75 / 2)},
    {"id": "perf.membw", "case": "slow", "status": "warn", "fact": copied(960)},
    {"id": "perf.membw", "case": "slow for 80 GB", "status": "warn", "fact": copied(1100, "20b5")},
    {"id": "perf.membw", "case": "80 GB", "status": "pass", "fact": copied(1500, "20b5"), "says": "1500"},
    {"id": "perf.membw", "case": "above half", "status": "warn", "fact": copied(485)},
    {"id": "perf.membw", "case": "below half", "status": "fail", "fact": copied(484)},
    {"id": "perf.membw", "case": "unknown card", "status": "warn", "fact": copied(3600, "2335"), "says": "2335"},
    {"id": "perf.membw", "case": "no room", "status": "warn", "fact": OUT_OF_MEMORY, "says": "out of memory"},
    {"id": "perf.bf16", "case": "A100", "status": "pass", "fact": multiplied(245), "says": "245 TFLOP/s"},
    {"id": "perf.bf16", "case": "at the limit", "status": "pass", "fact": multiplied(187.3)},
    {"id": "perf.bf16", "case": "below", "status": "warn", "fact": multiplied(187.1)},
    {"id": "perf.bf16", "case": "unknown card", "status": "warn", "fact": multiplied(700, None), "says": "unknown"},
    {"id": "perf.bf16", "case": "no room", "status": "warn", "fact": OUT_OF_MEMORY, "says": "out of memory"},
    {"id": "perf.h2d", "case": "gen 4", "status": "pass", "fact": moved(24.6, 25.1), "says": "24.6 GB/s to the card"},
    {"id": "perf.h2d", "case": "at the limit", "status": "pass", "fact": moved(21.0, 21.0)},
    {"id": "perf.h2d", "case": "just not starved", "status": "warn", "fact": moved(4.0, 24.0)},
    {"id": "perf.h2d", "case": "one way slow", "status": "warn", "fact": moved(24.6, 20.9)},
    {"id": "perf.h2d", "case": "starved", "status": "fail", "fact": moved(3.9, 24.0), "says": "pcie_link"},
    {"id": "perf.h2d", "case": "no room", "status": "warn", "fact": OUT_OF_MEMORY},
]
