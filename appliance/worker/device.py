"""The device that a worker owns: one worker for each GPU, and one for the CPU, in a data folder."""

import fcntl
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from appliance.config.load import parse
from appliance.errors import ApplianceError, ConfigError
from appliance.store.files import explained
from appliance.store.schema import Run

DEVICE = re.compile(r"^(cpu|cuda:\d{1,2})\Z")


@dataclass(frozen=True)
class Owned:
    """A device held by this process, and the number under which the store knows its worker; the same at each start."""

    device: str
    worker_id: str

    def environ(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """What makes a child with the `inherited` environment see this device alone. CUDA counts it from 0 then."""
        if self.device == "cpu":
            return {"CUDA_VISIBLE_DEVICES": ""}
        given, index = inherited.get("CUDA_VISIBLE_DEVICES"), int(self.device.removeprefix("cuda:"))
        visible = given.split(",") if given else []
        return {"CUDA_VISIBLE_DEVICES": visible[index] if index < len(visible) else str(index)}

    def takes(self, run: Run) -> bool:
        """Whether the run can be computed here: one that asks for CUDA needs a GPU."""
        try:
            wanted = parse(yaml.safe_load(run.config), origin=run.name).device
        except (ConfigError, yaml.YAMLError):
            return True  # so that it fails with these words
        return wanted != "cuda" or self.device != "cpu"


def choose(device: str | None) -> str:
    """The device asked for, or the first GPU where the machine has one, else the CPU. Raises ApplianceError."""
    if device is None:
        return "cuda:0" if _has_gpu() else "cpu"
    device = "cuda:0" if device == "cuda" else device
    if not DEVICE.match(device):
        raise ApplianceError(f"--device is {device!r}", "use cpu, cuda:0, cuda:1, ...")
    return device


@contextmanager
def owned(data: Path, device: str) -> Iterator[Owned]:
    """Hold the device until the end; the kernel lets go of it if the process dies. Raises ApplianceError if it is taken."""
    file = data / "workers" / f"{device.replace(':', '-')}.lock"
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _read(lock).get("owner", "another process")
            raise ApplianceError(
                f"{device} of {data} is held by another worker: {who}",
                "one worker per device is enough; stop that one, or give another --device",
            ) from None
        worker_id = _read(lock).get("worker") or f"{device}-{secrets.token_hex(8)}"
        lock.seek(0)
        lock.truncate()
        json.dump({"worker": worker_id, "owner": f"process {os.getpid()} on {socket.gethostname()}"}, lock)
        lock.flush()
        yield Owned(device, worker_id)


def _read(lock: object) -> dict[str, str]:
    lock.seek(0)  # type: ignore[attr-defined]
    try:
        found = json.loads(lock.read() or "{}")  # type: ignore[attr-defined]
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
