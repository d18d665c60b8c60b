"""cloud-init/user-data.yaml: cloud-init's own schema, and what its schema cannot know."""

import base64
import re
import subprocess
from pathlib import Path

import pytest
import yaml

SCHEMA = "import sys; from cloudinit.config.schema import main; sys.exit(main())"


@pytest.fixture(scope="module")
def schema(repository: Path, tool):
    """schema(file) -> cloud-init's judgement of it."""
    unpacked = repository / ".venv-provisioning/cloud-init/usr/lib/python3/dist-packages"

    def run(file: Path) -> subprocess.CompletedProcess[str]:
        if unpacked.exists():
            python = repository / ".venv-provisioning/bin/python"
            return tool(str(python), "-c", SCHEMA, "-c", file, PYTHONPATH=str(unpacked))
        return tool("cloud-init", "schema", "-c", file)

    return run


def test_cloud_init_accepts_it(schema, user_data: str, tmp_path: Path):
    (tmp_path / "user-data").write_text(user_data)
    judged = schema(tmp_path / "user-data")
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("  mode: reboot", "  mode: restart"),
        ("package_upgrade: false", "package_upgrade: later"),
        ("runcmd:\n", "runcmd: yes\nx:\n"),
        ("    lock_passwd: true", "    lock_passwd: perhaps"),
    ],
)
def test_cloud_init_refuses_a_broken_one(schema, user_data: str, tmp_path: Path, good: str, bad: str):
    assert good in user_data
    (tmp_path / "user-data").write_text(user_data.replace(good, bad))
    assert schema(tmp_path / "user-data").returncode != 0


def test_it_begins_as_cloud_init_needs_it(user_data: str):
    assert user_data.startswith("#cloud-config\n")


def files(user_data: str) -> dict[str, str]:
    found = {}
    for file in yaml.safe_load(user_data)["write_files"]:
        text = file["content"]
        found[file["path"]] = base64.b64decode(text).decode() if file.get("encoding") == "b64" else text
    return found


def test_the_reboot_happens_only_where_the_driver_is_not_loaded(user_data: str):
    state = yaml.safe_load(user_data)["power_state"]
    assert state["mode"] == "reboot"
    assert "/proc/driver/nvidia/version" in state["condition"]


def test_preflight_runs_at_every_boot_and_not_from_runcmd(user_data: str):
    read = yaml.safe_load(user_data)
    unit = files(user_data)["/etc/systemd/system/rlhf-preflight.service"]
    assert "Type=oneshot" in unit
    assert "WantedBy=multi-user.target" in unit
    after = re.search(r"^After=(.*)$", unit, re.M)
    assert after is not None
    assert {"docker.service", "nvidia-persistenced.service"} <= set(after[1].split())
    assert not [command for command in read["runcmd"] if "/usr/local/sbin/rlhf-preflight" in command]
    enable = next(command for command in read["runcmd"] if command[:2] == ["systemctl", "enable"])
    assert "rlhf-preflight.service" in enable


def test_units_and_settings_are_those_of_the_ansible_roles(user_data: str, provisioning: Path):
    roles = provisioning / "ansible/roles"
    written = files(user_data)
    for path, file in {
        "/etc/systemd/system/rlhf-preflight.service": roles / "preflight/files/rlhf-preflight.service",
        "/etc/systemd/system/rlhf-cdi.service": roles / "container_runtime/files/rlhf-cdi.service",
    }.items():
        assert written[path] == file.read_text()
    tasks = yaml.safe_load((roles / "gpu_driver/tasks/main.yml").read_text())
    copies = [task["ansible.builtin.copy"] for task in tasks if "ansible.builtin.copy" in task]
    same = {copy["dest"]: copy["content"] for copy in copies if "{{" not in copy["content"]}
    assert set(same) == {"/etc/modprobe.d/blacklist-nouveau.conf", "/etc/apt/apt.conf.d/52-rlhf-driver-stays"}
    for path, content in same.items():
        assert written[path] == content
    variables = yaml.safe_load((roles / "container_runtime/vars/main.yml").read_text())
    daemon = variables["container_runtime_daemon"] | variables["container_runtime_daemon_gpu"]
    defaults = yaml.safe_load((roles / "container_runtime/defaults/main.yml").read_text())
    daemon["data-root"] = defaults["container_runtime_data_root"]
    assert yaml.safe_load(written["/etc/docker/daemon.json"]) == daemon


def test_packages_are_those_of_the_ansible_roles_and_the_driver_is_held(user_data: str, provisioning: Path):
    read, roles = yaml.safe_load(user_data), provisioning / "ansible/roles"
    named = {package if isinstance(package, str) else package[0] for package in read["packages"]}
    driver = yaml.safe_load((roles / "gpu_driver/vars/main.yml").read_text())["gpu_driver_packages"]
    branch, flavour = "{{ gpu_driver_branch }}", "{{ gpu_driver_kernel_flavour }}"
    wanted = {package.replace(branch, "580").replace(flavour, "generic") for package in driver}
    toolkit = yaml.safe_load((roles / "container_runtime/vars/main.yml").read_text())
    docker = yaml.safe_load((roles / "container_runtime/defaults/main.yml").read_text())
    held = {word for command in read["runcmd"] if command[:2] == ["apt-mark", "hold"] for word in command[2:]}
    assert wanted <= named
    assert set(toolkit["container_runtime_toolkit_packages"]) <= named
    assert set(docker["container_runtime_docker_packages"]) <= named
    assert held == wanted | set(toolkit["container_runtime_toolkit_packages"])


def test_the_data_disk_is_found_by_its_label_and_docker_waits_for_it(user_data: str):
    read, written = yaml.safe_load(user_data), files(user_data)
    assert [entry["label"] for entry in read["fs_setup"]] == ["rlhf-data"]
    assert read["mounts"][0][:2] == ["LABEL=rlhf-data", "/srv/rlhf"]
    assert not any(entry.get("overwrite") for entry in [*read["disk_setup"].values(), *read["fs_setup"]])
    drop_in = written["/etc/systemd/system/docker.service.d/rlhf-data-disk.conf"]
    assert "RequiresMountsFor=/srv/rlhf\n" in drop_in


SECRET = (
    r"(?im)^.*(?<!no)(?:passwd|password|token|secret|api_key)[\"']?\s*[:=]\s*(?!true|false|perhaps)\S+.*$"
    r"|BEGIN [A-Z ]*PRIVATE KEY"
)
"""A password or token with a value, or a private key."""


def test_nothing_secret_stands_in_it(user_data: str):
    assert re.findall(SECRET, user_data) == []
    assert re.findall(SECRET, "lock_passwd: true\npassword: hunter2\n") == ["password: hunter2"]


def test_repositories_are_signed_and_named_by_the_admin(provisioning: Path):
    text = (provisioning / "cloud-init/user-data.yaml").read_text()
    sources = re.findall(r'source: "(.*)"', text)
    assert len(sources) == 2
    assert all("signed-by=/etc/apt/keyrings/" in source and "${" in source for source in sources)
    assert not re.search(r"https?://", text)
