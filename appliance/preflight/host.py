"""The machine as probes see it: files below a root, commands that cannot hang the caller, child processes, NVML."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import appliance

LARGEST_OUTPUT = 4_000_000  # characters of a command's answer that are kept


class Ran(TypedDict):
    """How a command ended. `problem` is None when it ended by itself, whatever its exit `code`; None code: it did not run."""

    code: int | None
    out: str
    err: str
    problem: str | None


class Answer(TypedDict):
    """What a child process returned (`value`), or the `problem` that kept it from returning."""

    value: Any
    problem: str | None


class Host:
    """Everything that probes may touch. Absolute paths are taken below `root`; nothing is written and nothing raises.

    The same command, child or NVML reading is made once per Host and shared between probes.
    """

    def __init__(self, root: Path | str = "/", environ: Mapping[str, str] | None = None) -> None:
        self.root = Path(root)
        self.environ = dict(os.environ if environ is None else environ)
        self.deadline = float("inf")  # time.monotonic() after which nothing may still run
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, Any] = {}

    def path(self, path: str) -> Path:
        """Where an absolute path of the machine lies on this file system."""
        return self.root / path.lstrip("/")

    def read_bytes(self, path: str, limit: int = 1_000_000) -> bytes | None:
        """The first `limit` bytes of a file, or None where it is absent or may not be read."""
        try:
            with self.path(path).open("rb") as file:
                return file.read(limit)
        except OSError:
            return None

    def read_text(self, path: str) -> str | None:
        """A file's text without surrounding white space, or None where it is absent or may not be read."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace").strip()

    def exists(self, path: str) -> bool:
        """Whether there is something at the path."""
        return os.path.lexists(self.path(path))

    def listdir(self, path: str) -> list[str]:
        """Sorted names in a folder; none where it is absent or may not be read."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []

    def readlink(self, path: str) -> str | None:
        """What a symbolic link says, or None where there is no link."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return None

    def statvfs(self, path: str) -> dict[str, int] | None:
        """Bytes and inodes of the file system at the path: total_bytes, free_bytes, total_inodes, free_inodes."""
        try:
            found = os.statvfs(self.path(path))
        except OSError:
            return None
        return {
            "total_bytes": found.f_blocks * found.f_frsize,
            "free_bytes": found.f_bavail * found.f_frsize,
            "total_inodes": found.f_files,
            "free_inodes": found.f_favail,
        }

    def in_container(self) -> bool:
        """Whether this is inside a container, by the marks that Docker, Podman and Kubernetes leave."""
        if self.exists("/.dockerenv") or self.exists("/run/.containerenv"):
            return True
        groups = self.read_text("/proc/1/cgroup") or ""
        return any(word in groups for word in ("docker", "kubepods", "containerd", "libpod"))

    def which(self, program: str) -> str | None:
        """The program's file on the environment's PATH."""
        return shutil.which(program, path=self.environ.get("PATH", os.defpath))

    def run(self, *command: str, timeout_s: float = 3.0) -> Ran:
        """How the command ended: never through a shell, in the C locale, killed with all its children after `timeout_s`."""
        return self._once("run " + "\0".join(command), lambda: self._run(command, timeout_s, {}))

    def child(self, function: str, *arguments: Any, timeout_s: float = 3.0) -> Answer:
        """What `function` ("module:name" below appliance.preflight) returns in a process that is killed after `timeout_s`.

        For every call that can hang or crash its process: NVML, CUDA, torch.
        """
        given = json.dumps(arguments)
        return self._once(f"child {function} {given}", lambda: self._child(function, given, timeout_s))

    def nvml(self) -> dict[str, Any]:
        """What NVML says, read once in a child process: see `nvml.snapshot`. `init` tells why there is nothing else."""
        answer = self.child("nvml:snapshot", timeout_s=3.0)
        if answer["problem"] is None:
            return answer["value"]
        return {"init": {"error": "child", "name": answer["problem"]}, "devices": []}

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._known:
                self._known[key] = make()
            return self._known[key]

    def _child(self, function: str, given: str, timeout_s: float) -> Answer:
        command = (sys.executable, "-m", "appliance.preflight.child", function, given)
        package = str(Path(appliance.__file__).parents[1])  # a folder, or the zipapp
        others = self.environ.get("PYTHONPATH")
        ran = self._run(command, timeout_s, {"PYTHONPATH": f"{package}{os.pathsep}{others}" if others else package})
        if ran["problem"]:
            return {"value": None, "problem": ran["problem"]}
        if ran["code"] != 0:
            said = ran["err"].splitlines()
            how = (
                f"signal {signal.Signals(-ran['code']).name}" if (ran["code"] or 0) < 0 else f"exit code {ran['code']}"
            )
            return {"value": None, "problem": f"the child process died ({how}): {said[-1] if said else 'no message'}"}
        try:
            return {"value": json.loads(ran["out"]), "problem": None}
        except ValueError:
            return {"value": None, "problem": f"the child process answered {ran['out'][:80]!r}"}

    def _run(self, command: tuple[str, ...], timeout_s: float, extra: dict[str, str]) -> Ran:
        program = command[0] if os.sep in command[0] else self.which(command[0])
        if program is None:
            return {"code": None, "out": "", "err": "", "problem": f"{command[0]} is not installed"}
        left = min(timeout_s, self.deadline - time.monotonic())
        if left <= 0:
            return {"code": None, "out": "", "err": "", "problem": "there was no time left"}
        try:
            running = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self.environ, **extra, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            return {"code": None, "out": "", "err": "", "problem": f"{command[0]} cannot be started: {error.strerror}"}
        with running:
            try:
                out, err = running.communicate(timeout=left)
            except subprocess.TimeoutExpired:
                _kill(running)
                return {"code": None, "out": "", "err": "", "problem": f"{command[0]} gave no answer in {left:.0f} s"}
        text = [data[:LARGEST_OUTPUT].decode("utf-8", "replace").strip() for data in (out, err)]
        return {"code": running.returncode, "out": text[0], "err": text[1], "problem": None}


def _kill(running: subprocess.Popen[bytes]) -> None:
    """End a command and what it started; one that cannot die (stuck in the driver) is left behind, not waited for."""
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    for pipe in (running.stdout, running.stderr):
        if pipe:
            pipe.close()
    try:
        running.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        running.returncode = -signal.SIGKILL  # so that leaving the `with` does not wait for it
