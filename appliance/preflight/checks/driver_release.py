"""Which driver this is beside the image's floor: its libraries, its own CUDA, its branch's age."""

from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks.driver import library_versions, loaded_version, version_numbers
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

OLDEST_GOOD_BRANCH = 535
"""Branches below it are of 2022 or before and get no more fixes."""


def probe_match(host: Host) -> dict[str, Any]:
    """Version of the loaded module, and of each library of the driver that the system's folders have."""
    return {"module": loaded_version(host), "libraries": library_versions(host), "init": host.nvml()["init"]["error"]}


def judge_match(fact: dict[str, Any], need: Need) -> Verdict:
    """The same version everywhere. Where no file tells, NVML opened, and it opens only on its own version's module."""
    module, libraries = fact["module"], fact["libraries"]
    if fact["init"]:
        return skip("NVML does not open; nvml.init tells")
    expected = f"libraries of {module}" if module else "one version"
    other = {name: version for name, version in libraries.items() if version != module} if module else {}
    if not other:
        shown = f"{len(libraries)} libraries of {module}" if module and libraries else "NVML fits its module"
        return passed(shown, expected)
    return fail(
        f"module {module}, " + ", ".join(f"{name} {version}" for name, version in other.items()),
        expected,
        why="NVML opens, but CUDA refuses to work with libraries of another driver. Either two installations got mixed, or "
        "a container was made before the driver changed.",
        fix="dpkg -l '*nvidia*' | grep ^ii   # packages of one version only? Then\n"
        + fixes.REBOOT
        + "\n# two versions: sudo nvidia-uninstall (if a .run file was used), then\n"
        + fixes.INSTALL_DRIVER
        + "\n# in a container: docker compose up -d --force-recreate",
        reboot=True,
    )


def probe_cuda(host: Host) -> dict[str, Any]:
    """The newest CUDA that the driver speaks, 12020 for 12.2, None where it does not tell; and the driver's version."""
    seen = host.nvml()
    cuda, driver = seen.get("cuda"), seen.get("driver")
    return {"cuda": cuda if isinstance(cuda, int) else None, "driver": driver if isinstance(driver, str) else None}


def judge_cuda(fact: dict[str, Any], need: Need) -> Verdict:
    """As new as the image's CUDA; an older minor of the same major works, but not in everything."""
    if not fact["cuda"]:
        return skip("the driver does not tell its CUDA version")
    own = (fact["cuda"] // 1000, fact["cuda"] % 1000 // 10)
    shown, expected = f"the driver speaks CUDA {own[0]}.{own[1]}", f"CUDA {need.cuda} or newer"
    wanted = version_numbers(need.cuda)[:2]
    if own >= wanted:
        return passed(shown, expected)
    if own[0] < wanted[0]:
        return skip(f"{shown}, an older major version; drv.min tells")
    return warn(
        shown,
        expected,
        why=f"CUDA {need.cuda} runs on it in compatibility mode: kernels that are compiled while the program runs from PTX, "
        "as torch.compile and some extensions do, fail with error 222. Training without them works.",
        fix=fixes.INSTALL_DRIVER,
        reboot=True,
    )


def probe_branch(host: Host) -> dict[str, Any]:
    """The driver's version."""
    version = host.nvml().get("driver")
    return {"driver": version if isinstance(version, str) else loaded_version(host)}


def judge_branch(fact: dict[str, Any], need: Need) -> Verdict:
    """Branch 535 or a later one."""
    numbers = version_numbers(fact["driver"] or "")
    if not numbers:
        return skip("the driver's version cannot be read")
    expected = f"branch {OLDEST_GOOD_BRANCH} or newer"
    if numbers[0] >= OLDEST_GOOD_BRANCH:
        return passed(f"branch {numbers[0]}", expected)
    return warn(
        f"branch {numbers[0]}",
        expected,
        why="This branch is years old: holes found in it since then stay open, and it may not compile for a newer kernel.",
        fix=fixes.INSTALL_DRIVER,
        reboot=True,
    )


CHECKS = (
    Check(
        id="drv.lib_match",
        title="Driver's libraries",
        section="PCI and driver",
        scope="both",
        needs=("nvml.init",),
        probe=probe_match,
        judge=judge_match,
        blocking=True,
        explain="""Compares the version of the loaded kernel module with those in the file names that libcuda,
        libnvidia-ml and the PTX compiler point to. An upgrade replaces the files at once and the module only at the next
        boot, and a .run file beside Ubuntu's packages leaves some of each. CUDA then refuses to start (error 803).""",
    ),
    Check(
        id="drv.cuda",
        title="Driver's own CUDA",
        section="PCI and driver",
        scope="both",
        needs=("nvml.init", "drv.min"),
        probe=probe_cuda,
        judge=judge_cuda,
        explain="""Asks the driver for the newest CUDA that it was made for. Any driver from the floor on runs every CUDA
        of the same major version, but an older one cannot compile that CUDA's intermediate code (PTX) on the spot. Plain
        training does not need this; torch.compile and self-built extensions may.""",
    ),
    Check(
        id="drv.branch_eol",
        title="Driver's branch",
        section="PCI and driver",
        scope="both",
        needs=("drv.min",),
        probe=probe_branch,
        judge=judge_branch,
        explain="""Looks at the first number of the driver's version. Branches before 535 come from 2022 or earlier and are
        no longer repaired. They may still run this image; plan the change, together with a reboot, for a quiet hour.""",
    ),
)
