"""What every request needs: the store, the settings, who uploaded what, and the count of wrong sign-ins by address."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError
from appliance.settings import Settings
from appliance.store.logins import Throttle

if TYPE_CHECKING:
    from appliance.store.db import Store
    from appliance.store.users import Member


MOST_SIGNS = 256
"""So much is kept of what pages asked for; then it is read anew."""


class Uploads:
    """Files that just came in through the page, by whom. A file is its uploader's alone until a tab takes it.

    Gradio names a folder by what is in the file, so two people who upload the same file share a path: both are noted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owners: dict[str, set[int]] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Empty the folder and give it to this user of the machine alone; what was in it belongs to no open page."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)

    def note(self, path: str, user_id: int) -> None:
        """Remember whose upload this is."""
        with self._lock:
            self._owners.setdefault(path, set()).add(user_id)

    def is_theirs(self, path: str, user_id: int) -> bool:
        """Whether this user uploaded the file; compared as written, so that no `..` can lead elsewhere."""
        with self._lock:
            return user_id in self._owners.get(path, ())

    def take(self, path: str, member: Member) -> Path:
        """The user's own upload, to be copied to the store. Raises ApplianceError for a path that is not theirs."""
        if not self.is_theirs(path, member.id) or not Path(path).is_file():
            raise ApplianceError("this upload is not here any more", "choose the file again")
        return Path(path)

    def drop(self, path: str, member: Member) -> None:
        """Remove the temporary file after it was copied, unless somebody else uploaded the same."""
        with self._lock:
            owners = self._owners.get(path, set())
            if member.id not in owners:
                return
            owners.discard(member.id)
            if not owners:
                del self._owners[path]
                Path(path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Desk:
    """One serving process. Requests carry it in their scope as `appliance`."""

    store: Store
    settings: Settings
    uploads: Uploads
    throttle: Throttle
    prefix: str = ""
    signs: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """What was read a moment ago and costs too much to read for every page, with when. See `shared`."""

    def shared(self, name: str, good_s: float, read: Callable[[], Any]) -> Any:
        """What `read` gave for anybody in the last `good_s` seconds, or gives now."""
        kept = self.signs.get(name)
        if len(self.signs) > MOST_SIGNS:
            self.signs.clear()
        if kept is None or time.monotonic() - kept[0] > good_s:
            kept = self.signs[name] = (time.monotonic(), read())
        return kept[1]

    @property
    def upload_bytes(self) -> int:
        """Largest upload."""
        return self.settings.upload_mib << 20
