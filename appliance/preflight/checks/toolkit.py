"""The NVIDIA container toolkit: how a container gets the GPU."""

import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks._docker import gpu_ways
from appliance.preflight.checks.driver import version_numbers
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

TOOLKIT_LEAST = "1.17.8"
"""The first release without CVE-2025-23266, by which a container's image takes over the host."""

CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")


def probe_version(host: Host) -> dict[str, Any]:
    """What `nvidia-ctk --version` said."""
    return dict(host.run("nvidia-ctk", "--version"))


def judge_version(fact: dict[str, Any], need: Need) -> Verdict:
    """1.17.8 or newer."""
    expected = f"{TOOLKIT_LEAST} or newer"
    if fact["problem"] and "not installed" in fact["problem"]:
        return fail(
            "not installed",
            expected,
            why="Without the toolkit Docker starts containers, but none of them sees the GPU.",
            fix=f"{fixes.TOOLKIT_REPOSITORY}\n{fixes.NVIDIA_TOOLKIT}",
        )
    found = re.search(r"(\d+\.\d+\.\d+)", fact["out"])
    if fact["problem"] or not found:
        return skip(fact["problem"] or f"nvidia-ctk gives no version (exit code {fact['code']})")
    if version_numbers(found.group(1)) >= version_numbers(TOOLKIT_LEAST):
        return passed(found.group(1), expected)
    return warn(
        found.group(1),
        expected,
        why="A prepared image can break out of its container through this release and become root on the VM "
        "(CVE-2025-23266).",
        fix=f"{fixes.TOOLKIT_REPOSITORY}\n{fixes.NVIDIA_TOOLKIT}",
    )


def probe_runtime(host: Host) -> dict[str, Any]:
    """The engine's ways to a GPU."""
    return gpu_ways(host)


def judge_runtime(fact: dict[str, Any], need: Need) -> Verdict:
    """One of the two ways is there."""
    expected = "runtime nvidia, or CDI devices"
    if not fact["known"]:
        return skip("docker info does not tell its runtimes")
    if fact["runtime"] or fact["cdi"]:
        ways = ["runtime nvidia"] * fact["runtime"] + [f"CDI ({len(fact['cdi'])} devices)"] * bool(fact["cdi"])
        return passed(" and ".join(ways), expected)
    return fail(
        "Docker knows neither",
        expected,
        why="The toolkit is installed, but Docker was never told of it: containers start without a GPU, or with the message "
        "'could not select device driver'.",
        fix="sudo nvidia-ctk runtime configure --runtime=docker\nsudo systemctl restart docker",
    )


def probe_cdi(host: Host) -> dict[str, Any]:
    """Each CDI specification of NVIDIA GPUs with the driver versions in its library names, and the loaded module's."""
    specs = {}
    for folder in CDI_FOLDERS:
        for name in host.listdir(folder):
            text = host.read_text(f"{folder}/{name}") if name.endswith((".yaml", ".yml", ".json")) else None
            if text and "nvidia.com/gpu" in text:
                specs[f"{folder}/{name}"] = sorted(set(re.findall(r"lib(?:cuda|nvidia-ml)\.so\.(\d+\.[\d.]*\d)", text)))
    return {"specs": specs, "loaded": host.read_text("/sys/module/nvidia/version")}


def judge_cdi(fact: dict[str, Any], need: Need) -> Verdict:
    """One specification, made for the driver that is loaded."""
    specs, loaded = fact["specs"], fact["loaded"]
    if not specs:
        return skip("there is no CDI specification")
    if not loaded:
        return skip("the loaded driver's version cannot be read")
    expected = f"one, for driver {loaded}"
    for file, versions in specs.items():
        if versions != [loaded]:
            return fail(
                f"{file} is for {', '.join(versions) or 'no driver at all'}",
                expected,
                why="The file lists the libraries that a container is given. Those of another driver are gone from the disk or "
                "do not fit the module, so containers do not start or see no GPU.",
                fix=(
                    f"sudo rm {file}" if [loaded] in specs.values() else f"sudo nvidia-ctk cdi generate --output={file}"
                )
                + "\nnvidia-ctk cdi list",
            )
    if len(specs) > 1:
        return warn(
            f"{len(specs)}: {', '.join(specs)}",
            expected,
            why="Only one of them is kept fresh; after the next driver upgrade the other one speaks of libraries that are gone.",
            fix=f"sudo rm {next(iter(specs))}\nnvidia-ctk cdi list   # the devices must still be there",
        )
    return passed(f"{next(iter(specs))} is for {loaded}", expected)


CHECKS = (
    Check(
        id="ctk.version",
        title="NVIDIA container toolkit",
        section="Container engine",
        scope="host",
        needs=("docker.engine", "pci.gpu_present"),
        probe=probe_version,
        judge=judge_version,
        blocking=True,
        explain="""Asks nvidia-ctk for its version. The toolkit hands the driver's devices and libraries to containers.
        Releases before 1.17.8 let a malicious image become root on the host, so they warn. It is in NVIDIA's own apt
        repository, not in Ubuntu's.""",
    ),
    Check(
        id="ctk.runtime",
        title="Docker hands out the GPU",
        section="Container engine",
        scope="host",
        needs=("docker.engine", "ctk.version"),
        probe=probe_runtime,
        judge=judge_runtime,
        blocking=True,
        explain="""Asks Docker for its runtimes and the CDI devices that it found. One of the two must be there. Installing
        the toolkit does not do it: Docker is told by `nvidia-ctk runtime configure`, and has to be restarted.""",
    ),
    Check(
        id="ctk.cdi_fresh",
        title="CDI specification",
        section="Container engine",
        scope="host",
        needs=("ctk.version", "mod.nvidia_loaded"),
        probe=probe_cdi,
        judge=judge_cdi,
        blocking=True,
        explain="""Reads the files in /etc/cdi and /var/run/cdi that list what a container gets, and compares the driver's
        version in their library names with the module that is loaded. The files are not always made anew when the driver
        changes. Where there is none, the classic runtime is used and this is skipped.""",
    ),
)
