"""A real server with an admin, a trainer and a rater, and a browser. For tests of the page and of its tabs.

    def test_a_trainer_sees_the_training(site, browser_page):
        page = browser_page(site, "trainer", width=390, dark=True, path="/?tab=training")
        expect(page.locator("#strip")).to_contain_text("No run")

`site` is one server process for a test file; what a test writes into `site.store` is seen at once. `site.client("rater")`
is an httpx client that is signed in; `site.user("rater")` the row. `browser_page.foreign` lists requests to other hosts:
always empty. Browser tests are skipped where there is no Chromium. Tests without a server have `settings`, `store` and
`config_yaml`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.settings import Settings, read
from appliance.store import users
from appliance.store.db import Store, open_store
from appliance.store.users import Member

PASSWORD = "correct horse battery"
ROLES = ("admin", "trainer", "rater")
START_S = 60.0
PATIENCE_MS = 30_000
"""How long `expect` looks again: five seconds are too few where other programs are at work."""

CONFIG = """
stage: ppo
name: tiny
policy: {model: gpt2}
reward: {source: length}
prompts: {source: prompts.txt}
batch: {rollout: 8, microbatch: 8}
"""


@dataclass
class Site:
    """A server process on a free port, its data folder and its store."""

    settings: Settings
    store: Store
    port: int
    environ: dict[str, str]
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    members: dict[str, Member] = field(default_factory=dict)
    clients: list[httpx.Client] = field(default_factory=list)
    config_yaml: str = CONFIG

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.settings.data / "serve.log").read_text(encoding="utf-8")

    def start(self) -> None:
        command = [
            sys.executable,
            "-c",
            "from appliance.cli.main import main; main()",
            "serve",
            "--port",
            str(self.port),
        ]
        with (self.settings.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self.arguments], env=self.environ, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log}")

    def stop(self, *, kill: bool = False) -> int:
        assert self.process is not None
        self.process.kill() if kill else self.process.terminate()
        return self.process.wait(30)

    def user(self, role: str) -> Member:
        return self.members[role]

    def client(self, role: str | None = None, **options: Any) -> httpx.Client:
        """An HTTP client, signed in as the user of this role; None: nobody."""
        client = httpx.Client(base_url=self.url, timeout=30, **options)
        self.clients.append(client)
        if role is not None:
            answer = client.post("/login", data={"name": role, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
        return client


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="session")
def config_yaml() -> str:
    """The text of a PPO config that can run; `site.config_yaml` is the same."""
    return CONFIG


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a data folder that is not there yet."""
    return read({"APPLIANCE_DATA": str(tmp_path / "data")})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """An empty store without a server, in `settings.data`."""
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def make_site(tmp_path_factory) -> Iterator[Callable[..., Site]]:
    """Servers with settings of their own: `make_site(APPLIANCE_UPLOAD_MIB="1", arguments=("--root-path", "/x"))`."""
    made: list[Site] = []

    def make(*, arguments: tuple[str, ...] = (), with_users: bool = True, **variables: str) -> Site:
        data = tmp_path_factory.mktemp("data")
        environ = {**os.environ, "APPLIANCE_DATA": str(data), "OMP_NUM_THREADS": "1", **variables}
        settings = read(environ)
        store = open_store(settings)
        site = Site(settings, store, free_port(), environ, arguments)
        if with_users:
            site.members = {role: users.add(store, role, PASSWORD, role) for role in ROLES}
        made.append(site)
        site.start()
        return site

    yield make
    for site in made:
        for client in site.clients:
            client.close()
        if site.process is not None and site.process.poll() is None:
            site.stop()
        site.store.close()


@pytest.fixture(scope="module")
def site(make_site) -> Site:
    """One server for the file."""
    return make_site()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    sync_api = pytest.importorskip("playwright.sync_api")
    if found is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium) -> Iterator[Callable[..., Any]]:
    """Pages, each in a context of its own, signed in: `browser_page(site, role, width=1280, dark=False, path="/")`."""
    contexts: list[Any] = []
    foreign: list[str] = []

    def visit(
        site: Site,
        role: str | None = "admin",
        *,
        width: int = 1280,
        dark: bool = False,
        path: str = "/",
        ready: bool = True,
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", base_url=site.url
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        context.on("request", lambda request: note(request.url))
        if role is not None:
            cookie = site.client(role).cookies["appliance_session"]
            context.add_cookies([{"name": "appliance_session", "value": cookie, "url": site.url, "sameSite": "Strict"}])
        page = context.new_page()
        page.goto(path)
        if ready and role is not None:
            page.locator("#who-name").wait_for()
        return page

    def note(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            foreign.append(url)

    visit.foreign = foreign  # type: ignore[attr-defined]
    yield visit
    for context in contexts:
        context.close()
    assert not foreign, f"other hosts were asked: {foreign}"
