"""Cases of the driver's libraries, its own CUDA and its branch."""

FOLDER = "/usr/lib/x86_64-linux-gnu"
LIBRARIES = ("libnvidia-ml", "libcuda", "libnvidia-ptxjitcompiler")


def installed(version, **other):
    """Links of the driver's libraries; `other` names those of another version."""
    return {f"{FOLDER}/{name}.so.1": f"{name}.so.{other.get(name, version)}" for name in LIBRARIES}


def loaded(version):
    return {"/sys/module/nvidia/version": f"{version}\n"}


def match(case, status, **rest):
    return {"id": "drv.lib_match", "case": case, "status": status, "gpu": "a100-80", **rest}


def cuda(case, status, *, own, image, **rest):
    return {
        "id": "drv.cuda",
        "case": case,
        "status": status,
        "fact": {"cuda": own, "driver": "570.1"},
        "need": {"cuda": image},
        **rest,
    }


def branch(version, status, **rest):
    return {"id": "drv.branch_eol", "case": str(version), "status": status, "fact": {"driver": version}, **rest}


CASES = [
    match("same", "pass", files=loaded("580.95.05"), links=installed("580.95.05"), says="3 libraries of 580.95.05"),
    match("nothing found", "pass", files=loaded("580.95.05"), says="NVML fits"),
    match(
        "not a version",
        "pass",
        files=loaded("580.95.05"),
        links={f"{FOLDER}/libcuda.so.1": "/etc/alternatives/libcuda.so.1"},
    ),
    match(
        "first folder counts",
        "pass",
        files=loaded("580.95.05"),
        links=installed("580.95.05") | {"/usr/lib64/libcuda.so.1": "libcuda.so.470.57.02"},
    ),
    match(
        "libcuda of another",
        "fail",
        files=loaded("580.95.05"),
        links=installed("580.95.05", libcuda="525.60.13"),
        says="libcuda.so.1 525.60.13",
        reboot=True,
    ),
    match(
        "other folder", "fail", files=loaded("580.95.05"), links={"/usr/lib64/libcuda.so.1": "x/libcuda.so.470.57.02"}
    ),
    match("NVML is shut", "skip", nvml={"Init": "!18"}, files=loaded("580.95.05"), links=installed("570.1.2")),
    {"id": "drv.cuda", "case": "A100 on 580", "status": "pass", "gpu": "a100-80", "says": "CUDA 13.0"},
    {"id": "drv.cuda", "case": "A100 on 525", "status": "warn", "gpu": "a100-40", "says": "CUDA 12.0", "reboot": True},
    {"id": "drv.cuda", "case": "nothing known", "status": "skip"},
    cuda("the very same", "pass", own=12060, image="12.6"),
    cuda("newer minor", "pass", own=12080, image="12.6"),
    cuda("older minor", "warn", own=12050, image="12.6", says="PTX"),
    cuda("two digits", "pass", own=12100, image="12.6", says="CUDA 12.10"),
    cuda("older major", "skip", own=12080, image="13.0"),
    branch("535.54.03", "pass"),
    branch("580.95.05", "pass", says="branch 580"),
    branch("530.30.02", "warn", reboot=True),
    branch("525.60.13-grid", "warn"),
    branch(None, "skip"),
]
