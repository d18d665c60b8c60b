"""The Dockerfile by hadolint, and every shell script by shellcheck."""

import subprocess
from pathlib import Path

SHELLS = ("#!/usr/bin/env bash", "#!/bin/bash", "#!/bin/sh", "#!/usr/bin/env sh")


def test_hadolint_finds_nothing(tool, repository: Path):
    done = tool("hadolint", repository / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_a_fault(tool, repository: Path, tmp_path: Path):
    text = (repository / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(text.replace("WORKDIR /opt/appliance", "WORKDIR appliance\nRUN sudo true"))
    done = tool("hadolint", tmp_path / "Dockerfile")
    assert done.returncode != 0
    assert {"DL3000", "DL3004"} <= set(done.stdout.split())


def scripts(repository: Path) -> list[Path]:
    """Every shell script of the repository, by its name or its first line."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = [repository / name for name in listed if (repository / name).is_file()]
    return [file for file in files if file.read_bytes()[:40].decode("latin-1").startswith(SHELLS)]


def test_shellcheck_finds_nothing(tool, repository: Path):
    found = scripts(repository)
    assert {file.name for file in found} >= {
        "run",
        "engine.sh",
        "sweep.sbatch",
        "ppo-two-nodes.sbatch",
        "train-nodes.sbatch",
    }
    done = tool("shellcheck", *found)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_a_fault(tool, tmp_path: Path):
    (tmp_path / "a.sh").write_text('#!/usr/bin/env bash\ncd $1\nrm -rf "$2/"*\n')
    done = tool("shellcheck", tmp_path / "a.sh")
    assert done.returncode != 0
    assert "SC2086" in done.stdout
