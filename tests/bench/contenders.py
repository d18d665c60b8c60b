"""The contenders: which script, under which interpreter, and the process that steps when it is told to."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACE = ROOT / ".venv-bench"

PINS = {
    # pyarrow 23 and later wants numpy 2, which transformers 4.46 and this TRL were not made for; its trainers import rich
    "trl011": ("trl==0.11.4", "transformers==4.46.3", "accelerate==1.15.0", "numpy<2", "pyarrow<23", "rich"),
    "trl112": ("trl==1.12.0", "transformers==5.23.0", "accelerate==1.15.0"),
}


@dataclass(frozen=True)
class Contender:
    """A script, the interpreter it runs under (a key of PINS, or `ours`), its arguments, and the sizes it runs at."""

    script: str
    interpreter: str
    arguments: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ("test", "tiny", "small")


CONTENDERS = {
    "ours": Contender("ours.py", "ours"),
    "ours-bf16": Contender("ours.py", "ours", ("--compute", "bf16"), sizes=("small",)),
    "ours-compiled-fp32": Contender("ours.py", "ours", ("--compiled",), sizes=("tiny", "small")),
    "ours-compiled": Contender("ours.py", "ours", ("--compute", "bf16", "--compiled"), sizes=("tiny", "small")),
    "trl-0.11-batched": Contender("trl_classic.py", "trl011", ("--generation", "batched")),
    "trl-0.11-published": Contender("trl_classic.py", "trl011", ("--generation", "published")),
    "trl-1.12": Contender("trl_experimental.py", "trl112"),
}


class ContenderFailed(Exception):
    """A contender's process ended by itself; the message holds the end of what it printed."""


class Child:
    """A contender's process. It works only between a command and its answer."""

    def __init__(self, interpreter: str, script: str, arguments: list[str]) -> None:
        self.name = script
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            [interpreter, "-W", "ignore", str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            encoding="utf-8",
        )

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a command. Raises ContenderFailed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            self.process.wait()
            self.log.seek(0)
            last = "".join(self.log.readlines()[-12:])
            raise ContenderFailed(f"{self.name} ended with status {self.process.returncode} at {command!r}:\n{last}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()
        self.log.close()


def own_interpreter() -> str:
    """The interpreter that this project is installed in."""
    installed = ROOT / ".venv" / "bin" / "python"
    return str(installed) if installed.exists() else sys.executable


def interpreter(name: str, given: dict[str, str | None]) -> str:
    """The interpreter for `ours`, or for a key of PINS: the `given` one, or one of .venv-bench, installed if need be."""
    if name == "ours":
        return given.get("ours") or own_interpreter()
    if given.get(name):
        return str(given[name])
    home = PLACE / name
    python, done = home / "bin" / "python", home / "installed"
    wanted = " ".join(PINS[name])
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        print(f"installing {wanted} into {home.relative_to(ROOT)}", file=sys.stderr, flush=True)
        subprocess.run([own_interpreter(), "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        index = os.environ.get("TORCH_INDEX")
        subprocess.run([*pip, torch_pin(), *(["--index-url", index] if index else [])], check=True)
        subprocess.run([*pip, *PINS[name], torch_pin()], check=True)
        done.write_text(wanted, encoding="utf-8")
    return str(python)


def torch_pin() -> str:
    """The torch that the Makefile installs: the same for every contender. TORCH in the environment goes first."""
    found = re.search(r"^TORCH \?= (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return os.environ.get("TORCH") or found[1]
