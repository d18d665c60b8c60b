"""Cases of CUDA, through the fake libcuda."""

A100 = "a100-40"
HUNG = {"problem": "python gave no answer in 25 s", "value": None}

CASES = [
    {"id": "cuda.init", "case": "context", "status": "pass", "gpu": A100, "says": "CUDA 12.6"},
    {
        "id": "cuda.init",
        "case": "no device",
        "status": "fail",
        "gpu": A100,
        "nvml": {"cuInit": "100"},
        "says": "hidden",
    },
    {
        "id": "cuda.init",
        "case": "busy",
        "status": "fail",
        "gpu": A100,
        "nvml": {"cuCtxCreate": "46"},
        "says": "licence",
    },
    {"id": "cuda.init", "case": "mismatch", "status": "fail", "gpu": A100, "nvml": {"cuInit": "803"}, "reboot": True},
    {"id": "cuda.init", "case": "compat", "status": "fail", "gpu": A100, "nvml": {"cuInit": "804"}},
    {"id": "cuda.init", "case": "unheard of", "status": "fail", "gpu": A100, "nvml": {"cuInit": "719"}},
    {"id": "cuda.init", "case": "died", "status": "fail", "gpu": A100, "nvml": {"cuInit": "crash"}, "says": "SIGABRT"},
    {"id": "cuda.init", "case": "hung", "status": "fail", "fact": HUNG, "says": "no answer"},
    {"id": "cuda.init", "case": "no library", "status": "fail", "says": "libcuda.so.1"},
]
