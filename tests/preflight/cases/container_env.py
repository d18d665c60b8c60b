"""Cases of what a container was started with, and of variables that change CUDA."""

DEVICE = {"/dev/nvidiactl": ""}
VISIBLE, CAPABILITIES = "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"
WIDE = {"memlock": None, "nofile": 1_048_576, "stack": 64 << 20}


def env(case, status, environ, says="", files=DEVICE):
    return {"id": "ctr.env", "case": case, "status": status, "environ": environ, "files": files, "says": says}


def rootfs(case, status, root=False, says="", need=None, **broken):
    folders = {"TMPDIR": "/tmp", "TRITON_CACHE_DIR": "/cache/triton", "HF_HOME": "/models"}
    fact = {"root": root, "folders": folders, "writable": {name: broken.get(name, True) for name in folders}}
    return {"id": "ctr.rootfs", "case": case, "status": status, "fact": fact, "says": says, "need": need or {}}


CASES = [
    env("image's defaults", "pass", {VISIBLE: "all", CAPABILITIES: "compute,utility"}),
    env("all capabilities", "pass", {VISIBLE: "0", CAPABILITIES: "all"}),
    env("capabilities not set", "pass", {VISIBLE: "all"}),
    env("cdi", "pass", {VISIBLE: "void"}, "handed over by CDI"),
    env("not asked for", "fail", {}, "is not set", files={}),
    env("asked for, not given", "fail", {VISIBLE: "all"}, "capabilities: [gpu]", files={}),
    env("void and nothing there", "fail", {VISIBLE: "void"}, files={}),
    env("no compute", "fail", {VISIBLE: "all", CAPABILITIES: "utility"}, "compute,utility"),
    env("no utility", "fail", {VISIBLE: "all", CAPABILITIES: "compute,video"}),
    {"id": "ctr.ulimits", "case": "as compose.yaml sets them", "status": "pass", "fact": WIDE},
    {"id": "ctr.ulimits", "case": "locked memory", "status": "warn", "fact": WIDE | {"memlock": 64 << 10},
     "says": "memlock 64 KiB"},
    {"id": "ctr.ulimits", "case": "systemd's files", "status": "warn", "fact": WIDE | {"nofile": 1024}, "says": "nofile 1024"},
    {"id": "ctr.ulimits", "case": "stack", "status": "warn", "fact": WIDE | {"stack": 8 << 20}, "says": "8192 KiB"},
    {"id": "ctr.ulimits", "case": "Docker's own without a GPU", "status": "warn", "need": {"gpus": 0}, "says": "compose.cpu.yaml",
     "fact": {"memlock": 64 << 10, "nofile": 1024, "stack": 8 << 20}},
    {"id": "ctr.ulimits", "case": "as compose.cpu.yaml sets them", "status": "pass", "need": {"gpus": 0},
     "fact": {"memlock": 64 << 10, "nofile": 16384, "stack": 8 << 20}},
    {"id": "ctr.user", "case": "the image's", "status": "pass", "fact": {"uid": 10001}},
    {"id": "ctr.user", "case": "root", "status": "warn", "fact": {"uid": 0}, "says": "user: '10001:10001'"},
    rootfs("read-only", "pass"),
    rootfs("root can be written", "warn", root=True, says="read_only: true"),
    rootfs("no cache", "fail", says="/cache/triton (TRITON_CACHE_DIR)", TRITON_CACHE_DIR=False),
    rootfs("no temporary folder", "fail", root=True, says="/tmp", TMPDIR=False),
    rootfs("models read-only online", "fail", says="HF_HOME", HF_HOME=False),
    rootfs("models read-only offline", "pass", need={"offline": True}, HF_HOME=False),
    {"id": "ctr.rootfs", "case": "a folder of a user", "status": "warn", "files": {"/tmp/x": ""}, "environ": {"HOME": "/"}},
    {"id": "ctr.env_cuda", "case": "clean", "status": "pass"},
    {"id": "ctr.env_cuda", "case": "switched off", "status": "pass",
     "environ": {"CUDA_LAUNCH_BLOCKING": "0", "CUDA_PROFILE": "", "CUDA_VISIBLE_DEVICES": "0"}},
    {"id": "ctr.env_cuda", "case": "blocking", "status": "warn", "environ": {"CUDA_LAUNCH_BLOCKING": "1"},
     "says": "unset CUDA_LAUNCH_BLOCKING"},
    {"id": "ctr.env_cuda", "case": "injection", "status": "warn", "says": "profiler's library",
     "environ": {"CUDA_INJECTION64_PATH": "/opt/x.so", "CUDA_PROFILE": "1"}},
    {"id": "ctr.env_cuda", "case": "tf32 off by force", "status": "warn", "environ": {"NVIDIA_TF32_OVERRIDE": "0"}},
    {"id": "ctr.env_cuda", "case": "hidden", "status": "warn", "environ": {"CUDA_VISIBLE_DEVICES": ""},
     "says": "hides every GPU"},
]  # fmt: skip
