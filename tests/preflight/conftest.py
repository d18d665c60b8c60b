"""Machines for the preflight tests: trees for a Host, stub commands, and a fake NVIDIA library built once with gcc."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.preflight.host import Host
from appliance.preflight.need import Need

HERE = Path(__file__).parent


def compile_library(source: str, target: Path, *flags: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    soname = f"-Wl,-soname,{target.name}"
    command = ["gcc", "-shared", "-fPIC", "-O1", soname, *flags, "-o", str(target), str(HERE / source)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="session")
def fake_libraries(tmp_path_factory):
    """Folder with new/ and old/ (functions of later drivers missing), each a libnvidia-ml.so.1 and a libcuda.so.1."""
    if shutil.which("gcc") is None:
        pytest.skip("the fake NVIDIA library is built with gcc, which is not installed")
    folder = tmp_path_factory.mktemp("fake")
    for kind, flags in (("new", ()), ("old", ("-DOLD",))):
        compile_library("fake_nvml.c", folder / kind / "libnvidia-ml.so.1", *flags)
        compile_library("fake_cuda.c", folder / kind / "libcuda.so.1")
    return folder


@pytest.fixture
def gpu_environ(request, tmp_path):
    """make(gpu, changes) -> environment in which NVML and CUDA are the fakes, answering from gpus/<gpu>.txt with changes."""

    def make(gpu: str, changes: dict[str, str] | None = None) -> dict[str, str]:
        libraries = request.getfixturevalue("fake_libraries")
        lines = dict(line.split("=", 1) for line in (HERE / "gpus" / f"{gpu}.txt").read_text().splitlines())
        lines.update(changes or {})
        answers = tmp_path / "nvml.txt"
        answers.write_text("".join(f"{key}={value}\n" for key, value in lines.items() if value is not None))
        kind = "old" if gpu.startswith("old") else "new"
        return {"LD_LIBRARY_PATH": str(libraries / kind), "FAKE_NVML": str(answers)}

    return make


@pytest.fixture
def make_host(tmp_path, gpu_environ):
    """make(files=, links=, commands=, environ=, gpu=, nvml=) -> Host on a small tree with only those commands on PATH.

    files: {"/proc/x": "text" or bytes}; links: {"/sys/y": "target"}; commands: {"docker": "shell script body"}.
    """

    def make(*, files=None, links=None, commands=None, environ=None, gpu=None, nvml=None) -> Host:
        root, path = tmp_path / "root", tmp_path / "bin"
        root.mkdir(exist_ok=True)
        path.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            file = root / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in (links or {}).items():
            link = root / name.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for name, body in (commands or {}).items():
            (path / name).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")
            (path / name).chmod(0o755)
        library = gpu_environ(gpu, nvml) if gpu else {"LD_LIBRARY_PATH": str(tmp_path / "none")}
        return Host(root, {"PATH": str(path), **library, **(environ or {})})

    return make


def load_cases() -> list[dict]:
    found = []
    for file in sorted((HERE / "cases").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"preflight_cases_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found += module.CASES
    return found


CASES = load_cases()


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[f"{case['id']}-{case['case'].replace(' ', '_')}" for case in CASES])


@pytest.fixture
def cases():
    """Every case of every family: see cases/host.py for the format."""
    return CASES


@pytest.fixture
def need():
    """need(**changes) -> what the default image asks, with changes."""
    return Need


@pytest.fixture
def appliance_command(tmp_path):
    """run(*arguments, **environ) -> the finished `appliance` process, with nothing of the caller's NVIDIA settings."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
        program = "from appliance.cli import gpu, main, preflight\n"
        program += "for command in (preflight.preflight, gpu.gpu): main.commands.add_command(command)\nmain.main()"
        base = {"PATH": os.environ["PATH"], "APPLIANCE_DATA": str(tmp_path / "data")}
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**base, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run
