"""ansible/ by ansible-lint and ansible's own syntax check; test_play.py really runs it."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

ROLES = ("gpu_driver", "container_runtime", "appliance", "preflight")


@pytest.fixture
def copied(provisioning: Path, tmp_path: Path) -> Path:
    """A copy to break, with an inventory."""
    folder = tmp_path / "ansible"
    shutil.copytree(provisioning / "ansible", folder)
    shutil.copy(folder / "inventory.example.yml", folder / "inventory.yml")
    return folder


def lint(tool, folder: Path, *files: str):
    # Its cache and git probes stay out of the home folder of whoever runs the tests.
    home = {"HOME": str(folder.parent), "ANSIBLE_HOME": str(folder.parent / "home")}
    return tool("ansible-lint", "--offline", "--profile", "production", "--nocolor", "-q", *files, cwd=folder, **home)


def test_ansible_lint_finds_nothing(tool, copied: Path):
    done = lint(tool, copied)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ansible_lint_finds_a_fault(tool, copied: Path):
    tasks = copied / "roles/appliance/tasks/main.yml"
    tasks.write_text(tasks.read_text() + "\n- name: Bad\n  shell: echo hello > /tmp/x\n")
    done = lint(tool, copied, "roles/appliance/tasks/main.yml")
    assert done.returncode != 0
    assert "fqcn" in done.stdout


def test_the_syntax_is_ansibles(tool, copied: Path):
    done = tool("ansible-playbook", "--syntax-check", "site.yml", cwd=copied)
    assert done.returncode == 0, done.stderr


def test_a_misspelt_module_is_found(tool, copied: Path):
    tasks = copied / "roles/preflight/tasks/main.yml"
    tasks.write_text(tasks.read_text().replace("ansible.builtin.stat:", "ansible.builtin.start:"))
    assert tool("ansible-playbook", "--syntax-check", "site.yml", cwd=copied).returncode != 0


def test_a_variable_of_the_wrong_kind_is_refused_before_anything_happens(tool, copied: Path):
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    wrong = json.dumps({"gpu_driver_branch": "515", **here})
    done = tool("ansible-playbook", "site.yml", "-t", "gpu_driver", "--check", "-e", wrong, cwd=copied)
    assert done.returncode != 0
    assert "ok=1 " in done.stdout.replace("\n", " ")  # the facts, and nothing after them
    assert "value of gpu_driver_branch must be one of: 580" in done.stdout.replace("\n", " ")


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_described_and_the_other_way_round(provisioning: Path, role: str):
    folder = provisioning / "ansible/roles" / role
    defaults = yaml.safe_load((folder / "defaults/main.yml").read_text())
    options = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(defaults) == set(options)
    assert all(option["description"] for option in options.values())
    for name, option in options.items():
        if "default" in option:
            assert option["default"] == defaults[name], name


def test_only_builtin_modules_are_used(provisioning: Path):
    for file in (provisioning / "ansible/roles").rglob("*.yml"):
        used = set(re.findall(r"\b(?:ansible|community|nvidia|containers)\.\w+\.\w+", file.read_text()))
        assert all(name.startswith("ansible.builtin.") for name in used), file


def test_a_reboot_never_happens_over_a_local_connection(provisioning: Path):
    folder = provisioning / "ansible/roles/gpu_driver"
    handlers = {task["name"]: task for task in yaml.safe_load((folder / "handlers/main.yml").read_text())}
    assert handlers["Reboot"]["when"] == "gpu_driver_reboot"
    defaults = yaml.safe_load((folder / "defaults/main.yml").read_text())
    assert defaults["gpu_driver_reboot"] == "{{ ansible_connection != 'local' }}"


def test_files_that_are_brought_exist(provisioning: Path, repository: Path):
    tasks = yaml.safe_load((provisioning / "ansible/roles/appliance/tasks/main.yml").read_text())
    (brought,) = [task["loop"] for task in tasks if task["name"] == "Bring the compose files"]
    assert set(brought) == {f.name for f in repository.glob("compose*.yaml")} | {"provisioning/tls/Caddyfile"}


def test_the_unit_gives_the_worker_time_to_write_its_checkpoint(provisioning: Path, repository: Path):
    unit = (provisioning / "ansible/roles/appliance/templates/rlhf-appliance.service.j2").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    grace = re.search(r"stop_grace_period: (\d+)s # a step", (repository / "compose.yaml").read_text())
    assert stop is not None
    assert grace is not None
    assert int(stop[1]) > int(grace[1])
