"""What the System tab says of the machine, and who may take its files."""

from appliance.store import workers
from appliance.store.files import write_json
from appliance.store.schema import Worker
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


def test_workers_that_are_silent_are_named_and_one_that_said_goodbye_is_not(store):
    now = store.clock()
    for name, ago in (("cuda:0", 720.0), ("cpu", 4.0), ("gone", 900.0), ("later", -3600.0)):
        workers.beat(store, name, host="vm_1", pid=1, device=name)
        with store.session() as session:
            session.get(Worker, name).heartbeat = now - ago
    workers.leave(store, "gone")
    store.clock = lambda: now
    onward = "Start it again with `appliance worker`, or see its log."
    assert machine.worker_lines(store) == [
        "**Workers**: cpu on vm\\_1, heard of 4 s ago",
        f"⚠ **The worker of later on vm\\_1** is silent since the clock was set back. {onward}",
        f"⚠ **The worker of cuda:0 on vm\\_1** is silent for 12 min 00 s. {onward}",
    ]
    for name in ("cpu", "later", "cuda:0"):
        workers.leave(store, name)
    assert machine.worker_lines(store) == ["**Workers**: none is at work: nothing can be trained"]


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
