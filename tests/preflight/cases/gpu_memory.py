"""Cases of the card's memory and of who uses it."""

A100 = "a100-40"
GIB = 1 << 30


def gpu(**facts):
    return {"init": {"error": 0, "name": "Success"}, "devices": [{"index": 0, **facts}], "in_container": False}


def memory(total, used):
    return gpu(memory_bytes={"total": int(total * GIB), "used": int(used * GIB), "free": int((total - used) * GIB)})


PIDS = {"DeviceGetComputeRunningProcesses": "812,813"}
REFUSED = {"error": 4, "name": "Insufficient Permissions"}

CASES = [
    {"id": "gpu.vram", "case": "A100", "status": "pass", "gpu": A100, "says": "40.0 GiB"},
    {"id": "gpu.vram", "case": "a little kept", "status": "pass", "fact": memory(39.2, 0)},
    {"id": "gpu.vram", "case": "24 GB", "status": "warn", "fact": memory(24, 0), "says": "--config"},
    {"id": "gpu.vram", "case": "24 GB suffice", "status": "pass", "fact": memory(24, 0), "need": {"vram_gib": 20.5}},
    {"id": "gpu.vram", "case": "too small", "status": "fail", "fact": memory(24, 0), "need": {"vram_gib": 27.8},
     "says": "recipe"},
    {"id": "gpu.vram", "case": "just enough", "status": "pass", "fact": memory(24, 0), "need": {"vram_gib": 24.0}},
    {"id": "gpu.vram", "case": "at the reference", "status": "pass", "fact": memory(39, 0)},
    {"id": "gpu.vram_free", "case": "a whole GiB", "status": "warn", "fact": memory(40, 1)},
    {"id": "gpu.vram_free", "case": "just room", "status": "warn", "fact": memory(40, 12), "need": {"vram_gib": 28.0}},
    {"id": "gpu.vram_free", "case": "idle", "status": "pass", "gpu": A100},
    {"id": "gpu.vram_free", "case": "in use", "status": "warn", "fact": memory(40, 12), "says": "28.0 GiB free"},
    {"id": "gpu.vram_free", "case": "fits beside", "status": "warn", "fact": memory(40, 12), "need": {"vram_gib": 20.0}},
    {"id": "gpu.vram_free", "case": "does not fit", "status": "fail", "fact": memory(40, 12),
     "need": {"vram_gib": 30.0}, "says": "fuser"},
    {"id": "gpu.procs", "case": "none", "status": "pass", "gpu": A100},
    {"id": "gpu.procs", "case": "container", "status": "pass", "gpu": A100, "files": {"/.dockerenv": ""},
     "says": "from inside"},
    {"id": "gpu.procs", "case": "two", "status": "warn", "gpu": A100, "nvml": PIDS, "files": {"/proc/812/comm": "python\n"},
     "says": "python (pid 812), unknown (pid 813)"},
    {"id": "gpu.procs", "case": "desktop", "status": "warn", "fact": gpu(compute_pids={}, graphics_pids={"7": "Xorg"})},
    {"id": "gpu.procs", "case": "crowd", "status": "warn", "says": "and 2 more",
     "fact": gpu(compute_pids={str(n): "python" for n in range(5)}, graphics_pids={})},
    {"id": "gpu.procs", "case": "half known", "status": "pass", "fact": gpu(compute_pids={}, graphics_pids=REFUSED)},
    {"id": "gpu.procs", "case": "unknown", "status": "skip", "fact": gpu(compute_pids=REFUSED, graphics_pids=REFUSED)},
    {"id": "gpu.bar1", "case": "all of it", "status": "pass", "gpu": A100, "says": "64.00 GiB"},
    {"id": "gpu.bar1", "case": "just all", "status": "pass",
     "fact": gpu(bar1_bytes=40 * GIB, memory_bytes={"total": 40 * GIB, "used": 0, "free": 40 * GIB})},
    {"id": "gpu.bar1", "case": "legacy BIOS", "status": "warn", "gpu": A100, "says": "0.25 GiB",
     "nvml": {"DeviceGetBAR1MemoryInfo": "268435456,266338304,2097152"}},
    {"id": "gpu.bar1", "case": "vGPU", "status": "skip", "gpu": "vgpu"},
]  # fmt: skip
