"""The card's memory: how much there is, how much is free, and who has the rest."""

from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.checks._gpu import each, reads
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

REFERENCE_GIB = 39  # what an A100 of 40 GB shows when the driver keeps a little for itself
IDLE_GIB = 1


def judge_total(fact: dict[str, Any], need: Need) -> Verdict:
    """What the recipe asks for, or that of the reference card where no recipe is chosen."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        total_gib = gpu["memory_bytes"]["total"] / GIB
        found, expected = f"{total_gib:.1f} GiB", f"{need.vram_gib or REFERENCE_GIB} GiB or more"
        if need.vram_gib is not None and total_gib < need.vram_gib:
            return fail(
                found,
                f"{expected}, for this recipe",
                why="The recipe's weights, optimizer and activations do not fit on this card, however empty it is.",
                fix="# take a recipe with LoRA, a smaller model or fewer trained layers: ls configs/\n"
                "appliance preflight --config configs/RECIPE.yaml --only gpu.vram",
            )
        if need.vram_gib is not None or total_gib >= REFERENCE_GIB:
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="The recipes were tuned on 40 GB. Smaller cards run the smaller ones; without a recipe nobody knows which.",
            fix="appliance preflight --config configs/RECIPE.yaml --only gpu.vram",
        )

    return each(fact, judge)


def judge_free(fact: dict[str, Any], need: Need) -> Verdict:
    """Nearly empty; other users are a warning as long as the recipe fits beside them."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        used_gib, free_gib = (gpu["memory_bytes"][name] / GIB for name in ("used", "free"))
        found, expected = f"{free_gib:.1f} GiB free, {used_gib:.1f} GiB in use", f"less than {IDLE_GIB} GiB in use"
        if need.vram_gib is not None and free_gib < need.vram_gib:
            return fail(
                found,
                f"{need.vram_gib} GiB free, for this recipe",
                why="The card is large enough, but something else holds its memory: the run would end without memory.",
                fix=fixes.STOP_GPU_USERS,
            )
        if used_gib < IDLE_GIB:
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="Something else uses the card. A run shares its memory and its speed with that.",
            fix=fixes.STOP_GPU_USERS,
        )

    return each(fact, judge)


def probe_users(host: Host) -> dict[str, Any]:
    """The processes on every GPU by id, with the program's name where /proc tells it; `in_container` hides others'."""
    fact = reads("compute_pids", "graphics_pids")(host)
    for gpu in fact["devices"]:
        for kind in ("compute_pids", "graphics_pids"):
            if not nvml.is_error(gpu[kind]):
                gpu[kind] = {str(pid): host.read_text(f"/proc/{pid}/comm") for pid in gpu[kind]}
    return {**fact, "in_container": host.in_container()}


def judge_users(fact: dict[str, Any], need: Need) -> Verdict:
    """None."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if gpu["compute_pids"] is None and gpu["graphics_pids"] is None:
            return skip("this driver does not list them")
        users = (gpu["compute_pids"] or {}) | (gpu["graphics_pids"] or {})
        if not users:
            seen = "none seen from inside this container" if fact["in_container"] else "none"
            return passed(seen, "none")
        named = [f"{name or 'unknown'} (pid {pid})" for pid, name in users.items()]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        return warn(
            ", ".join(named[:3]) + more,
            "none",
            why="Two programs on one card take turns and share its memory; either may run out of it.",
            fix=fixes.STOP_GPU_USERS,
        )

    return each(fact, judge, "compute_pids", "graphics_pids")


def judge_bar1(fact: dict[str, Any], need: Need) -> Verdict:
    """The window shows the whole memory at once."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        window, total = gpu["bar1_bytes"], gpu["memory_bytes"]["total"]
        found, expected = f"{window / GIB:.2f} GiB", f"{total / GIB:.0f} GiB or more, the card's memory"
        if window >= total:
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="The firmware gave the card a small window, so other devices reach only part of its memory directly. "
            "One GPU trains as usual; several exchange data the long way.",
            fix="# Prism Central: make the VM anew with UEFI as its boot type (not legacy BIOS), attach disk and GPU again",
        )

    return each(fact, judge)


CHECKS = (
    Check(
        id="gpu.vram",
        title="GPU memory",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=reads("memory_bytes"),
        judge=judge_total,
        blocking=True,
        explain="""The card's whole memory against what the recipe given by --config asks for. Without a recipe it is
        compared with the 40 GB of the reference card, and less than that is only a warning.""",
    ),
    Check(
        id="gpu.vram_free",
        title="Free GPU memory",
        section="GPU health",
        scope="both",
        needs=("gpu.vram",),
        probe=reads("memory_bytes"),
        judge=judge_free,
        blocking=True,
        explain="""The memory that is free now. Most often a forgotten notebook or another run holds it, perhaps in another
        container, whose processes cannot be seen from here. The amount in use can always be seen.""",
    ),
    Check(
        id="gpu.procs",
        title="Others on the GPU",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=probe_users,
        judge=judge_users,
        explain="""Lists the programs that compute or draw on the card at this moment. Inside a container the driver hides
        those of other containers; gpu.vram_free notices them by the memory they hold.""",
    ),
    Check(
        id="gpu.bar1",
        title="Memory window (BAR1)",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=reads("bar1_bytes", "memory_bytes"),
        judge=judge_bar1,
        explain="""The part of the card's memory that the PCI bus can show at once. With UEFI firmware it covers all of
        it; a window of 256 MiB is the mark of a VM that boots by legacy BIOS.""",
    ),
)
