"""The report in its three forms: a table for people, JSON for programs, one line for a monitor."""

import json
import textwrap
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from appliance import __version__
from appliance.preflight.check import SECTIONS
from appliance.preflight.run import Outcome, Report

SCHEMA_VERSION = 1
COLORS = {"pass": "32", "warn": "33", "fail": "31", "skip": "2"}
WORDS = {"pass": "ok", "warn": "WARN", "fail": "FAIL", "skip": "skip"}
ID_WIDTH = 22  # the longest id; a test compares
INDENT = 2 + 4 + 2 + ID_WIDTH + 1


def schema() -> dict[str, Any]:
    """The JSON Schema of `as_json`, as shipped."""
    return json.loads(files("appliance.preflight").joinpath("schema.json").read_text(encoding="utf-8"))


def table(report: Report, *, width: int = 80, color: bool = False) -> list[str]:
    """Lines of at most `width` columns (fix lines excepted: they are to be pasted whole), ASCII only."""

    def paint(text: str, status: str) -> str:
        return f"\x1b[{COLORS[status]}m{text}\x1b[0m" if color else text

    need = report.need
    gpu = f"CUDA {need.cuda}, driver {need.min_driver} or newer" if need.gpus else "for machines without a GPU"
    lines = [
        f"appliance preflight {__version__}: {report.stage}, level {report.level}",
        f"image: torch {need.torch}, {gpu}",
    ]
    for section in SECTIONS:
        rows = [outcome for outcome in report.outcomes if outcome.check.section == section]
        if rows:
            lines += ["", section]
        for outcome in rows:
            lines += _row(outcome, width, paint)
    return [*lines, "", *_end(report, width, paint)]


def _row(outcome: Outcome, width: int, paint: Callable[[str, str], str]) -> list[str]:
    check, verdict = outcome.check, outcome.verdict
    troubled = verdict.status in ("warn", "fail")
    found = f"skip ({verdict.found})" if verdict.status == "skip" else verdict.found
    if verdict.expected and verdict.status != "skip":
        found = f"{found} (expected: {verdict.expected})"
    wrapped = textwrap.wrap(
        _ascii(found if verdict.status == "skip" else f"{check.title}: {found}"), width - INDENT, break_long_words=True
    )
    head = f"  {WORDS[verdict.status]:<4}  {check.id:<{ID_WIDTH}} "
    lines = [paint(head, verdict.status) + wrapped[0], *(" " * INDENT + line for line in wrapped[1:])]
    if troubled:
        lines += textwrap.wrap(_ascii(verdict.why), width, initial_indent="        why:  ", subsequent_indent=" " * 14)
        first, *more = map(_ascii, verdict.fix.splitlines())
        lines += [f"        fix:  {first}", *(f"              {line}" for line in more)]
        lines.append(f"        reboot needed: {'yes' if verdict.reboot else 'no'}")
    return lines


def verdict_word(report: Report) -> str:
    """ready, ready with warnings, not ready, or not measured."""
    if report.count("fail"):
        return "not ready"
    if report.exit_code() == 2:
        return "not measured"
    return "ready with warnings" if report.count("warn") else "ready"


def first_thing(report: Report) -> Outcome | None:
    """What to mend first: a failure before a warning, one that blocks before others, then by the report's order."""
    troubled = [outcome for outcome in report.outcomes if outcome.verdict.status in ("fail", "warn")]
    return min(troubled, key=lambda o: (o.verdict.status == "warn", not o.check.blocking), default=None)


def counts(report: Report) -> str:
    """How many passed, warned, failed and were skipped."""
    n = report.count
    warnings = "1 warning" if n("warn") == 1 else f"{n('warn')} warnings"
    failures = "1 failure" if n("fail") == 1 else f"{n('fail')} failures"
    return f"{n('pass')} ok, {warnings}, {failures}, {n('skip')} skipped"


def _end(report: Report, width: int, paint: Callable[[str, str], str]) -> list[str]:
    status = "fail" if report.count("fail") else "warn" if verdict_word(report) != "ready" else "pass"
    lines = []
    if report.left_out:
        lines += textwrap.wrap(f"Left out by --skip: {', '.join(report.left_out)}", width)
    lines.append(paint(f"{verdict_word(report).upper()}: {counts(report)}, {report.duration_s:.1f} s", status))
    first = first_thing(report)
    if first:
        lines.append(f"First thing to do, for {first.check.id}:")
        lines += [f"  {_ascii(line)}" for line in first.verdict.fix.splitlines()]
    return lines


def _ascii(text: str) -> str:
    """Printable ASCII only: what a machine answered must not steer the terminal."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def as_json(report: Report) -> dict[str, Any]:
    """The report as `schema.json` describes it."""
    need = report.need
    first = first_thing(report)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": f"appliance preflight {__version__}",
        "image": {"torch": need.torch, "cuda": need.cuda, "min_driver": need.min_driver, "archs": list(need.archs)},
        "stage": report.stage,
        "level": report.level,
        "verdict": verdict_word(report),
        "summary": {
            **{status: report.count(status) for status in WORDS},
            "error": sum(outcome.crashed for outcome in report.outcomes),
        },
        "first": first.check.id if first else None,
        "left_out": list(report.left_out),
        "duration_s": round(report.duration_s, 3),
        "checks": [_entry(outcome) for outcome in report.outcomes],
    }


def _entry(outcome: Outcome) -> dict[str, Any]:
    check, verdict = outcome.check, outcome.verdict
    return {
        "id": check.id,
        "title": check.title,
        "section": check.section,
        "status": verdict.status,
        "blocking": check.blocking,
        "found": verdict.found,
        "expected": verdict.expected,
        "why": verdict.why,
        "fix": verdict.fix.splitlines(),
        "reboot": verdict.reboot,
        "needs": list(check.needs),
        "crashed": outcome.crashed,
        "fact": outcome.observation.fact if outcome.observation else None,
        "duration_ms": outcome.observation.duration_ms if outcome.observation else 0,
    }


def nagios(report: Report) -> tuple[str, int]:
    """One line for a monitoring system and its code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    word, code = {
        "ready": ("OK", 0),
        "ready with warnings": ("WARNING", 1),
        "not ready": ("CRITICAL", 2),
        "not measured": ("UNKNOWN", 3),
    }[verdict_word(report)]
    first = first_thing(report)
    said = f"; {first.check.id}: {first.verdict.found}" if first else ""
    return _ascii(f"PREFLIGHT {word} - {counts(report)}{said}").replace("|", "/"), code
