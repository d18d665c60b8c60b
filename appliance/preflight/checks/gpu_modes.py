"""Whether the GPUs are those that are expected, and how they are set: MIG, compute mode, persistence, power, heat."""

from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.checks._cards import runs_on
from appliance.preflight.checks._gpu import each, reads
from appliance.preflight.checks.pci import probe_present
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

VGPU = 2  # NVML's virtualization mode
NEAR_C = 5
LEAST_POWER = 0.9  # of the card's own limit
BF16_SINCE = [8, 0]


def probe_count(host: Host) -> dict[str, Any]:
    """How many GPUs the driver knows, and how many are on the bus (None in a container, which may be given only some)."""
    seen = host.nvml()
    on_bus = None if host.in_container() else len(probe_present(host))
    return {"init": seen["init"], "count": seen.get("count"), "on_bus": on_bus}


def judge_count(fact: dict[str, Any], need: Need) -> Verdict:
    """As many as are needed, and every one on the bus."""
    if fact["init"]["error"]:
        return skip(f"NVML: {fact['init']['name']}")
    count, on_bus = fact["count"], fact["on_bus"]
    expected = str(max(need.gpus, on_bus or 0))
    if nvml.is_error(count):
        found, why = f"not counted: {count['name']}", "The driver is there but cannot list its cards."
    elif on_bus is not None and count < on_bus:
        found, why = f"{count} of the {on_bus} on the PCI bus", "The driver could not start a card that is in the VM."
    elif count < need.gpus:
        found, why = f"{count}", "The driver runs, but this place was given fewer GPUs than the work needs."
    else:
        return passed(f"{count}", expected)
    fix = "sudo dmesg | grep -i nvrm | tail\n" + fixes.REBOOT_THEN_POWER_CYCLE
    if on_bus is None:
        fix = "# on the host: is the GPU given to this service in compose.yaml?\n" + fixes.NVIDIA_TOOLKIT
    return fail(found, expected, why=why, fix=fix, reboot=on_bus is not None)


def judge_arch(fact: dict[str, Any], need: Need) -> Verdict:
    """A100's compute capability 8.0; later ones are untested, earlier ones have no bf16, unknown ones no kernels."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        capability = gpu["capability"]
        version = f"{capability[0]}.{capability[1]}"
        found, expected = f"{gpu['name'] or 'GPU'}, compute capability {version}", "8.0 (A100)"
        if capability < BF16_SINCE:
            return fail(
                found,
                expected,
                why="This card cannot compute in bf16, which every GPU recipe uses.",
                fix="# no setting helps: attach an A100, or run the CPU demo: appliance demo",
            )
        if not runs_on(need.archs, capability):
            return fail(
                found,
                f"one of {', '.join(need.archs)}",
                why=f"torch {need.torch} in this image was built without code for this card.",
                fix="# use an image whose torch carries this card's architecture: a build for CUDA 12.8 or newer",
            )
        if capability == BF16_SINCE:
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="The image has code for this card, but recipes and speed limits were made on an A100.",
            fix="appliance preflight --level full   # computes on the card and compares with the CPU",
        )

    return each(fact, judge, "name")


def judge_temperature(fact: dict[str, Any], need: Need) -> Verdict:
    """Well below the temperature at which the card slows itself down."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        now, limit = gpu["temperature_c"], gpu["slowdown_c"]
        found, expected = f"{now} C", f"below {limit - NEAR_C} C (it slows down at {limit} C)"
        if now < limit - NEAR_C:
            return passed(found, expected)
        say = fail if now >= limit else warn
        return say(
            found,
            expected,
            why="A card this hot halves its clocks, and turns itself off when it gets hotter still.",
            fix=f"nvidia-smi -i {gpu['index']} -q -d TEMPERATURE\n"
            "# then ask whoever runs the host to look at its fans and air flow",
        )

    return each(fact, judge)


def judge_persistence(fact: dict[str, Any], need: Need) -> Verdict:
    """On; a vGPU leaves that to its host."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if gpu["virtualization"] == VGPU:
            return skip("a vGPU leaves this to its host")
        if gpu["persistence"]:
            return passed("on", "on")
        return warn(
            "off",
            "on",
            why="The driver puts the card away whenever nobody uses it, so each start takes seconds longer.",
            fix="sudo systemctl enable --now nvidia-persistenced\n# no such service? sudo nvidia-smi -pm 1",
        )

    return each(fact, judge, "virtualization")


def judge_compute_mode(fact: dict[str, Any], need: Need) -> Verdict:
    """Any number of processes may use the card."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        mode = gpu["compute_mode"]
        found = nvml.COMPUTE_MODES.get(mode, f"mode {mode}")
        if mode == 0:
            return passed(found, "Default")
        prohibited = mode == 2
        say = fail if prohibited else warn
        return say(
            found,
            "Default",
            why="No program may compute on this card."
            if prohibited
            else "One program at a time: while a run trains, the page cannot generate, nor the other way round.",
            fix=f"sudo nvidia-smi -i {gpu['index']} -c 0",
        )

    return each(fact, judge)


