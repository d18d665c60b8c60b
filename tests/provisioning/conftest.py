"""The validators: on PATH, or in .venv-provisioning, where `make install-provisioning` puts them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INSTALLED = REPOSITORY / ".venv-provisioning"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def provisioning() -> Path:
    return REPOSITORY / "provisioning"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def tool() -> Run:
    """tool(name, *arguments, cwd=...) -> the finished process, output as text; skips the test where there is none."""

    def run(name: str, *arguments: str | Path, cwd: Path = REPOSITORY, **environment: str):
        path = f"{INSTALLED / 'bin'}{os.pathsep}{os.environ['PATH']}"
        program = shutil.which(name, path=path)
        if program is None:
            pytest.skip(f"{name} is not installed (make install-provisioning)")
        return subprocess.run(
            [program, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PATH": path, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


VALUES = {
    "hostname": "rlhf-appliance",
    "ssh_authorized_keys": '["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample admin@example"]',
    "docker_apt_url": "https://mirror.example/docker/ubuntu",
    "docker_apt_key": "a2V5Cg==",
    "toolkit_apt_url": "https://mirror.example/toolkit/stable/deb",
    "toolkit_apt_key": "a2V5Cg==",
    "toolkit_version": "1.17.8-1",
    "kernel_flavour": "generic",
    "preflight_program": "cHJvZ3JhbQo=",
}
"""What provisioning/terraform fills in."""


@pytest.fixture(scope="session")
def values() -> dict[str, str]:
    return dict(VALUES)


@pytest.fixture(scope="session")
def user_data(provisioning: Path) -> str:
    """The cloud-init file as a VM gets it; a name without a value here is a KeyError."""
    text = (provisioning / "cloud-init/user-data.yaml").read_text(encoding="utf-8")
    return re.sub(r"\$\{(\w*)\}", lambda found: VALUES[found[1]], text)
