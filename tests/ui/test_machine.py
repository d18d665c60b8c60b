"""What the System tab says of the machine, and who may take its files."""

from appliance.store.files import write_json
from appliance.ui import machine

CHECKS = [
    {"title": "Memory", "id": "host.ram", "status": "warn", "found": "8 GiB", "fix": ["add memory"]},
    {"title": "Clock", "id": "host.clock", "status": "pass", "found": "synchronized", "fix": []},
    {"title": "GPU", "id": "pci.gpu_present", "status": "fail", "found": "0", "fix": ["lspci", "attach it"]},
]


def test_the_last_preflight_is_kept_and_only_what_did_not_pass_is_listed(site):
    assert machine.checked(site.store)[0] == "Preflight was not run from here yet."
    write_json(site.store.data / machine.PREFLIGHT, {"at": 0.0, "report": {"checks": CHECKS}})
    said, table = machine.checked(site.store)
    assert "**not ready**, 1 failures, 1 warnings" in said
    assert [row[0] for row in table.value["data"]] == ["Memory (host.ram)", "GPU (pci.gpu_present)"]
    write_json(site.store.data / machine.PREFLIGHT, {"at": 0.0, "report": {"failed": "it took too long"}})
    assert "it took too long" in machine.checked(site.store)[0]


def test_backups_and_diagnostics_are_for_admins_and_no_other_file_is_given(site):
    folder = site.store.data / machine.BACKUPS
    folder.mkdir()
    (folder / "backup-20260101-000000.tar").write_bytes(b"whole")
    (folder / "other.tar").write_bytes(b"not one of ours")
    admin, trainer = site.client("admin"), site.client("trainer")
    assert admin.get("/download/system/backups/backup-20260101-000000.tar").content == b"whole"
    assert admin.get("/download/system/backups/other.tar").status_code == 400
    assert admin.get("/download/system/backups/..%2Fappliance.db").status_code in (400, 404)
    for path in ("backups/backup-20260101-000000.tar", "diagnostics.zip"):
        assert trainer.get(f"/download/system/{path}").status_code == 403
