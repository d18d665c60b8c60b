"""`python -m appliance.preflight.child MODULE:FUNCTION ARGUMENTS`: one call in a process of its own, its result as JSON.

What the called libraries print goes to stderr: stdout carries the result alone.
"""

import importlib
import json
import os
import sys


def main(function: str, arguments: str) -> None:
    """Call `appliance.preflight.<module>`'s function with the JSON list `arguments` and print what it returns."""
    answer = os.dup(1)
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    result = getattr(importlib.import_module(f"appliance.preflight.{module}"), name)(*json.loads(arguments))
    with os.fdopen(answer, "w", encoding="utf-8") as stdout:
        json.dump(result, stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
