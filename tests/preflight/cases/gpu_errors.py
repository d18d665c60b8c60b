"""Cases of the card's own error counters."""

A100 = "a100-40"
NOT_SUPPORTED = {"error": 3, "name": "Not Supported"}
UNC, SRAM = "ecc_uncorrected_volatile", "ecc_uncorrected_volatile_sram"


def gpu(**facts):
    return {"init": {"error": 0, "name": "Success"}, "devices": [{"index": 0, **facts}]}


def wrong(count, sram, rows):
    return gpu(**{UNC: count, SRAM: sram, "remapped_rows": rows})


def corrected(sram, dram):
    return {"DeviceGetMemoryErrorCounter.0.1.7": str(sram), "DeviceGetMemoryErrorCounter.0.1.2": str(dram)}


def rows(*counts):
    return {"DeviceGetRemappedRows": ",".join(map(str, counts))}


def retired(single, double, pending):
    return gpu(retired_single=single, retired_double=double, retired_pending=pending)


def action(number, remapped=(0, 0, 0, 0)):
    return gpu(recovery_action=number, remapped_rows=list(remapped))


CASES = [
    {"id": "gpu.ecc_volatile_ue", "case": "none", "status": "pass", "gpu": A100},
    {"id": "gpu.ecc_volatile_ue", "case": "DRAM", "status": "warn", "gpu": A100,
     "nvml": {"DeviceGetTotalEccErrors.1.0": "2", **rows(0, 1, 0, 0)}, "says": "row_remap",
     "reboot": True},
    {"id": "gpu.ecc_volatile_ue", "case": "SRAM", "status": "fail", "gpu": A100, "says": "1 of them in SRAM",
     "nvml": {"DeviceGetTotalEccErrors.1.0": "1", "DeviceGetMemoryErrorCounter.1.0.7": "1"}, "reboot": True},
    {"id": "gpu.ecc_volatile_ue", "case": "split unknown", "status": "warn", "fact": wrong(1, NOT_SUPPORTED, [0, 1, 0, 0])},
    {"id": "gpu.ecc_volatile_ue", "case": "no rows", "status": "fail", "fact": wrong(1, 0, NOT_SUPPORTED)},
    {"id": "gpu.ecc_volatile_ue", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.ecc_ce", "case": "none", "status": "pass", "gpu": A100},
    {"id": "gpu.ecc_ce", "case": "at the limits", "status": "pass", "gpu": A100, "nvml": corrected(10_000, 20_000_000)},
    {"id": "gpu.ecc_ce", "case": "SRAM", "status": "warn", "gpu": A100, "nvml": corrected(10_001, 0)},
    {"id": "gpu.ecc_ce", "case": "DRAM", "status": "warn", "gpu": A100, "nvml": corrected(0, 20_000_001)},
    {"id": "gpu.ecc_ce", "case": "vGPU", "status": "skip", "gpu": "vgpu", "says": "does not count"},
    {"id": "gpu.row_remap", "case": "none", "status": "pass", "gpu": A100},
    {"id": "gpu.row_remap", "case": "corrected only", "status": "pass", "gpu": A100, "nvml": rows(3, 0, 0, 0)},
    {"id": "gpu.row_remap", "case": "replaced", "status": "warn", "gpu": A100, "nvml": rows(0, 2, 0, 0)},
    {"id": "gpu.row_remap", "case": "pending", "status": "fail", "gpu": A100, "nvml": rows(0, 1, 1, 0), "reboot": True},
    {"id": "gpu.row_remap", "case": "failed", "status": "fail", "gpu": A100, "nvml": rows(0, 1, 0, 1), "reboot": False},
    {"id": "gpu.row_remap", "case": "at the limit", "status": "fail", "gpu": A100, "nvml": rows(0, 512, 0, 0)},
    {"id": "gpu.row_remap", "case": "below it", "status": "warn", "gpu": A100, "nvml": rows(0, 511, 0, 0)},
    {"id": "gpu.retired_pages", "case": "A100", "status": "skip", "gpu": A100, "says": "retired_single"},
    {"id": "gpu.retired_pages", "case": "T4", "status": "pass", "gpu": A100,
     "nvml": {"DeviceGetRetiredPages.0": "2", "DeviceGetRetiredPages.1": "1", "DeviceGetRetiredPagesPendingStatus": "0"},
     "says": "3 pages"},
    {"id": "gpu.retired_pages", "case": "too many", "status": "fail", "fact": retired(60, 3, 0), "reboot": False},
    {"id": "gpu.retired_pages", "case": "one fewer", "status": "pass", "fact": retired(60, 2, 0)},
    {"id": "gpu.retired_pages", "case": "pending", "status": "fail", "fact": retired(0, 1, 1), "reboot": True},
    {"id": "gpu.inforom", "case": "intact", "status": "pass", "gpu": A100},
    {"id": "gpu.inforom", "case": "damaged", "status": "fail", "gpu": A100, "nvml": {"DeviceValidateInforom": "!14"}},
    {"id": "gpu.inforom", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
    {"id": "gpu.recovery", "case": "none", "status": "pass", "gpu": A100},
    {"id": "gpu.recovery", "case": "reset", "status": "fail", "gpu": A100, "nvml": {"FieldValue.230": "1"},
     "says": "a reset of the GPU", "reboot": True},
    {"id": "gpu.recovery", "case": "unheard of", "status": "fail", "fact": action(9), "says": "action 9"},
    {"id": "gpu.recovery", "case": "for a row", "status": "skip", "fact": action(1, (0, 1, 1, 0)), "says": "row_remap"},
    {"id": "gpu.recovery", "case": "old driver", "status": "skip", "gpu": "old-driver"},
]  # fmt: skip
