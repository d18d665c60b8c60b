"""The container engine beyond its being there: how it was installed, Compose, cgroups, and one container that runs."""

import json
import os
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks._docker import gpu_ways
from appliance.preflight.checks.driver import version_numbers
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

COMPOSE_GOOD, COMPOSE_LEAST = (2, 30), (2, 20)
IMAGE = "rlhf-appliance"
IN_CONTAINER = "nvml.init,drv.min,cuda.init,torch.matmul"


def probe_snap(host: Host) -> dict[str, Any]:
    """The docker command's file, whether the snap is installed, and whether its daemon runs."""
    command = host.which("docker")
    lines = (host.read_text(f"/proc/{pid}/cmdline") or "" for pid in host.listdir("/proc") if pid.isdigit())
    return {
        "command": os.path.realpath(command) if command else None,
        "link": command,
        "installed": host.exists("/snap/docker/current"),
        "daemon": any(line.startswith("/snap/docker/") and "dockerd" in line.split("\0")[0] for line in lines),
    }


def judge_snap(fact: dict[str, Any], need: Need) -> Verdict:
    """No snap of Docker in use."""
    expected = "Docker from its apt repository"
    ours = (fact["link"] or "").startswith("/snap/") or (fact["command"] or "").startswith("/snap/")
    if fact["daemon"] or ours:
        return fail(
            "Docker is a snap",
            expected,
            why="The snap is confined: it neither sees the NVIDIA runtime nor most of the folders that containers mount.",
            fix=f"{fixes.REMOVE_SNAP}\n{fixes.DOCKER}",
        )
    if fact["installed"]:
        return warn(
            f"the snap is installed beside {fact['link'] or 'no other docker'}",
            expected,
            why="Two Docker engines take turns at one socket; after a boot it can be the one that has no GPU.",
            fix=fixes.REMOVE_SNAP,
        )
    return passed("not the snap")


def probe_compose(host: Host) -> dict[str, Any]:
    """What `docker compose version` said, and whether the old docker-compose is there."""
    ran = host.run("docker", "compose", "version", "--short")
    return {**ran, "old": host.which("docker-compose") is not None}


def judge_compose(fact: dict[str, Any], need: Need) -> Verdict:
    """2.30 or newer; from 2.20 on it warns."""
    expected = "2.30 or newer"
    version = fact["out"].removeprefix("v") if fact["code"] == 0 else ""
    numbers = version_numbers(version)
    if numbers >= COMPOSE_GOOD:
        return passed(version, expected)
    if numbers >= COMPOSE_LEAST:
        return warn(
            version,
            expected,
            why="It starts the appliance, but does not know the short way to ask for GPUs (`gpus: all`) in overrides.",
            fix=fixes.DOCKER,
        )
    if fact["problem"] and "no answer" in fact["problem"]:
        return fail(
            fact["problem"],
            expected,
            why="The command hangs, so the appliance cannot be started.",
            fix="docker compose version   # by hand\nsudo systemctl restart docker",
        )
    found = version or "no Compose plugin"
    return fail(
        found + (" (docker-compose, the old one, is there)" if fact["old"] and not version else ""),
        expected,
        why="compose.yaml is written for the plugin `docker compose`; the old `docker-compose` does not understand it.",
        fix=fixes.DOCKER,
    )


def probe_cgroup(host: Host) -> dict[str, Any]:
    """The engine's cgroup driver, its ways to a GPU, and whether /dev/char has links to NVIDIA's devices (major 195)."""
    links = [name for name in host.listdir("/dev/char") if name.startswith("195:")]
    return {**gpu_ways(host), "links": len(links)}


def judge_cgroup(fact: dict[str, Any], need: Need) -> Verdict:
    """Not systemd's cgroups with the runtime alone: there a daemon-reload takes the devices away."""
    if fact["cgroup"] is None:
        return skip("the engine does not tell its cgroup driver")
    if fact["cgroup"] != "systemd":
        return passed(f"cgroup driver {fact['cgroup']}")
    if fact["cdi"]:
        return passed("cgroup driver systemd, GPU by CDI")
    if fact["links"]:
        return passed("cgroup driver systemd, /dev/char links are there")
    return warn(
        "cgroup driver systemd, GPU by the nvidia runtime",
        "CDI, cgroupfs, or links in /dev/char",
        why="When somebody runs `systemctl daemon-reload` (many package upgrades do), running containers lose the GPU and "
        "a run ends with 'Failed to initialize NVML: Unknown Error'.",
        fix=fixes.KEEP_DEVICES,
    )


