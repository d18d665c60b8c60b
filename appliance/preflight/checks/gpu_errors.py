"""What the card's own counters say about its memory: wrong bits, rows taken out of use, and the reset it may ask for."""

from typing import Any

from appliance.preflight import fixes, nvml
from appliance.preflight.check import Check
from appliance.preflight.checks._gpu import each, reads
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

MOST_REMAPPED = 512  # rows replaced after uncorrected errors; DCGM's limit
MOST_RETIRED = 63  # pages; DCGM's limit
MOST_CORRECTED = {"sram": 10_000, "dram": 20_000_000}  # Azure's limits for the A100
CORRUPTED_INFOROM = 14


UNCORRECTED = ("ecc_uncorrected_volatile", "ecc_uncorrected_volatile_sram", "remapped_rows")


def judge_uncorrected(fact: dict[str, Any], need: Need) -> Verdict:
    """None since the driver was loaded; those in DRAM whose row was replaced are a warning."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        count, sram, rows = (gpu[name] for name in UNCORRECTED)
        if not count:
            return passed("0 since the driver was loaded", "0")
        if sram or rows is None:
            where = f"{sram} of them in SRAM" if sram else "no sign of a replaced row"
            return fail(
                f"{count} since the driver was loaded, {where}",
                "0",
                why="Data on the card was wrong and could not be put right, and the faulty cells are still in use.",
                fix=fixes.REBOOT_THEN_POWER_CYCLE,
                reboot=True,
            )
        return warn(
            f"{count} since the driver was loaded, in DRAM",
            "0",
            why="Data was wrong once, and the run that met it crashed. The card has spare rows for such cells; "
            "gpu.row_remap tells whether it could put them to use.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )

    return each(fact, judge, *UNCORRECTED[1:])


CORRECTED = tuple(f"ecc_corrected_{when}_{where}" for when in ("volatile", "aggregate") for where in ("sram", "dram"))


def judge_corrected(fact: dict[str, Any], need: Need) -> Verdict:
    """Fewer than a card with failing memory shows, over its life and since the driver was loaded."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if all(gpu[name] is None for name in CORRECTED):
            return skip("this GPU does not count corrected errors")
        counts = {
            where: max(gpu[f"ecc_corrected_{when}_{where}"] or 0 for when in ("volatile", "aggregate"))
            for where in MOST_CORRECTED
        }
        found = f"SRAM {counts['sram']}, DRAM {counts['dram']}"
        expected = f"SRAM up to {MOST_CORRECTED['sram']}, DRAM up to {MOST_CORRECTED['dram']}"
        if all(counts[where] <= most for where, most in MOST_CORRECTED.items()):
            return passed(found, expected)
        return warn(
            found,
            expected,
            why="Every one was put right, but this many means that the memory wears out and will fail some day.",
            fix=f"# note the numbers now and again after some days; growing fast? Have the card replaced\n"
            f"nvidia-smi -i {gpu['index']} -q -d ECC",
        )

    return each(fact, judge, *CORRECTED)


def rows_are_bad(rows: Any) -> bool:
    """Whether `remapped_rows` (corrected, uncorrected, pending, failed) is one that gpu.row_remap fails."""
    return isinstance(rows, list) and bool(rows[2] or rows[3] or rows[1] >= MOST_REMAPPED)


def judge_remap(fact: dict[str, Any], need: Need) -> Verdict:
    """No row was replaced after an uncorrected error; none waits for it, none failed."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        corrected, uncorrected, pending, failed = gpu["remapped_rows"]
        found = f"{uncorrected} after uncorrected errors, {corrected} after corrected ones"
        expected = "none after uncorrected errors, none pending, none failed"
        if failed or uncorrected >= MOST_REMAPPED:
            return fail(
                f"{found}; {'a replacement failed' if failed else 'the spare rows are used up'}",
                expected,
                why="The card has no spare memory left for its bad cells, so errors will come back. It needs replacing.",
                fix="sudo nvidia-bug-report.sh   # and open a hardware case with this file",
            )
        if pending:
            return fail(
                f"{found}; one is pending",
                expected,
                why="A bad row has a spare, but the card takes it only when it starts anew. Until then it uses the bad one.",
                fix=fixes.REBOOT_THEN_POWER_CYCLE,
                reboot=True,
            )
        if uncorrected:
            return warn(
                found,
                expected,
                why="The replaced rows are fine. More of them within weeks would mean that the memory is dying.",
                fix=f"nvidia-smi -i {gpu['index']} -q -d ROW_REMAPPER   # look again in a week",
            )
        return passed(found, expected)

    return each(fact, judge)


def judge_retired(fact: dict[str, Any], need: Need) -> Verdict:
    """Fewer pages than the card can hide, and none that waits. Cards from before Ampere only."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        count = gpu["retired_single"] + gpu["retired_double"]
        expected = f"fewer than {MOST_RETIRED}, none pending"
        if count >= MOST_RETIRED:
            return fail(
                f"{count} pages retired",
                expected,
                why="The card may hide only so many bad pages of memory, and has reached that number: replace it.",
                fix="sudo nvidia-bug-report.sh   # and open a hardware case with this file",
            )
        if gpu["retired_pending"]:
            return fail(
                f"{count} pages retired, more are pending",
                expected,
                why="A bad page of memory is known but still in use, until the driver is loaded anew.",
                fix=fixes.REBOOT,
                reboot=True,
            )
        return passed(f"{count} pages retired", expected)

    return each(fact, judge)


