"""A folder is a registry: a new reward source or generation engine is one file, and nothing else is edited."""

import importlib
import pkgutil
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from appliance.errors import ConfigError

ROOT = Path(__file__).parent


def names(folder: str) -> list[str]:
    """The parts in `appliance/<folder>/`, sorted, without importing any of them. A leading underscore hides a file."""
    found = (module.name for module in pkgutil.iter_modules([str(ROOT / folder)]))
    return sorted(name for name in found if not name.startswith("_"))


def load(folder: str, name: str) -> ModuleType:
    """The module of one part. Raises ConfigError that lists the choices when there is none of that name."""
    known = names(folder)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no {name!r} in {folder}", f"{hint}choose one of: {', '.join(known)}")
    return importlib.import_module(f"appliance.{folder.replace('/', '.')}.{name}")
