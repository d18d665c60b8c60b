"""What this container was started with: its GPU, limits, user and file system; and variables that change CUDA."""

import os
import resource
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.checks.storage import standing
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, warn

GPU_LINES = """\
# in compose.yaml, at the service:
#   deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}
docker compose up -d"""


def probe_env(host: Host) -> dict[str, Any]:
    """The variables by which the container toolkit was asked, and whether the GPU's control device is here."""
    names = ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
    return {**{name: host.environ.get(name) for name in names}, "device": host.exists("/dev/nvidiactl")}


def judge_env(fact: dict[str, Any], need: Need) -> Verdict:
    """A GPU was handed over, with compute and utility. With CDI the first variable says "void", which is right there."""
    visible, capabilities = fact["NVIDIA_VISIBLE_DEVICES"], fact["NVIDIA_DRIVER_CAPABILITIES"]
    expected = "a GPU with compute and utility"
    if not fact["device"]:
        return fail(
            f"no GPU was handed over (NVIDIA_VISIBLE_DEVICES {visible or 'is not set'})",
            expected,
            why="The host's driver is loaded, but this container was started without a GPU.",
            fix=GPU_LINES,
        )
    has = set((capabilities or "").split(","))
    if visible != "void" and capabilities and "all" not in has and not {"compute", "utility"} <= has:
        return fail(
            f"NVIDIA_DRIVER_CAPABILITIES={capabilities}",
            expected,
            why="The container got only a part of the driver's libraries: without compute there is no CUDA, without utility "
            "no reading of the GPU's state.",
            fix="# in compose.yaml, at the service:\n#   environment: {NVIDIA_DRIVER_CAPABILITIES: 'compute,utility'}\n"
            "docker compose up -d",
        )
    return passed("handed over by CDI" if visible == "void" else f"handed over ({visible or 'all'})", expected)


LIMITS: tuple[tuple[str, int, int | None, str], ...] = (
    ("memlock", resource.RLIMIT_MEMLOCK, None, "unlimited"),
    ("nofile", resource.RLIMIT_NOFILE, 65_536, "65536"),
    ("stack", resource.RLIMIT_STACK, 64 << 20, "64 MiB"),
)
"""Name in compose.yaml, the limit, the least that passes (None: no limit), and that in words."""

LIMITS_CPU: tuple[tuple[str, int, int | None, str], ...] = (("nofile", resource.RLIMIT_NOFILE, 16_384, "16384"),)
"""Without a GPU nothing is pinned in memory, and the usual stack is enough."""


def probe_ulimits(host: Host) -> dict[str, int | None]:
    """Soft limits of this process: bytes, or for nofile a count; None where there is no limit."""
    soft = {name: resource.getrlimit(limit)[0] for name, limit, _, _ in LIMITS}
    return {name: None if value == resource.RLIM_INFINITY else value for name, value in soft.items()}


def judge_ulimits(fact: dict[str, int | None], need: Need) -> Verdict:
    """Locked memory without limit, 65536 open files, 64 MiB of stack; without a GPU 16384 open files."""
    low, limits = [], LIMITS if need.gpus else LIMITS_CPU
    for name, _, least, _ in limits:
        value = fact[name]
        if value is not None and (least is None or value < least):
            low.append(f"{name} {value if name == 'nofile' else f'{value >> 10} KiB'}")
    expected = ", ".join(f"{name} {words}" for name, _, _, words in limits)
    if not low:
        return passed("as wide as needed", expected)
    return warn(
        ", ".join(low),
        expected,
        why="Low limits stop a run late and with odd messages: "
        + ("buffers for the GPU cannot be pinned, " if need.gpus else "")
        + "'Too many open files', or a crash deep in a library.",
        fix="# in compose.yaml, at the service:\n#   ulimits: {memlock: -1, nofile: 65536, stack: 67108864}\ndocker compose up -d"
        if need.gpus
        else "# in compose.cpu.yaml, at the service:\n#   ulimits: {nofile: 16384}\n"
        "docker compose -f compose.cpu.yaml up -d",
    )


def probe_user(host: Host) -> dict[str, int]:
    """The user that this process runs as."""
    return {"uid": os.geteuid()}


def judge_user(fact: dict[str, int], need: Need) -> Verdict:
    """Anyone but root."""
    expected = f"user {need.uid}, not root"
    if fact["uid"]:
        return passed(f"user {fact['uid']}", expected)
    return warn(
        "root",
        expected,
        why="What breaks out of a container of root is root on the VM, and the runs' files belong to root on the host.",
        fix=f"# in compose.yaml, at the service:\n#   user: '{need.uid}:{need.uid}'\ndocker compose up -d",
    )


CACHES = {
    "TRITON_CACHE_DIR": ".triton",
    "TORCHINDUCTOR_CACHE_DIR": None,  # below the temporary folder unless set
    "HF_HOME": ".cache/huggingface",
}
"""Variables that name a folder for caches, and where it is below the home folder without them."""


def probe_rootfs(host: Host) -> dict[str, Any]:
    """Whether / can be written, and for the temporary folder and each cache its folder and whether that can be."""
    home = host.environ.get("HOME") or "/"
    folders = {"TMPDIR": host.environ.get("TMPDIR") or "/tmp"}
    for name, default in CACHES.items():
        if host.environ.get(name) or default:
            folders[name] = os.path.abspath(host.environ.get(name) or f"{home}/{default}")
    can = {name: os.access(host.path(standing(host, folder)), os.W_OK) for name, folder in folders.items()}
    return {"root": os.access(host.path("/"), os.W_OK), "folders": folders, "writable": can}


