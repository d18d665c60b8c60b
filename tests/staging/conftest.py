"""A small hub on this machine that speaks to the real client, and repositories for it."""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from appliance.cli import main
from appliance.staging.hub import Hub

TOKEN = "hf_secretsecretsecret"


def safetensors(*values: int) -> bytes:
    """A file of one tensor of these bytes."""
    entry = {"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + bytes(values)


def small_model(*values: int, **more: bytes) -> dict[str, bytes]:
    """A model's files by name; `more` with __ for the dot: tokenizer__json."""
    files = {
        "config.json": b'{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}',
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors(*(values or (1, 2, 3))),
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
    }
    return files | {name.replace("__", "."): content for name, content in more.items()}


@dataclass
class Repositories:
    """What the hub has: files by (kind, repository, commit), and names of commits; and what it was asked."""

    files: dict[tuple[str, str, str], dict[str, bytes]] = field(default_factory=dict)
    names: dict[tuple[str, str, str], str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    cut: int = 0  # how many answers from now on end in the middle
    swap: dict[str, bytes] = field(default_factory=dict)  # files that come with another content than is listed
    hub: Hub = field(default_factory=Hub)

    def add(self, repo: str, files: dict[str, bytes], *, kind: str = "model", revision: str = "main") -> str:
        """A repository of these files under this revision; its commit."""
        listing = repr((kind, repo, sorted(files.items())))
        commit = hashlib.sha1(listing.encode()).hexdigest()
        self.files[kind, repo, commit] = files
        self.names[kind, repo, revision] = commit
        return commit

    def commit_of(self, kind: str, repo: str, revision: str) -> str | None:
        if (kind, repo, revision) in self.files:
            return revision
        return self.names.get((kind, repo, revision))

    def downloads(self) -> list[tuple[str, str | None]]:
        """(file, range) of every file that was fetched."""
        return [(path.rsplit("/", 1)[-1], part) for method, path, part in self.asked if "/resolve/" in path]


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".parquet", ".bin"))


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the hub's API (revision, tree) and of files (resolve, with Range)."""

    protocol_version = "HTTP/1.1"
    have: Repositories

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.have.asked.append((self.command, path, self.headers["Range"]))
        if api := re.fullmatch(r"/api/(model|dataset)s/(.+?)(?:/(revision|tree)/(.+?))?/?", path):
            kind, repo, what, revision = api.groups()
            commit = self.known(kind, repo, revision or "main")
            if commit is not None and what == "tree":
                self.answer(json.dumps(self.tree(self.have.files[kind, repo, commit])).encode())
            elif commit is not None:
                self.answer(json.dumps({"id": repo, "sha": commit, "private": False, "siblings": []}).encode())
        elif file := re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)", path):
            kind, repo, revision, name = "dataset" if file[1] else "model", *file.groups()[1:]
            commit = self.known(kind, repo, revision)
            if commit is not None:
                content = self.have.swap.get(name, self.have.files[kind, repo, commit][name])
                self.answer(content, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        else:
            self.answer(b"", status=404)

    def known(self, kind: str, repo: str, revision: str) -> str | None:
        """The commit, or None when an error was answered."""
        if repo in self.have.private and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, status=403)
        elif not any(one[:2] == (kind, repo) for one in self.have.files):
            self.answer(b"", {"X-Error-Code": "RepoNotFound"}, status=404)
        elif (commit := self.have.commit_of(kind, repo, revision)) is None:
            self.answer(b"", {"X-Error-Code": "RevisionNotFound"}, status=404)
        else:
            return commit
        return None

    def tree(self, files: dict[str, bytes]) -> list[dict[str, Any]]:
        listed = []
        for path, content in files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
            if is_large(path):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            listed.append(entry)
        return listed

    def answer(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        if (part := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")) and status == 200:
            start, whole = int(part[1]), len(content)
            content, status = content[start:], 206
            headers = {**(headers or {}), "Content-Range": f"bytes {start}-{whole - 1}/{whole}"}
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.have.cut and "/resolve/" in self.path:
            self.have.cut -= 1
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    """A running hub; repositories.hub is how this process reaches it. The models folder is tmp_path / "models"."""
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "APPLIANCE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APPLIANCE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    have = Repositories()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"have": have}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    have.hub = Hub(endpoint=f"http://127.0.0.1:{server.server_port}", token=None)
    yield have
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model() -> Callable[..., dict[str, bytes]]:
    """model(1, 2, note__txt=b"x"): a small model's files."""
    return small_model


@pytest.fixture
def appliance(monkeypatch, capsys, repositories) -> Callable[..., Any]:
    """appliance("models", "list"): the exit code and what was said; the hub is the local one."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)
    monkeypatch.setattr("appliance.staging.hub.Hub", lambda token: Hub(repositories.hub.endpoint, token))

    def run(*argv: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["appliance", *map(str, argv)])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code, out=out, err=err)

    return run
