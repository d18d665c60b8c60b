"""Cases of the GPU's health, through the fake library."""

A100 = "a100-40"


def ecc(modes):
    return {"DeviceGetEccMode": modes}


def slowed(mask):
    return {"DeviceGetCurrentClocksEventReasons": mask}


CASES = [
    {
        "id": "gpu.responds",
        "case": "healthy",
        "status": "pass",
        "gpu": A100,
        "says": "P0, 32 W / 250 W, utilization 0%",
    },
    {"id": "gpu.responds", "case": "vGPU", "status": "pass", "gpu": "vgpu", "says": "N/A"},
    {"id": "gpu.responds", "case": "lost between calls", "status": "fail", "gpu": A100, "nvml": {"LostAfter": "7"}},
    {"id": "gpu.responds", "case": "lost", "status": "fail", "gpu": A100, "nvml": {"DeviceGetHandleByIndex": "!15"}},
    {"id": "gpu.ecc_mode", "case": "on", "status": "pass", "gpu": A100},
    {"id": "gpu.ecc_mode", "case": "off", "status": "warn", "gpu": A100, "nvml": ecc("0,0"), "reboot": True},
    {"id": "gpu.ecc_mode", "case": "pending on", "status": "warn", "gpu": A100, "nvml": ecc("0,1"), "reboot": True},
    {"id": "gpu.ecc_mode", "case": "pending off", "status": "warn", "gpu": A100, "nvml": ecc("1,0"), "reboot": False},
    {"id": "gpu.ecc_mode", "case": "vGPU", "status": "skip", "gpu": "vgpu", "says": "ecc_mode"},
    {"id": "gpu.throttle", "case": "idle", "status": "pass", "gpu": A100},
    {"id": "gpu.throttle", "case": "power cap", "status": "pass", "gpu": A100, "nvml": slowed("4")},
    {
        "id": "gpu.throttle",
        "case": "hot and idle",
        "status": "warn",
        "gpu": A100,
        "nvml": slowed("65"),
        "says": "hardware",
    },
    {"id": "gpu.throttle", "case": "older name", "status": "pass", "gpu": "old-driver"},
]