def judge_rootfs(fact: dict[str, Any], need: Need) -> Verdict:
    """/ is read-only, the temporary folder and the caches are not. Offline the models' folder may be read-only."""
    expected = "/ read-only; /tmp and caches can be written"
    for name, folder in fact["folders"].items():
        if not fact["writable"][name] and not (name == "HF_HOME" and need.offline):
            return fail(
                f"{folder} ({name}) cannot be written",
                expected,
                why="Kernels are compiled and models are downloaded into such folders; the run ends when the first one is.",
                fix="# in compose.yaml, at the service: a tmpfs or a volume for it\n"
                f"#   tmpfs: ['{folder}:uid={need.uid}']\ndocker compose up -d",
            )
    if fact["root"]:
        return warn(
            "/ can be written",
            expected,
            why="Whoever gets into the container can change its programs, and what a run leaves outside of its volumes is "
            "lost with the container.",
            fix="# in compose.yaml, at the service:\n#   read_only: true\n#   tmpfs: ['/tmp']\ndocker compose up -d",
        )
    return passed("/ is read-only, the caches can be written", expected)


STRAY = {
    "CUDA_INJECTION64_PATH": "loads a profiler's library into every CUDA program",
    "CUDA_PROFILE": "switches an old profiler on",
    "COMPUTE_PROFILE": "switches an old profiler on",
    "CUDA_LAUNCH_BLOCKING": "waits for every kernel, so that the GPU idles between them",
    "CUDA_DEVICE_WAITS_ON_EXCEPTION": "stops at an error and waits for a debugger for ever",
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION": "writes the whole GPU memory to the disk at an error",
    "CUDA_DISABLE_PTX_JIT": "forbids kernels that are compiled as they are needed",
    "NVIDIA_TF32_OVERRIDE": "changes the precision of every product, against the recipe",
}
"""Variable -> what it does to a run."""
HIDDEN = ("", "-1", "none", "void", "NoDevFiles")


def probe_env_cuda(host: Host) -> dict[str, str]:
    """Variables that change how CUDA works, with their values."""
    found = {name: host.environ[name] for name in STRAY if host.environ.get(name, "0") not in ("", "0")}
    if host.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        found["NVIDIA_TF32_OVERRIDE"] = "0"
    if host.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        found["CUDA_VISIBLE_DEVICES"] = host.environ["CUDA_VISIBLE_DEVICES"]
    return found


def judge_env_cuda(fact: dict[str, str], need: Need) -> Verdict:
    """None of them is set."""
    if not fact:
        return passed("nothing that changes CUDA is set")
    whats = STRAY | {"CUDA_VISIBLE_DEVICES": "hides every GPU from programs"}
    return warn(
        ", ".join(f"{name}={value!r}" for name, value in fact.items()),
        "not set",
        why="; ".join(f"{name} {whats.get(name, 'changes CUDA')}" for name in fact) + ".",
        fix=f"unset {' '.join(fact)}\n# and take it out of ~/.profile, /etc/environment or compose.yaml",
    )


CHECKS = (
    Check(
        id="ctr.env",
        title="GPU handed over",
        section="Container engine",
        scope="container",
        needs=("mod.nvidia_loaded",),
        probe=probe_env,
        judge=judge_env,
        blocking=True,
        explain="""Looks whether the GPU's control device is in this container, and reads the variables by which it was asked
        for. A service without a device reservation starts without any error and finds no GPU. A container that was given the
        GPU by CDI says "void" in the variable, and that is right.""",
    ),
    Check(
        id="ctr.ulimits",
        title="Limits of the container",
        section="Container engine",
        scope="container",
        probe=probe_ulimits,
        judge=judge_ulimits,
        explain="""Reads this process's limits on locked memory, open files and stack. Docker's and systemd's defaults are
        made for small services; loading data in several processes beside a GPU needs more.""",
    ),
    Check(
        id="ctr.user",
        title="User of the container",
        section="Container engine",
        scope="container",
        probe=probe_user,
        judge=judge_user,
        explain="""Reads the user that runs in the container. The image is made for an ordinary user; root is needed for
        nothing, and its files on the host's volumes are a nuisance to everybody else.""",
    ),
    Check(
        id="ctr.rootfs",
        title="File system of the container",
        section="Container engine",
        scope="container",
        probe=probe_rootfs,
        judge=judge_rootfs,
        blocking=True,
        explain="""Asks the kernel, without writing, whether / is read-only and whether the temporary folder and the caches of
        Triton, torch and the hub can be written. A read-only container needs a tmpfs or a volume for each of them; a cache
        that cannot be written ends the run when the first kernel is compiled.""",
    ),
    Check(
        id="ctr.env_cuda",
        title="Stray CUDA settings",
        section="CUDA",
        scope="both",
        probe=probe_env_cuda,
        judge=judge_env_cuda,
        explain="""Looks for variables that debuggers and profilers leave behind in a profile or a compose file: they make CUDA
        slow, make it wait for a debugger, change its precision or hide the GPU, and no message ever names them.""",
    ),
)
