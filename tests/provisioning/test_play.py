"""ansible/site.yml for real, without the driver's role, into a Debian made by debootstrap; a second run changes nothing.

Minutes and 500 MB of packages, so only where APPLIANCE_TEST_CONTAINER=1 says so (`make test-container`).
"""

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.skipif(
    os.environ.get("APPLIANCE_TEST_CONTAINER") != "1", reason="minutes long: APPLIANCE_TEST_CONTAINER=1 runs it"
)

PROC = "proc", "sys"
REPORT = {"verdict": "ready with warnings", "checks": [{"id": "host.cpu", "status": "warn", "found": "2"}]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian with Python and systemd's files, in which nothing runs."""
    if os.geteuid() != 0:
        pytest.skip("chroot takes root")
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed")
    folder = tmp_path_factory.mktemp("root")
    packages = "--include=python3,python3-apt,ca-certificates,systemd"
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"debootstrap cannot reach its packages: {done.stdout[-200:]}")
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # packages start nothing
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    subprocess.run(["mount", "-t", "proc", "proc", str(folder / "proc")], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder / "proc")], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def play(root: Path, tool, provisioning: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory):
    """play(**variables) -> site.yml on that root: (exit code, its recap as numbers, output)."""
    place = tmp_path_factory.mktemp("play")
    shutil.copytree(provisioning / "ansible", place / "ansible")
    (place / "ansible/connection_plugins").mkdir()
    shutil.copy(Path(__file__).with_name("chroot_connection.py"), place / "ansible/connection_plugins")
    variables = {
        "ansible_connection": "chroot_connection",
        "ansible_host": str(root),
        "ansible_become": False,
        "ansible_python_interpreter": "/usr/bin/python3",
        "container_runtime_docker_packages": ["docker.io", "docker-compose"],  # what Debian has
        "container_runtime_toolkit": False,
        "container_runtime_data_mount": "/srv/rlhf",
        "appliance_source": str(repository),
        "appliance_gpu": False,
        "appliance_compose_command": "/usr/bin/docker-compose",
        "appliance_settings": {"APPLIANCE_OFFLINE": "1"},
        "appliance_secrets": [
            {"name": "tls.key", "value": "not a key\n"},
            {"name": "database_password", "value": "hunter2", "group": 70},
        ],
    }
    inventory = {"all": {"hosts": {"vm": variables}}}
    (place / "ansible/inventory.yml").write_text(yaml.safe_dump(inventory))

    def run(**more: object) -> tuple[int, dict[str, int], str]:
        done = tool(
            "ansible-playbook",
            "site.yml",
            "--skip-tags",
            "gpu_driver",
            "-e",
            json.dumps(more),
            cwd=place / "ansible",
            ANSIBLE_HOME=str(place / "home"),
            HOME=str(place),
        )
        recap = re.search(r"^vm +: (.*)$", done.stdout, re.M)
        assert recap is not None, done.stdout + done.stderr
        counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap[1])}
        return done.returncode, counts, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def provisioned(play) -> str:
    """The output of the first run."""
    code, counts, output = play()
    assert code == 0, output
    assert counts["changed"] > 10
    return output


def test_a_second_run_changes_nothing(play, provisioned: str):
    code, counts, output = play()
    assert code == 0, output
    assert (counts["changed"], counts["failed"]) == (0, 0), output


def test_secrets_can_be_read_by_the_appliance_alone_and_are_not_shown(root: Path, provisioned: str):
    folder = root / "opt/rlhf-appliance/secrets"
    modes = {
        file.name: (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode))
        for file in folder.iterdir()
    }
    assert modes == {"tls.key": (10001, 10001, 0o600), "database_password": (10001, 70, 0o640)}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "hunter2" not in provisioned


def test_units_are_enabled_and_docker_is_configured_before_it_starts(root: Path, provisioned: str):
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    assert {f.name for f in wanted.iterdir()} >= {"docker.service", "rlhf-appliance.service", "rlhf-preflight.service"}
    daemon = json.loads((root / "etc/docker/daemon.json").read_text())
    assert daemon["data-root"] == "/srv/rlhf/docker"
    assert "runtimes" not in daemon  # no toolkit, no runtime of its
    verified = subprocess.run(
        ["chroot", str(root), "systemd-analyze", "verify", "rlhf-appliance.service", "rlhf-preflight.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rlhf-" not in verified.stderr, verified.stderr


def test_the_settings_choose_the_compose_file(root: Path, provisioned: str):
    text = (root / "opt/rlhf-appliance/.env").read_text()
    assert "\nCOMPOSE_FILE=compose.cpu.yaml\nAPPLIANCE_OFFLINE=1\n" in text


def test_a_changed_setting_changes_just_that(play, provisioned: str, root: Path):
    code, counts, output = play(appliance_settings={"APPLIANCE_OFFLINE": "0"})
    assert code == 0, output
    assert counts["changed"] <= 2, output  # the file, and the restart it calls for
    assert "APPLIANCE_OFFLINE=0" in (root / "opt/rlhf-appliance/.env").read_text()


def test_an_old_toolkit_is_refused(play, provisioned: str):
    code, _, output = play(container_runtime_toolkit=True, container_runtime_toolkit_version="1.17.7-1")
    assert code != 0
    assert "CVE-2025-23266" in output


def test_a_vm_that_is_not_ready_fails_the_play(play, provisioned: str, root: Path):
    report = root / "var/lib/rlhf-appliance/preflight.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(REPORT))
    assert play()[0] == 0
    report.write_text(json.dumps(REPORT | {"verdict": "not ready"}))
    code, _, output = play()
    assert code != 0
    assert "not ready" in output
    report.unlink()