def probe_e2e(host: Host) -> dict[str, Any]:
    """Runs the GPU checks in a container of the newest image that is here; `image` None: there is no image."""
    reference = f"reference=*{IMAGE}*"
    listed = host.run("docker", "image", "ls", "--filter", reference, "--format", "{{.Repository}}:{{.Tag}}")
    image = next((line for line in listed["out"].splitlines() if "<none>" not in line), None)
    if image is None:
        return {"image": None, "problem": listed["problem"], "code": listed["code"], "err": listed["err"][:500]}
    ways = gpu_ways(host)
    gpu = ("--gpus", "all") if ways["runtime"] or not ways["cdi"] else ("--device", "nvidia.com/gpu=all")
    asked = ("preflight", "--stage", "container", "--level", "full", "--only", IN_CONTAINER, "--json")
    ran = host.run("docker", "run", "--rm", *gpu, "--entrypoint", "appliance", image, *asked, timeout_s=100)
    try:
        report = json.loads(ran["out"])
        failed = [f"{row['id']}: {row['found']}" for row in report["checks"] if row["status"] == "fail"]
        counted = dict(report["summary"])
    except (ValueError, KeyError, TypeError):
        failed, counted = None, None
    said = {"problem": ran["problem"], "code": ran["code"], "err": ran["err"][-500:]}
    return {"image": image, **said, "failed": failed, "summary": counted}


def judge_e2e(fact: dict[str, Any], need: Need) -> Verdict:
    """The container's own report has no failure."""
    image, expected = fact["image"], "the GPU works in a container of the image"
    if image is None:
        return skip(fact["problem"] or f"no image named {IMAGE} is here yet: docker compose pull")
    again = f"docker run --rm --gpus all --entrypoint appliance {image} preflight --stage container --level full"
    if fact["failed"] is None:
        lines = fact["err"].splitlines() or ["no message"]
        return fail(
            fact["problem"] or f"exit code {fact['code']}: {lines[-1]}",
            expected,
            why="The engine did not start the container, or what ran in it gave no report.",
            fix=f"{again}\nsudo journalctl -u docker -n 50 --no-pager",
        )
    if fact["failed"]:
        return fail(
            f"in {image}: {'; '.join(fact['failed'][:2])}",
            expected,
            why="The GPU works on the host as far as the checks above say, but not for a container.",
            fix=f"{again}   # its own report names the remedy",
        )
    if fact["code"] != 0 or not fact["summary"].get("pass"):
        return skip(f"nothing could be measured in {image} (exit code {fact['code']})")
    return passed(f"{fact['summary']['pass']} checks pass in {image}", expected)


CHECKS = (
    Check(
        id="docker.snap",
        title="Docker's package",
        section="Container engine",
        scope="host",
        probe=probe_snap,
        judge=judge_snap,
        blocking=True,
        explain="""Looks where the docker command comes from and whether the snap's daemon runs. Ubuntu's installer offers
        Docker as a snap; inside its confinement it finds neither the NVIDIA runtime nor most folders of the host. Remove it
        and take Docker's own apt repository.""",
    ),
    Check(
        id="docker.compose",
        title="Docker Compose",
        section="Container engine",
        scope="host",
        needs=("docker.engine",),
        probe=probe_compose,
        judge=judge_compose,
        blocking=True,
        explain="""Asks the Compose plugin for its version. The appliance is started with `docker compose up`. Ubuntu's
        package docker-compose is the old program of another format, and does not help.""",
    ),
    Check(
        id="docker.cgroup",
        title="GPU outlives daemon-reload",
        section="Container engine",
        scope="host",
        needs=("docker.engine", "ctk.runtime"),
        probe=probe_cgroup,
        judge=judge_cgroup,
        explain="""Reads which cgroup driver Docker uses and how containers get the GPU. With systemd's driver and the
        classic nvidia runtime, systemd does not know the devices that a container was given, and takes them away at the
        next daemon-reload. CDI, cgroupfs or links in /dev/char keep them.""",
    ),
    Check(
        id="docker.e2e",
        title="GPU in a container",
        section="Container engine",
        scope="host",
        needs=("docker.engine", "ctk.runtime", "nvml.init"),
        probe=probe_e2e,
        judge=judge_e2e,
        level="deep",
        blocking=True,
        timeout_s=110,
        explain="""Starts a container of the appliance's image, if one is on this machine, and runs the GPU checks in it.
        Engine, toolkit and driver can each be right and still not fit together; this is the proof that they do. The
        container is removed afterwards and nothing is pulled.""",
    ),
)
