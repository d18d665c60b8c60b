"""The System tab's texts and files without a browser: GPUs, the data folder by part, fixes, versions, the audit log as CSV."""

import csv
import io
import os
from types import SimpleNamespace

from appliance.store.schema import Audit
from appliance.ui import system_audit, system_use

REFUSED = {"error": 3, "name": "Not Supported"}


def test_a_gpus_line_has_units_and_says_what_the_driver_does_not():
    facts = {
        "index": 0,
        "name": "NVIDIA H200",
        "memory_bytes": {"total": 143 << 30, "used": 2 << 30, "free": 141 << 30},
        "temperature_c": 41,
        "utilization_percent": REFUSED,
        "power_mw": 120_400,
        "power_cap_mw": 700_000,
    }
    # 2 GiB are 2048 MiB, 143 GiB are 146432 MiB; 120.4 W is shown as 120 W
    line = "- **GPU 0, NVIDIA H200**: memory 2048 MiB / 146432 MiB, 41 C, load N/A, power 120 W / 700 W"
    assert system_use.gpus_text([facts]) == line
    assert system_use.gpus_text([]) == ""


def test_the_data_folder_is_counted_by_part_and_a_linked_file_once(tmp_path):
    files = {
        "support/metrics.jsonl": 10,
        "support/model/weights.safetensors": 1000,
        "support/checkpoints/step-1/weights.safetensors": 500,
        "checkpoints/config.yaml": 3,  # a run may be called so
        "uploads/1/prompts.csv": 20,
        "models/tiny/weights.safetensors": 300,
        "backups/backup-1.tar": 70,
        "drafts/1.yaml": 5,
        "logs/1.log": 7,
        "serve.log": 1,
        "appliance.db": 40,
        "appliance.db-wal": 2,
        "secret.key": 32,
    }
    for name, size in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    os.link(tmp_path / "support/model/weights.safetensors", tmp_path / "models/tiny/again.safetensors")
    (tmp_path / "models" / "elsewhere").symlink_to("/")
    found = system_use.sizes(tmp_path)
    linked = {"runs", "models"}  # the file of 1000 bytes that has a name in both counts in one of them
    assert {name: size for name, size in found.items() if name not in linked} == {
        "checkpoints": 500,
        "uploads": 20,
        "backups": 70,
        "logs": 8,
        "store": 42,
        "other": 37,  # 5 of drafts, 32 of the key
    }
    assert sum(found[name] for name in linked) == 10 + 3 + 300 + 1000
    assert system_use.disk_text({"runs": 2_500_000, "models": 0, "store": 4_000_000_000}).splitlines() == [
        "**The data folder** holds 4 GB:",
        "",
        "- The store: users, votes, settings of runs: 4 GB",
        "- Runs: trained models, reports, numbers: 2.5 MB",
    ]


def test_fixes_are_lines_for_a_shell_failures_first():
    def check(id, status, fix):
        return {"id": id, "title": id.upper(), "status": status, "found": "none", "fix": fix}

    checks = [check("a", "warn", ["# on the host", "sudo b"]), check("c", "pass", []), check("d", "fail", ["e"])]
    kept = {"at": 1.0, "report": {"checks": checks}}
    assert system_use.fixes_text(kept) == "# D (d), fail: none\ne\n\n# A (a), warn: none\n# on the host\nsudo b"
    assert system_use.fixes_text({"at": 1.0, "report": {"failed": "preflight took longer than 60 s"}}) == ""


def test_versions_leave_out_what_is_not_here_and_the_compilers_name():
    found = {"appliance": "0.1.0", "python": "3.11.2 (main, Apr 28 2025) [GCC 12.2.0]", "psycopg": "not installed"}
    assert system_use.version_rows(found) == [["appliance", "0.1.0"], ["python", "3.11.2"]]


def test_no_cell_of_the_audit_logs_file_is_a_formula():
    entry = Audit(at=1_000_000.0, user_name="anna", action="delete", subject="=HYPERLINK(1)", detail={"a": 'x"y'})
    header, row = csv.reader(io.StringIO(system_audit.csv_text([entry])))
    assert header == list(system_audit.COLUMNS)
    assert row == ["1970-01-12 13:46:40", "anna", "delete", "'=HYPERLINK(1)", '{"a": "x\\"y"}']


def test_the_link_to_the_file_follows_the_filters():
    context = SimpleNamespace(url=lambda path: f"../{path}")
    assert system_audit.filters("  Anna ", None) == {"user": "anna"}
    assert system_audit.filters(None, "") == {}
    everything = "[Download the audit log (CSV)](../download/system/audit.csv): all entries, not only these."
    assert system_audit.link_text(context, {}) == everything
    chosen = system_audit.filters("a)b", "set role")
    assert "(../download/system/audit.csv?user=a%29b&action=set+role): all" in system_audit.link_text(context, chosen)
