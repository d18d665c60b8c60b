"""rlhf-preflight: the report and the message of the day, whatever can or cannot run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = {
    "verdict": "not ready",
    "checks": [
        {"id": "drv.min", "status": "fail", "found": "515.86.01"},
        {"id": "host.cpu", "status": "warn", "found": "8"},
        {"id": "host.ram", "status": "pass", "found": "64 GiB"},
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def boot(provisioning: Path, root: Path, path: str = "") -> tuple[int, dict, str]:
    """The exit code, the report and the message of the day."""
    program = provisioning / "ansible/roles/preflight/files/rlhf-preflight"
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"RLHF_ROOT": str(root), "PATH": f"{path}{os.pathsep}/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    report = json.loads((root / "var/lib/rlhf-appliance/preflight.json").read_text())
    return done.returncode, report, (root / "etc/motd.d/50-rlhf-appliance").read_text()


def stand_in(file: Path, text: str, code: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho \"$@\" > {file.parent}/asked\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    file.chmod(0o755)


def test_before_the_appliance_is_there_it_says_so(provisioning: Path, root: Path):
    code, report, motd = boot(provisioning, root)
    assert (code, report["verdict"]) == (2, "not measured")
    assert "site.yml" in motd


def test_the_hosts_own_installation_is_asked_and_its_failures_are_shown(provisioning: Path, root: Path):
    stand_in(root / "opt/rlhf-appliance/preflight/bin/appliance", json.dumps(REPORT), 1)
    code, report, motd = boot(provisioning, root)
    assert (code, report) == (1, REPORT)
    assert "not ready" in motd
    assert "  FAIL  drv.min  515.86.01\n  WARN  host.cpu  8\n" in motd
    assert "host.ram" not in motd
    asked = (root / "opt/rlhf-appliance/preflight/bin/asked").read_text()
    assert asked == "preflight --stage host --json\n"


def test_without_it_the_image_is_asked(provisioning: Path, root: Path, tmp_path: Path):
    stand_in(tmp_path / "bin/docker", json.dumps(REPORT | {"verdict": "ready", "checks": []}), 0)
    (root / "opt/rlhf-appliance").mkdir(parents=True)
    (root / "opt/rlhf-appliance/compose.yaml").write_text("services: {}\n")
    code, report, motd = boot(provisioning, root, str(tmp_path / "bin"))
    assert (code, report["verdict"]) == (0, "ready")
    assert "ready" in motd
    assert (tmp_path / "bin/asked").read_text().split()[-5:] == [
        "preflight",
        "preflight",
        "--stage",
        "container",
        "--json",
    ]


def test_a_program_that_prints_nonsense_is_not_measured(provisioning: Path, root: Path):
    stand_in(root / "opt/rlhf-appliance/preflight/bin/appliance", "Traceback", 1)
    code, report, motd = boot(provisioning, root)
    assert (code, report["verdict"]) == (2, "not measured")
    assert "opt/rlhf-appliance/preflight/bin/appliance" in motd
