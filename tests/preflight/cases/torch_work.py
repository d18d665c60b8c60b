"""Cases of work through torch: what its child processes may say."""

A100 = "a100-40"
ARCHS = ["sm_50", "sm_80", "sm_90"]
SEES = {"torch": "2.14.0+cu126", "cuda": "12.6", "archs": ARCHS, "available": True, "name": "NVIDIA A100",
        "capability": [8, 0]}  # fmt: skip
HUNG = "python gave no answer in 20 s"


def said(value, **more):
    return {"value": value, "problem": None, "pci_device_id": "20f1", **more}


def silent(problem, **more):
    return {"value": None, "problem": problem, "pci_device_id": None, **more}


def torch(**changes):
    return said({**SEES, **changes}, driver="525.60.13", in_container=True)


def library(path, vgpu=False):
    return {"value": {"path": path}, "problem": None, "vgpu": vgpu}


def errors(fp32, bf16):
    return said({"fp32": fp32, "bf16": bf16, "size": 2048})


COMPAT = "/usr/local/cuda-12.6/compat/libcuda.so.560.35.05"

CASES = [
    {"id": "cuda.compat_lib", "case": "fake", "status": "pass", "gpu": A100, "says": "libcuda.so.1"},
    {"id": "cuda.compat_lib", "case": "none", "status": "skip"},
    {"id": "cuda.compat_lib", "case": "compat", "status": "warn", "fact": library(COMPAT), "says": "LD_LIBRARY_PATH"},
    {"id": "cuda.compat_lib", "case": "compat on vGPU", "status": "fail", "fact": library(COMPAT, True)},
    {"id": "torch.cuda", "case": "sees it", "status": "pass", "fact": torch(), "says": "on NVIDIA A100"},
    {"id": "torch.cuda", "case": "other CUDA", "status": "fail", "says": "CUDA 13.0) sees no GPU with driver 525.60.13",
     "fact": torch(torch="2.14.0+cu130", cuda="13.0", available=False, name=None, capability=None)},
    {"id": "torch.cuda", "case": "CPU build", "status": "fail", "fact": torch(torch="2.14.0+cpu", cuda=None, archs=[]),
     "says": "whl/cu126"},
    {"id": "torch.cuda", "case": "no code", "status": "fail", "fact": torch(name="NVIDIA B200", capability=[10, 0]),
     "says": "sm_100"},
    {"id": "torch.cuda", "case": "later minor", "status": "pass", "fact": torch(name="NVIDIA L4", capability=[8, 9])},
    {"id": "torch.cuda", "case": "PTX only", "status": "pass", "fact": torch(archs=["compute_80"], capability=[9, 0])},
    {"id": "torch.cuda", "case": "for one card only", "status": "fail", "fact": torch(archs=["sm_90a"])},
    {"id": "torch.cuda", "case": "hung", "status": "fail", "reboot": True, "says": "no answer",
     "fact": silent(HUNG, driver="525.60.13", in_container=True)},
    {"id": "torch.cuda", "case": "image without torch", "status": "fail", "reboot": False,
     "fact": said({"torch": None}, driver="525.60.13", in_container=True)},
    {"id": "torch.cuda", "case": "host without torch", "status": "skip", "says": "in the container",
     "fact": said({"torch": None}, driver="525.60.13", in_container=False)},
    {"id": "torch.matmul", "case": "right", "status": "pass", "fact": errors(2.1e-4, 0.0021), "says": "fp32 off by 0.00021"},
    {"id": "torch.matmul", "case": "TF32", "status": "fail", "fact": errors(0.03, 0.002), "reboot": True},
    {"id": "torch.matmul", "case": "bf16 wrong", "status": "fail", "fact": errors(1e-4, 0.3)},
    {"id": "torch.matmul", "case": "NaN", "status": "fail", "fact": errors(None, 0.002), "says": "not a number"},
    {"id": "torch.matmul", "case": "hung", "status": "fail", "fact": silent(HUNG), "says": "no answer", "reboot": True},
    {"id": "torch.matmul", "case": "too late", "status": "fail", "fact": silent("there was no time left"),
     "says": "--only torch.matmul", "reboot": False},
    {"id": "torch.matmul", "case": "no room", "status": "fail", "says": "fuser", "reboot": False,
     "fact": silent("OutOfMemoryError: CUDA out of memory. Tried to allocate 64.00 MiB.")},
    {"id": "triton.jit", "case": "compiled", "status": "pass", "fact": said({"largest": 2.4e-7})},
    {"id": "triton.jit", "case": "no compiler", "status": "warn",
     "fact": silent("RuntimeError: Failed to find C compiler."), "says": "gcc"},
    {"id": "triton.jit", "case": "wrong", "status": "warn", "fact": said({"largest": 0.5}), "says": "off by 0.5"},
    {"id": "triton.jit", "case": "NaN", "status": "warn", "fact": said({"largest": None})},
]  # fmt: skip