def judge_mig(fact: dict[str, Any], need: Need) -> Verdict:
    """Not cut into parts, neither now nor after the next reset."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        current, pending = gpu["mig"]
        if not current and not pending:
            return passed("off", "off")
        fix = f"sudo nvidia-smi -i {gpu['index']} -mig 0 && sudo reboot"
        if not current:
            return warn(
                "off, on after the next reset",
                "off",
                why="At its next start the card will be cut into parts, and recipes that need all of it will fail.",
                fix=f"sudo nvidia-smi -i {gpu['index']} -mig 0",
            )
        return fail(
            "on" if pending else "on, off after the next reset",
            "off",
            why="The card is cut into parts (MIG), and a program gets one part at most: training needs the whole.",
            fix=fix if pending else fixes.REBOOT,
            reboot=True,
        )

    return each(fact, judge)


def judge_power_cap(fact: dict[str, Any], need: Need) -> Verdict:
    """The card's own limit, or at most a tenth below."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        cap, default = gpu["power_cap_mw"] / 1000, gpu["power_default_mw"] / 1000
        found, expected = f"{cap:.0f} W", f"{default:.0f} W, at least {LEAST_POWER * default:.0f} W"
        if cap >= LEAST_POWER * default:
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="Somebody lowered the card's power limit; it computes correctly but more slowly.",
            fix=f"sudo nvidia-smi -i {gpu['index']} -pl {default:.0f}",
        )

    return each(fact, judge)


def judge_display(fact: dict[str, Any], need: Need) -> Verdict:
    """No screen is drawn by this card."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if not gpu["display"]:
            return passed("off", "off")
        return warn(
            "on",
            "off",
            why="A desktop is drawn by this card. It takes memory, and long computations make it stutter.",
            fix="sudo systemctl set-default multi-user.target && sudo reboot",
            reboot=True,
        )

    return each(fact, judge)


def _check(id: str, title: str, facts: tuple[str, ...], judge: Any, explain: str, **changes: Any) -> Check:
    common = {"section": "GPU health", "scope": "both", "needs": ("gpu.responds",), "probe": reads(*facts)}
    return Check(id=id, title=title, judge=judge, explain=explain, **{**common, **changes})


CHECKS = (
    _check(
        "gpu.count",
        "Number of GPUs",
        (),
        judge_count,
        """Compares the number of GPUs that the driver runs with the number needed and, on the host, with those on the
        PCI bus. Fewer than on the bus: the driver could not start one, and the kernel log says why.""",
        probe=probe_count,
        needs=("nvml.init", "pci.gpu_present"),
        blocking=True,
    ),
    _check(
        "gpu.arch",
        "GPU generation",
        ("capability", "name"),
        judge_arch,
        """Reads the compute capability: 8.0 is the A100 on which everything was tuned. Older cards lack bf16; newer ones
        run only if the image's torch was built for them, which the list of architectures decides.""",
        blocking=True,
    ),
    _check(
        "gpu.temp",
        "Temperature",
        ("temperature_c", "slowdown_c"),
        judge_temperature,
        """The chip's temperature against the one at which it slows itself down. Close to it when idle means that the
        host's cooling fails: a blocked air path, a dead fan, or a card in a slot without air flow.""",
    ),
    _check(
        "gpu.persistence",
        "Persistence mode",
        ("persistence", "virtualization"),
        judge_persistence,
        """Whether the driver keeps the card ready while no program uses it. Without this the first call after a pause
        takes seconds, settings are lost, and error counters start again at zero.""",
    ),
    _check(
        "gpu.compute_mode",
        "Compute mode",
        ("compute_mode",),
        judge_compute_mode,
        """How many programs may compute on the card. The default lets the worker and the page share it; an exclusive
        mode lets in one, and the prohibited mode none. Some cluster software leaves it changed.""",
        blocking=True,
    ),
    _check(
        "gpu.mig",
        "MIG partitions",
        ("mig",),
        judge_mig,
        """Whether the card is cut into independent parts (MIG). A program can use one part only, with a part of the
        memory, so the recipes for a whole card do not fit. The mode outlives reboots.""",
        blocking=True,
    ),
    _check(
        "gpu.power_cap",
        "Power limit",
        ("power_cap_mw", "power_default_mw"),
        judge_power_cap,
        """The power that the card may draw against its own default. Data centres lower it to save energy or to spare
        weak power supplies; steps then take longer than the recipe says.""",
    ),
    _check(
        "gpu.display",
        "Display",
        ("display",),
        judge_display,
        """Whether a screen is driven by this card. On a training VM none should be: a desktop installed by mistake
        holds memory of the card and makes runs fail that would just fit.""",
    ),
)
