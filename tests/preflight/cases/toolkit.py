"""Cases of the NVIDIA container toolkit."""

import json


def ctk(version):
    return {"nvidia-ctk": f"echo 'NVIDIA Container Toolkit CLI version {version}'; echo 'commit: 5e5a3b9'"}


def docker(**values):
    return {"docker": f"echo '{json.dumps(values)}'"}


def spec(version):
    return (
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  mounts:\n"
        f"  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.{version}\n"
        f"  - hostPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{version}\n"
        "  - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.1\n"
    )


LOADED = {"/sys/module/nvidia/version": "580.95.05\n"}
ETC, RUN = "/etc/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml"
GOOD, OLD = spec("580.95.05"), spec("535.183.01")

CASES = [
    {"id": "ctk.version", "case": "first good one", "status": "pass", "commands": ctk("1.17.8")},
    {"id": "ctk.version", "case": "new", "status": "pass", "commands": ctk("1.19.1")},
    {"id": "ctk.version", "case": "known hole", "status": "warn", "commands": ctk("1.17.7"), "says": "CVE-2025-23266"},
    {"id": "ctk.version", "case": "9 is less than 17", "status": "warn", "commands": ctk("1.9.0")},
    {"id": "ctk.version", "case": "none", "status": "fail", "says": "libnvidia-container/gpgkey"},
    {"id": "ctk.version", "case": "no version", "status": "skip", "commands": {"nvidia-ctk": "exit 3"}},
    {"id": "ctk.runtime", "case": "runtime", "status": "pass", "commands": docker(Runtimes={"runc": {}, "nvidia": {}})},
    {"id": "ctk.runtime", "case": "cdi", "status": "pass", "says": "CDI (1 devices)",
     "commands": docker(Runtimes={"runc": {}}, DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=all"}])},
    {"id": "ctk.runtime", "case": "neither", "status": "fail", "says": "nvidia-ctk runtime configure",
     "commands": docker(Runtimes={"runc": {}}, DiscoveredDevices=None)},
    {"id": "ctk.runtime", "case": "another vendor's CDI", "status": "fail",
     "commands": docker(Runtimes={}, DiscoveredDevices=[{"Source": "cdi", "ID": "vendor.example/nic=0"}])},
    {"id": "ctk.runtime", "case": "no answer", "status": "skip", "commands": {"docker": "exit 1"}},
    {"id": "ctk.cdi_fresh", "case": "fresh", "status": "pass", "files": LOADED | {RUN: GOOD}},
    {"id": "ctk.cdi_fresh", "case": "stale", "status": "fail", "files": LOADED | {ETC: OLD}, "says": f"generate --output={ETC}"},
    {"id": "ctk.cdi_fresh", "case": "made without a driver", "status": "fail", "says": "no driver at all",
     "files": LOADED | {ETC: "kind: nvidia.com/gpu\n"}},
    {"id": "ctk.cdi_fresh", "case": "two", "status": "warn", "files": LOADED | {ETC: GOOD, RUN: GOOD}, "says": f"rm {ETC}"},
    {"id": "ctk.cdi_fresh", "case": "one of two is stale", "status": "fail", "says": f"sudo rm {ETC}",
     "files": LOADED | {ETC: OLD, RUN: GOOD}},
    {"id": "ctk.cdi_fresh", "case": "another vendor's", "status": "skip",
     "files": LOADED | {"/etc/cdi/nic.yaml": "kind: vendor.example/nic\n"}},
    {"id": "ctk.cdi_fresh", "case": "none", "status": "skip", "files": LOADED},
    {"id": "ctk.cdi_fresh", "case": "no module", "status": "skip", "files": {RUN: GOOD}},
]  # fmt: skip
