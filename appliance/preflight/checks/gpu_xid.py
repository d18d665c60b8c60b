"""The driver's fault reports (Xid) in the kernel log of this boot."""

import re
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks.gpu_errors import rows_are_bad
from appliance.preflight.host import Host, Ran
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

FATAL = {46, 48, 62, 64, 79, 95, 109, 110, 119, 120, 140, 143, 158}
PROGRAMS = {8, 13, 31, 32, 43, 45, 68, 69}  # a program's own fault: it crashed, the card is well
MEMORY = {48, 63, 64, 92, 94, 95}
MEANING = {
    46: "the GPU stopped processing",
    48: "a memory error that could not be corrected",
    62: "the GPU's own controller halted",
    63: "a memory row was marked for replacement",
    64: "a memory row could not be marked for replacement",
    79: "the GPU fell off the bus",
    92: "many corrected memory errors",
    94: "a memory error that was contained",
    95: "a memory error that was not contained",
    119: "the GPU's system processor does not answer",
    120: "the GPU's system processor reports an error",
    154: "the driver asks for a recovery",
}
REPORT = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)")
OFF_THE_BUS = re.compile(r"NVRM: .*?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}).*fallen off the bus")


def probe_xid(host: Host) -> dict[str, Any]:
    """How often each Xid stands in this boot's kernel log, by "number bus"; `source` None: no log could be read.

    `problem` is how reading ended then. `bad_rows` is whether gpu.row_remap has its own failure to tell.
    """
    journal = host.run("journalctl", "-k", "-b", "-r", "--no-pager", "-o", "cat", timeout_s=2.0)
    logs = {"journalctl": _journal(journal)}
    if logs["journalctl"] is None:
        dmesg = host.run("dmesg", timeout_s=1.5)
        logs["dmesg"] = dmesg["out"] if dmesg["code"] == 0 and dmesg["out"] else None
        problem = "; ".join(_problem(ran) for ran in (journal, dmesg))
    source = next((name for name, text in logs.items() if text is not None), None)
    rows = [device.get("remapped_rows") for device in host.nvml()["devices"]]
    return {
        "source": source,
        "problem": None if source else problem,
        "seen": count_reports(logs[source] or "") if source else {},
        "bad_rows": any(rows_are_bad(row) for row in rows),
    }


def _journal(ran: Ran) -> str | None:
    """The kernel's messages; None when none came: every boot writes some, so there was no leave to see them."""
    lines = [line for line in ran["out"].splitlines() if line != "-- No entries --"]
    return "\n".join(lines) if ran["code"] == 0 and lines else None


def _problem(ran: Ran) -> str:
    said = f"{ran['out']} {ran['err']}".lower()
    if ran["problem"]:
        return ran["problem"]
    refused = ("permission", "not permitted", "not seeing messages", "no entries")
    return "no permission" if any(word in said for word in refused) or not said.strip() else said.strip()[:80]


def count_reports(log: str) -> dict[str, int]:
    """{"79 0000:00:06": 2}: how often each Xid was reported for each card; a lost card counts as Xid 79."""
    seen: dict[str, int] = {}
    for line in log.splitlines():
        report, lost = REPORT.search(line), OFF_THE_BUS.search(line)
        if report:
            key = f"{report[2]} {report[1]}"
        elif lost:
            key = f"79 {lost[1]}"
        else:
            continue
        seen[key] = seen.get(key, 0) + 1
    return seen


def judge_xid(fact: dict[str, Any], need: Need) -> Verdict:
    """None but those that programs cause themselves."""
    if fact["source"] is None:
        return skip(f"the kernel log of this boot was not seen ({fact['problem']}): run preflight again with sudo")
    expected = "no fault of the card in this boot's kernel log"
    counts: dict[int, int] = {}
    for key, count in fact["seen"].items():
        number = int(key.split()[0])
        counts[number] = counts.get(number, 0) + count
    told = sorted(set(counts) - PROGRAMS)
    if not told:
        own = f"; {sum(counts.values())} of programs that crashed" if counts else ""
        return passed(f"none in {fact['source']}{own}", expected)
    fatal = [n for n in told if n in FATAL and not (n in MEMORY and fact["bad_rows"])]
    names = [f"Xid {n} x{counts[n]}" + (f" ({MEANING[n]})" if n in MEANING else "") for n in fatal or told]
    if fatal:
        return fail(
            "; ".join(names[:3]),
            expected,
            why="The driver reported a fault of the card after which its results are not to be trusted.",
            fix=fixes.REBOOT_THEN_POWER_CYCLE,
            reboot=True,
        )
    return warn(
        "; ".join(names[:3]),
        expected,
        why="The driver met trouble and went on. A run that died at that moment died of this.",
        fix="sudo journalctl -k -b | grep -i 'NVRM: Xid'\n# the same again after a reboot? Open a hardware case",
    )


CHECKS = (
    Check(
        id="gpu.xid",
        title="Driver faults (Xid)",
        section="GPU health",
        scope="host",
        needs=("gpu.responds",),
        probe=probe_xid,
        judge=judge_xid,
        blocking=True,
        explain="""Looks in the kernel log of this boot for the driver's numbered fault reports (Xid). Numbers that a
        crashing program causes are left out; those of failing hardware or of a card that vanished count. Reading the
        log needs sudo or the group adm.""",
    ),
)
