"""The GPU's state as NVML tells it: whether it answers at all, its memory's error correction, what slows it down."""

from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.checks._gpu import each, reads
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn


def probe_responds(host: Host) -> dict[str, Any]:
    """Calls that ended with a lost GPU or one that asks for a reset, and the values of nvidia-smi for every GPU."""
    seen = host.nvml()
    lost = {
        str(device["index"]): [
            n for n, v in device.items() if nvml.is_error(v) and v["error"] in (nvml.LOST, nvml.RESET)
        ]
        for device in seen["devices"]
    }
    return {"init": seen["init"], "lost": lost, "status": [nvml.status(device) for device in seen["devices"]]}


def judge_responds(fact: dict[str, Any], need: Need) -> Verdict:
    """Every GPU answers every call."""
    if fact["init"]["error"]:
        return skip(f"NVML: {fact['init']['name']}")
    lost = [index for index, calls in fact["lost"].items() if calls]
    if lost:
        return fail(
            f"GPU {', '.join(lost)} is lost",
            "an answer to every call",
            why="The card stopped answering the driver: it fell off the bus or waits for a reset. Nothing on it can go on.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )
    shown = [
        f"GPU {s['index']} at {s['bus id']}: {s['name']}, {s['temperature']}, {s['performance state']}, {s['power']}, "
        f"utilization {s['utilization']}"
        for s in fact["status"]
    ]
    return passed("; ".join(shown)) if shown else skip("the driver knows no GPU")


def judge_ecc_mode(fact: dict[str, Any], need: Need) -> Verdict:
    """On now and after the next boot."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        current, pending = gpu["ecc_mode"]
        if current and pending:
            return passed("on")
        if current != pending:
            return warn(
                f"{nvml.ON_OFF[current]}, {nvml.ON_OFF[pending]} after the next boot",
                "on",
                why="The change waits for a reboot; until then the card works in the old mode.",
                fix=fixes.REBOOT if pending else f"sudo nvidia-smi -i {gpu['index']} -e 1",
                reboot=bool(pending),
            )
        return warn(
            "off",
            "on",
            why="Without error correction a flipped bit in the card's memory changes weights and nobody is told.",
            fix=f"sudo nvidia-smi -i {gpu['index']} -e 1 && sudo reboot",
            reboot=True,
        )

    return each(fact, judge)


SLOWED_BY = {
    0x8: "hardware slowdown",
    0x20: "software, for temperature",
    0x40: "hardware, for temperature",
    0x80: "power brake from outside",
}
"""Reasons that mean trouble; idle (0x1), application clocks (0x2) and the power cap (0x4) are normal."""


def judge_throttle(fact: dict[str, Any], need: Need) -> Verdict:
    """None of the troublesome reasons is set in the mask."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        reasons = [text for bit, text in SLOWED_BY.items() if gpu["throttle_mask"] & bit]
        if not reasons:
            return passed("clocks are not held down")
        return warn(
            f"slowed down by {', '.join(reasons)}",
            "clocks are not held down",
            why="The card protects itself from heat or from too little power; training runs, but slower than it should.",
            fix=f"nvidia-smi -i {gpu['index']} -q -d PERFORMANCE,TEMPERATURE,POWER\n"
            "# then ask whoever runs the host to look at its fans, air flow and power supplies",
        )

    return each(fact, judge)


CHECKS = (
    Check(
        id="gpu.responds",
        title="GPU answers",
        section="GPU health",
        scope="both",
        needs=("nvml.init",),
        probe=probe_responds,
        judge=judge_responds,
        blocking=True,
        explain="""Reads every value that NVML has of each GPU, among them those that nvidia-smi shows. A card that
        disappears between two calls is reported here once, and the other health checks are skipped.""",
    ),
    Check(
        id="gpu.ecc_mode",
        title="Error correction",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=reads("ecc_mode"),
        judge=judge_ecc_mode,
        explain="""Whether the card's memory corrects single flipped bits (ECC), now and after the next boot. It costs
        little on an A100 and tells you when the memory begins to fail. A vGPU does not say.""",
    ),
    Check(
        id="gpu.throttle",
        title="Clock throttling",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=reads("throttle_mask"),
        judge=judge_throttle,
        explain="""Reads why the GPU's clocks are held down at this moment. Being idle or at its power cap is normal. Heat
        or a power brake is not: the host's cooling or power supply limits every run.""",
    ),
)
