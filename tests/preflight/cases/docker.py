"""Cases of how Docker was installed, Compose, cgroups, and a container that runs."""

import json


def info(runtimes=("runc", "nvidia"), cdi=(), cgroup="systemd"):
    return {
        "Runtimes": {name: {"path": name} for name in runtimes},
        "DiscoveredDevices": [{"Source": "cdi", "ID": device} for device in cdi],
        "CgroupDriver": cgroup,
    }


def docker(values):
    return {"docker": f"echo '{json.dumps(values)}'"}


def link(command, file, installed=False, daemon=False):
    return {"link": command, "command": file, "installed": installed, "daemon": daemon}


def compose(body):
    return {"docker": body}


def container(report, code=0, image="rlhf-appliance:0.1.0", ways=None):
    """A docker that lists one image, tells its runtimes, and prints a report where it should run a container."""
    return {
        "docker": f"""case "$1" in
image) echo '{image}' ;;
info) echo '{json.dumps(ways or info())}' ;;
run) echo "$@" >&2; echo '{json.dumps(report) if report else "oops"}'; exit {code} ;;
esac"""
    }


def report(**statuses):
    rows = [{"id": id.replace("_", "."), "status": status, "found": "cuInit 999"} for id, status in statuses.items()]
    values = list(statuses.values())
    return {"checks": rows, "summary": {status: values.count(status) for status in ("pass", "warn", "fail", "skip")}}


DEVICES = ("nvidia.com/gpu=0", "nvidia.com/gpu=all")

CASES = [
    {"id": "docker.snap", "case": "apt", "status": "pass", "commands": {"docker": ":"}},
    {"id": "docker.snap", "case": "no docker", "status": "pass"},
    {"id": "docker.snap", "case": "snap", "status": "fail", "fact": link("/snap/bin/docker", "/usr/bin/snap", True),
     "says": "snap remove"},
    {"id": "docker.snap", "case": "its daemon", "status": "fail", "says": "docker-ce",
     "files": {"/proc/900/cmdline": "/snap/docker/2963/bin/dockerd\0--group\0docker\0"}, "commands": {"docker": ":"}},
    {"id": "docker.snap", "case": "another's arguments", "status": "pass",
     "files": {"/proc/900/cmdline": "vim\0/snap/docker/2963/bin/dockerd\0"}, "commands": {"docker": ":"}},
    {"id": "docker.snap", "case": "its command, not its daemon", "status": "pass",
     "files": {"/proc/900/cmdline": "/snap/docker/2963/bin/docker\0dockerd\0"}, "commands": {"docker": ":"}},
    {"id": "docker.snap", "case": "both", "status": "warn", "commands": {"docker": ":"},
     "files": {"/snap/docker/current/meta/snap.yaml": "name: docker\n"}},
    {"id": "docker.compose", "case": "new", "status": "pass", "commands": compose("echo 2.40.3")},
    {"id": "docker.compose", "case": "with a v", "status": "pass", "commands": compose("echo v5.0.1")},
    {"id": "docker.compose", "case": "Ubuntu's", "status": "pass", "commands": compose("echo 2.37.1+ds1-0ubuntu2")},
    {"id": "docker.compose", "case": "older", "status": "warn", "commands": compose("echo 2.24.5"), "says": "compose-plugin"},
    {"id": "docker.compose", "case": "too old", "status": "fail", "commands": compose("echo v2.17.2")},
    {"id": "docker.compose", "case": "none", "status": "fail", "says": "no Compose plugin",
     "commands": compose("echo \"docker: 'compose' is not a docker command.\" >&2; exit 1")},
    {"id": "docker.compose", "case": "the old program", "status": "fail", "says": "the old one, is there",
     "commands": compose("exit 1") | {"docker-compose": ":"}},
    {"id": "docker.compose", "case": "hangs", "status": "fail", "says": "restart docker",
     "fact": {"code": None, "out": "", "err": "", "problem": "docker gave no answer in 3 s", "old": False}},
    {"id": "docker.cgroup", "case": "cgroupfs", "status": "pass", "commands": docker(info(cgroup="cgroupfs"))},
    {"id": "docker.cgroup", "case": "systemd", "status": "warn", "commands": docker(info()), "says": "daemon-reload"},
    {"id": "docker.cgroup", "case": "systemd and CDI", "status": "pass", "commands": docker(info(cdi=DEVICES))},
    {"id": "docker.cgroup", "case": "links", "status": "pass", "commands": docker(info()),
     "links": {"/dev/char/195:255": "../nvidiactl"}},
    {"id": "docker.cgroup", "case": "not told", "status": "skip", "commands": docker({})},
    {"id": "docker.e2e", "case": "works", "status": "pass", "commands": container(report(nvml_init="pass", cuda_init="pass")),
     "says": "2 checks pass in rlhf-appliance:0.1.0"},
    {"id": "docker.e2e", "case": "fails inside", "status": "fail", "says": "cuda.init: cuInit 999",
     "commands": container(report(nvml_init="pass", cuda_init="fail"), code=1)},
    {"id": "docker.e2e", "case": "nothing measured", "status": "skip",
     "commands": container(report(nvml_init="skip"), code=2)},
    {"id": "docker.e2e", "case": "does not start", "status": "fail", "says": "exit code 125",
     "commands": container(None, code=125)},
    {"id": "docker.e2e", "case": "by the runtime", "status": "fail", "says": "run --rm --gpus all --entrypoint",
     "commands": container(None, code=125)},
    {"id": "docker.e2e", "case": "by CDI alone", "status": "fail", "says": "run --rm --device nvidia.com/gpu=all --entry",
     "commands": container(None, code=125, ways=info(("runc",), DEVICES))},
    {"id": "docker.e2e", "case": "no image", "status": "skip", "commands": {"docker": ":"}},
    {"id": "docker.e2e", "case": "only a dangling image", "status": "skip",
     "commands": container(None, image="rlhf-appliance:<none>")},
]  # fmt: skip
