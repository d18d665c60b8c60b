"""Repositories from the hub at a fixed commit: files of the allow-list, resumed where they were left, every sum checked."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ModelError
from appliance.staging import manifest as manifests
from appliance.staging.manifest import Manifest, StagedFile, now, stated_licence
from appliance.staging.names import COMMIT, Asked, Kind
from appliance.staging.selecting import missing_parts, require_known_code, selected

PART = ".part"


@dataclass(frozen=True)
class Remote:
    """One file as the hub lists it: bytes, and its SHA-256 (large files) or its git blob's SHA-1."""

    path: str
    size: int
    sha256: str | None
    blob: str


@dataclass(frozen=True)
class Found:
    """A repository at the commit that its revision means now, and the files of it that are staged."""

    asked: Asked
    kind: Kind
    commit: str
    files: tuple[Remote, ...]
    revisions: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Hub:
    """The hub (None: HF_ENDPOINT, or the public one) and the token for it (None: what the environment or `hf auth` has)."""

    endpoint: str | None = None
    token: str | None = None

    def look_up(self, asked: Asked, kind: Kind) -> Found:
        """The commit and its files. Raises ModelError."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self.endpoint, token=self.token)
        with _Explained(asked, self.token):
            commit = api.repo_info(asked.repo, revision=asked.revision, repo_type=kind).sha
            if commit is None or not COMMIT.fullmatch(commit):
                raise ModelError(f"the hub names no commit for {asked}", "check HF_ENDPOINT")
            tree = api.list_repo_tree(asked.repo, recursive=True, revision=commit, repo_type=kind)
            listed = {
                file.path: Remote(file.path, file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
                for file in tree
                if isinstance(file, RepoFile)
            }
        files = tuple(listed[path] for path in selected(asked, kind, sorted(listed)))
        return Found(asked, kind, commit, files, (asked.revision or "main",))

    def download(self, found: Found, folder: Path, told: Callable[[int], object]) -> Manifest:
        """All files into the folder; what is there already counts. The manifest, every sum being the hub's.

        `told` hears of bytes that are there. Raises ModelError; what was downloaded stays for the next try.
        """
        files: dict[str, StagedFile] = {}
        for remote in sorted(found.files, key=lambda one: (not one.path.endswith(".json"), one.path)):
            file = folder / remote.path
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.is_file():
                self._fetch(found, remote, file, told)
            else:
                told(remote.size)
            files[remote.path] = _checked(found.asked, remote, file)
            if remote.path == "config.json" and found.kind == "model":
                with suppress(ValueError):
                    require_known_code(found.asked, json.loads(file.read_text(encoding="utf-8")))
        for file in [one for one in folder.rglob("*") if one.is_file()]:
            if file.relative_to(folder).as_posix() not in files:  # left by an earlier try
                file.unlink()
        return Manifest(
            kind=found.kind,
            repo=found.asked.repo,
            commit=found.commit,
            revisions=found.revisions,
            licence=stated_licence(folder),
            staged_at=now(),
            verified_at=now(),
            total_bytes=found.total_bytes,
            files={path: files[path] for path in sorted(files)},
        )

    def _fetch(self, found: Found, remote: Remote, file: Path, told: Callable[[int], object]) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        part = file.with_name(file.name + PART)
        have = part.stat().st_size if part.is_file() else 0
        if have > remote.size:
            part.unlink()
            have = 0
        told(have)
        asked = found.asked
        url = hf_hub_url(asked.repo, remote.path, repo_type=found.kind, revision=found.commit, endpoint=self.endpoint)
        headers = build_hf_headers(token=self.token) | {"Accept-Encoding": "identity"}  # a range of the file itself
        with _Explained(asked, self.token), part.open("ab") as opened:
            if remote.size:
                http_get(
                    url,
                    opened,
                    resume_size=have,
                    headers=headers,
                    expected_size=remote.size,
                    displayed_filename=remote.path,
                    tqdm_class=_silent(told),
                )
        part.replace(file)


def _silent(told: Callable[[int], object]) -> Any:
    """A bar that draws nothing and tells how many bytes came."""
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            told(int(n or 0))

    return Silent


def _checked(asked: Asked, remote: Remote, file: Path) -> StagedFile:
    """The file's sum and size, which are the hub's. Raises ModelError, and the file is gone, where they are not."""
    found = manifests.digest(file)
    if remote.sha256 is not None:
        right = found.sha256 == remote.sha256
    else:  # a small file, which git names by its content
        content = file.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        right = git == remote.blob
    if right and found.size == remote.size:
        return found
    file.unlink()
    raise ModelError(
        f"{asked}: {remote.path} came with another content than the hub lists ({found.size} bytes of {remote.size})",
        "start again; if it stays, a proxy on the way changes files",
    )


class _Explained:
    """Turns what the hub's client raises into a ModelError without the token."""

    def __init__(self, asked: Asked, token: str | None) -> None:
        self.asked, self.token = asked, token

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        from huggingface_hub import errors

        if error is None or isinstance(error, ModelError):
            return
        asked = self.asked
        text = " ".join(str(error).split())[:300]
        for secret in filter(None, (self.token, _known_token())):
            text = text.replace(secret, "***")
        for kind, what, fix in (
            (errors.OfflineModeIsEnabled, f"{asked} cannot be fetched: HF_HUB_OFFLINE is set", "unset it to stage"),
            (errors.GatedRepoError, f"{asked} is gated: its owner must grant access", GATED),
            (errors.RevisionNotFoundError, f"{asked.repo} has no revision {asked.revision}", "check the revision"),
            (errors.RepositoryNotFoundError, f"the hub has no {asked} that this token may read", SPELLING),
            (errors.HfHubHTTPError, f"the hub refused {asked}: {text}", "start again: what came is kept"),
            ((errors.HTTPError, OSError), f"{asked}: the connection to the hub failed: {text}", CONNECTION),
            (ValueError, f"{asked} cannot be fetched: {text}", "check the name"),
        ):
            if isinstance(error, kind):
                raise ModelError(what, fix) from None


GATED = "accept its terms on the hub's page, then give a token (HF_TOKEN, or --token-file)"
SPELLING = "check the spelling (data sets need --dataset); a private one needs a token (HF_TOKEN, or --token-file)"
CONNECTION = "check network, proxy and free disk, then start again: what came is kept, and it goes on from there"


def _known_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def notes(manifest: Manifest, folder: Path) -> list[str]:
    """What an admin should know of a staged repository: a missing tokenizer, the base of an adapter."""
    found = missing_parts(list(manifest.files)) if manifest.kind == "model" else []
    if "adapter_config.json" in manifest.files:
        with suppress(OSError, ValueError, AttributeError):
            base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get(
                "base_model_name_or_path"
            )
            found.append(f"it is an adapter: its base {base} must be staged too")
    return found
