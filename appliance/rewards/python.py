"""A Python function of your own: any rule that a few lines can say. From the command line only, never from the page."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from appliance.config.base import Section
from appliance.errors import ApplianceError, ConfigError

if TYPE_CHECKING:
    import torch

    from appliance.ppo.types import ScoreFn

FROM_PAGE = False
"""It runs code by its name: not for people who may use the page and nothing else of the machine."""


class Options(Section):
    """Which function, and where it is."""

    function: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="module:function or package.module:function; it takes prompts and responses, two lists of texts of "
        "equal length, and gives a list of as many numbers",
    )
    folder: str = Field(".", min_length=1, description="where the module is looked for before the installed ones")


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that the function gives. Raises ConfigError when it cannot be imported, ApplianceError when it fails."""
    import torch

    function = _imported(options)

    def score(prompts: list[str], responses: list[str]) -> torch.Tensor:
        try:
            given = [float(value) for value in function(list(prompts), list(responses))]
        except Exception as error:  # the user's code may raise anything
            raise ApplianceError(
                f"{options.function} failed on {len(responses)} texts: {_told(error)}",
                "correct the function; it must give one number for each text",
            ) from error
        return torch.tensor(given, dtype=torch.float32, device=device)

    return score


def _imported(options: Options) -> Callable[[list[str], list[str]], Iterable[float]]:
    module_name, _, name = options.function.partition(":")
    folder = Path(options.folder).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"reward.folder: there is no folder {folder}", "give the folder that holds the module")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except Exception as error:  # an import runs the user's code
        raise ConfigError(
            f"reward.function: {module_name!r} cannot be imported, looked for in {folder} first: {_told(error)}",
            "check the module's name, and set reward.folder to the folder that it is in",
        ) from error
    finally:
        sys.path.remove(str(folder))
    known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
    if name not in known:
        raise ConfigError(
            f"reward.function: {module_name} has no function {name!r}; it has {', '.join(known) or 'none'}",
            "name one of the module's functions",
        )
    return vars(module)[name]  # type: ignore[no-any-return]


def _told(error: Exception) -> str:
    """The error in one line, with the place in the user's code where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename} line {last.lineno})"
