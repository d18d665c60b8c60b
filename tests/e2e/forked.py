"""A process that has imported everything once and runs the command line in a fork of itself for each request.

stdin has one JSON object a line: `argv`, the files `out` and `err`, and `at`, which may be null. `at` names a function
("module:name" or "module:Class.name"), which of its calls, whether `before` or `after` it, and the `signals` that the
process then sends itself: a real SIGKILL at an exact point. stdout answers with the exit status of each; a negative one
is the number of the signal that ended the process.
"""

import functools
import importlib
import json
import os
import signal
import sys
import traceback
from typing import Any

import torch

import appliance.engines.eager
import appliance.engines.plain
import appliance.rewards.keyword
import appliance.stages.ppo
import appliance.stages.reward
import appliance.stages.sft  # noqa: F401  # so that no fork has to
from appliance.cli.main import main


def hit(at: dict[str, Any]) -> None:
    """Replace the function that `at` names by one that sends this process signals around one of its calls."""
    module, _, path = at["function"].partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    plain, calls = getattr(owner, name), 0

    def strike() -> None:
        for sent in at["signals"]:
            os.kill(os.getpid(), getattr(signal, sent))

    @functools.wraps(plain)
    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == at["call"]
        if mine and at["when"] == "before":
            strike()
        result = plain(*args, **options)
        if mine and at["when"] == "after":
            strike()
        return result

    setattr(owner, name, wrapped)


def run(job: dict[str, Any]) -> int:
    """The exit code of the command line with these arguments, its output in files."""
    for descriptor, file in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["appliance", *job["argv"]]
    if job["at"] is not None:
        hit(job["at"])
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


serve()
