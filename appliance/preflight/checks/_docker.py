"""What Docker says about itself, for several families."""

import json
from typing import Any

from appliance.preflight.host import Host

GPU_DEVICE = "nvidia.com/gpu"


def docker_info(host: Host) -> dict[str, Any]:
    """What `docker info` says, as its JSON; empty without an answer."""
    try:
        values = json.loads(host.run("docker", "info", "--format", "{{json .}}")["out"])
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def gpu_ways(host: Host) -> dict[str, Any]:
    """How containers can get a GPU: the `nvidia` runtime, CDI devices that the engine found; and its cgroup driver."""
    info = docker_info(host)
    devices = [str(device.get("ID")) for device in info.get("DiscoveredDevices") or [] if isinstance(device, dict)]
    return {
        "known": "Runtimes" in info or "DiscoveredDevices" in info,
        "runtime": "nvidia" in (info.get("Runtimes") or {}),
        "cdi": [device for device in devices if device.startswith(GPU_DEVICE)],
        "cgroup": info.get("CgroupDriver"),
    }
