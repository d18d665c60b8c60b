"""The sums of what is staged, computed again; and which recipes name it."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.progress import progress
from appliance.staging import manifest as manifests
from appliance.staging.folders import Staged
from appliance.staging.importing import MB, Count


@dataclass(frozen=True)
class Verified:
    """What is wrong with a staged folder (nothing: it is whole), and whether its manifest could note the time."""

    one: Staged
    problems: list[str]
    at: datetime
    noted: bool


def verify(found: list[Staged]) -> list[Verified]:
    """Every sum of these folders. The time is written into the manifest where the folder may be written."""
    total = sum(one.manifest.total_bytes for one in found if one.manifest)
    results = []
    with progress("verify (MB)", round(total / MB)) as shown:
        count = Count(shown)
        for one in found:
            if one.manifest is None:
                results.append(Verified(one, ["its manifest is missing or cannot be read"], manifests.now(), False))
                continue
            problems, at = manifests.damage(one.folder, one.manifest, count), manifests.now()
            results.append(Verified(one, problems, at, _note(one, at if not problems else None)))
    return results


def _note(one: Staged, at: datetime | None) -> bool:
    assert one.manifest is not None
    try:
        manifests.write(one.manifest.model_copy(update={"verified_at": at}), one.folder)
    except OSError:  # a volume that is mounted read-only
        return False
    return True


def recipes_naming(repo: str, recipes: Path) -> list[str]:
    """Names of the recipes in a folder that name this repository as the whole value of a key."""
    value = re.compile(rf"^\s*[\w.]+:\s*['\"]?{re.escape(repo)}['\"]?\s*(#.*)?$", re.MULTILINE)
    found = []
    for file in sorted(recipes.glob("*.yaml")):
        try:
            if value.search(file.read_text(encoding="utf-8")):
                found.append(file.stem)
        except (OSError, UnicodeError):
            continue
    return found
