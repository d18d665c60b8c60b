"""The process that holds the two models of a run and answers prompts: one JSON object a line, in and out.

In: {"id": ..., "prompt": ...}. Out: {"ready": true} once; for each piece of an answer {"id", "side", "text", "seconds",
"finished"}; {"id", "error", "fix"} where a prompt cannot be answered. It ends when its input does: with its worker.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import settings
from appliance.cli.main import quiet_libraries
from appliance.errors import ApplianceError
from appliance.store.rundir import RunDir

if TYPE_CHECKING:
    from appliance.stages.generation import Writer

FIRST_TOKENS = (8, 32)
"""Lengths at which what is written so far is shown; the whole answer follows."""


def pieces(sides: "dict[str, Writer]", prompt: str, seed: int) -> Iterator[dict[str, Any]]:
    """The answers of both sides as they grow: first both first words, then the rest."""
    began = time.monotonic()
    for most in (*FIRST_TOKENS, None):
        for side, writer in sides.items():
            limit = writer.sampling.response_tokens.high
            if most is not None and most >= limit:
                continue
            text = writer.write(prompt, samples=1, seed=seed, most=most)[0]
            yield {"side": side, "text": text, "seconds": time.monotonic() - began, "finished": most is None}


def main(folder: Path) -> None:
    """Load the run's models, then answer until the input ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    asked = _asked()
    quiet_libraries(os.environ, offline=settings.read().offline)  # type: ignore[arg-type]
    try:
        from appliance.stages.generation import both_sides

        run = RunDir(folder)
        sides, seed = both_sides(run), run.config().seed
    except ApplianceError as error:
        _tell(out, error=error.what, fix=error.fix)
        return
    _tell(out, ready=True)
    while True:
        question = asked.get()
        try:
            for piece in pieces(sides, question["prompt"], seed):
                _tell(out, id=question["id"], **piece)
        except ApplianceError as error:
            _tell(out, id=question["id"], error=error.what, fix=error.fix)


def _asked() -> "queue.Queue[dict[str, Any]]":
    """The questions as they come in. The end of the input ends this process, whatever it is doing."""
    found: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            found.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return found


def _tell(out: Any, **message: Any) -> None:
    out.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