def probe_inforom(host: Host) -> dict[str, Any]:
    """The checksum's outcome of every GPU: the error that means "broken" becomes a value, others stay errors."""
    fact = reads("inforom")(host)
    for gpu in fact["devices"]:
        seen = gpu["inforom"]
        gpu["inforom"] = "broken" if nvml.is_error(seen) and seen["error"] == CORRUPTED_INFOROM else seen
    return fact


def judge_inforom(fact: dict[str, Any], need: Need) -> Verdict:
    """The checksum is right."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        if gpu["inforom"] != "broken":
            return passed("intact", "intact")
        return fail(
            "its checksum is wrong",
            "intact",
            why="The small memory that holds the card's settings and error history is damaged: neither can be believed.",
            fix="sudo nvidia-bug-report.sh   # and send this file to the maker of the server",
        )

    return each(fact, judge)


ACTIONS = {
    1: "a reset of the GPU",
    2: "a reboot",
    3: "an end to traffic between GPUs",
    4: "a reset once its work has ended",
    5: "recovery of its NVLink domain",
    6: "a reset of its bus",
    7: "a reboot of the whole system",
}


def judge_recovery(fact: dict[str, Any], need: Need) -> Verdict:
    """The driver asks for nothing."""

    def judge(gpu: dict[str, Any]) -> Verdict:
        action = gpu["recovery_action"]
        if not action:
            return passed("none asked for", "none")
        asked = ACTIONS.get(action, f"action {action}")
        if rows_are_bad(gpu["remapped_rows"]):
            return skip(f"the driver asks for {asked}; gpu.row_remap gives the reason and the remedy")
        return fail(
            f"the driver asks for {asked}",
            "none",
            why="The driver met a fault that it cannot clear while the card is in use; work on it may fail or be wrong.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )

    return each(fact, judge, "remapped_rows")


def _check(id: str, title: str, facts: tuple[str, ...], judge: Any, explain: str, **changes: Any) -> Check:
    common = {"section": "GPU health", "scope": "both", "needs": ("gpu.responds",), "probe": reads(*facts)}
    return Check(id=id, title=title, judge=judge, explain=explain, **{**common, **changes})


CHECKS = (
    _check(
        "gpu.ecc_volatile_ue",
        "Uncorrected memory errors",
        UNCORRECTED,
        judge_uncorrected,
        """Counts memory errors that ECC saw but could not repair since the driver was loaded. One in the big memory ends
        a run and gets its row replaced. One in the chip's own SRAM means that the chip cannot be trusted.""",
        blocking=True,
    ),
    _check(
        "gpu.ecc_ce",
        "Corrected memory errors",
        CORRECTED,
        judge_corrected,
        """Counts memory errors that ECC repaired. A few are normal in a card's life and harm nothing; a number above the
        limits that cloud operators use for the A100 announces a card that will soon fail.""",
    ),
    _check(
        "gpu.row_remap",
        "Replaced memory rows",
        ("remapped_rows",),
        judge_remap,
        """Cards since Ampere replace rows of bad memory by spare ones when they start. A replacement that waits needs a
        restart of the VM; one that failed, or spares that ran out, needs a new card.""",
        blocking=True,
    ),
    _check(
        "gpu.retired_pages",
        "Retired memory pages",
        ("retired_single", "retired_double", "retired_pending"),
        judge_retired,
        """Cards from before Ampere (V100, T4) hide pages of bad memory instead of replacing rows, and can hide only a
        few dozen. On an A100 this is not supported and therefore skipped.""",
        blocking=True,
    ),
    _check(
        "gpu.inforom",
        "InfoROM",
        ("inforom",),
        judge_inforom,
        """Has the card verify the checksum of its InfoROM, the memory with its settings and error counters. A damaged
        one is a matter for the maker: the card may lose its ECC setting or its list of bad rows.""",
        probe=probe_inforom,
        blocking=True,
    ),
    _check(
        "gpu.recovery",
        "Recovery asked for",
        ("recovery_action", "remapped_rows"),
        judge_recovery,
        """Newer drivers say by themselves what a card needs to get well after a fault: a reset, a reboot, or nothing.
        Drivers that are too old to know the question are skipped.""",
        blocking=True,
    ),
)
