"""The store in both databases: a SQLite file, and apt's PostgreSQL started for the tests in a folder of its own."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.store.db import Store

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))

RUN = """
stage: ppo
name: tiny
policy: {model: gpt2}
reward: {source: length}
prompts: {source: prompts.txt}
batch: {rollout: 8, microbatch: 8}
"""


class Clock:
    """A wall clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def as_server(*command: str) -> None:
    """Run one of PostgreSQL's programs; it refuses to be root."""
    before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*before, *command], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server on a socket, without the database's name; skips where it is not installed."""
    if not BINARIES:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short, and pytest's folders are private
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        programs, data = BINARIES[-1].parent, folder / "data"
        as_server(str(programs / "initdb"), "-D", str(data), "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=50"
        control = (str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"))
        as_server(*control, "-o", options, "start")
        try:
            yield f"postgresql://tests@/{{name}}?host={folder}"
        finally:
            as_server(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'appliance.db'}"
        return
    import psycopg

    template, name = request.getfixturevalue("server"), f"test_{secrets.token_hex(6)}"
    with psycopg.connect(template.format(name="postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield template.format(name=name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def clock() -> Clock:
    """The clock of `store`."""
    return Clock()


@pytest.fixture
def open_at(clock: Clock) -> Iterator[Callable[[str, Path], Store]]:
    """open_at(url, data folder): a store that is closed when the test ends."""
    opened = []

    def make(url: str, data: Path) -> Store:
        data.mkdir(exist_ok=True)
        opened.append(Store(url, data, clock=clock))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(url: str, tmp_path: Path, open_at: Callable[[str, Path], Store]) -> Store:
    """A store with the present schema, in each database in turn."""
    made = open_at(url, tmp_path / "data")
    made.migrate()
    return made


@pytest.fixture
def config_yaml() -> str:
    """The text of a PPO config that can run."""
    return RUN
