"""Fifty people watch two running trainings of 5,000 steps while a third trains on the same machine: how long the page's
answers take, and how much slower that training is than with nobody watching.

    python tests/bench/page_load.py                    about four minutes; the machine should have nothing else to do
    python tests/bench/page_load.py --users 2 --arrive-s 1 --window-s 4 --rounds 1 --points 200 --size test      does it run?

The users are this process's: what they cost is measured too, for on a real machine they are elsewhere.
"""

import argparse
import asyncio
import json
import math
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from appliance.settings import read
from appliance.store import logins, metrics, users, workers
from appliance.store.db import Store, open_store
from appliance.store.rundir import RunDir
from appliance.store.schema import Run
from appliance.ui.access import COOKIE
from appliance.ui.pulse import SPREAD_MS

TICK_S = 3.0
PATIENCE_S = 120.0
SERVE = [sys.executable, "-c", "from appliance.cli.main import main; main()", "serve", "--port"]
WATCHED = """\
stage: ppo
policy: {model: m}
reward: {source: length}
prompts: {source: p.txt}
batch: {steps: 10000}
"""

Times = dict[str, list[float]]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measures, prints Markdown, writes --json; what was found."""
    options = read_options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        environ = {**os.environ, "APPLIANCE_DATA": str(data)}
        store = open_store(read(environ))
        watched = [enter(store, f"watched-{number}", options.points) for number in (1, 2)]
        server, url = serve(data, environ)
        training = None
        try:
            training = train(Path(folder), options.size, environ)
            found = measure(store, url, watched, Path(folder) / "trained", options)
        finally:
            for process in (training, server):
                if process is not None:
                    process.terminate()
                    process.wait(PATIENCE_S)
            store.close()
    print(report(found), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--points", type=int, default=5000, help="steps of each watched run")
    parser.add_argument("--window-s", type=float, default=45.0, help="seconds with, and seconds without users, a round")
    parser.add_argument("--arrive-s", type=float, default=30.0, help="seconds within which the users open the page")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", choices=("test", "tiny"), default="tiny", help="of the model that trains meanwhile")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def enter(store: Store, name: str, steps: int) -> tuple[int, RunDir]:
    """A run with as many steps as a PPO training writes them; the store takes it for one that runs."""
    folder = RunDir(store.data / name)
    folder.path.mkdir()
    lines = {
        log: "".join(f"{json.dumps(line(log, n))}\n" for n in range(1, steps + 1)) for log in ("metrics", "timings")
    }
    for log, text in lines.items():
        (folder.path / f"{log}.jsonl").write_text(text, encoding="utf-8")
    now = time.time()
    row = Run(name=name, stage="ppo", folder=str(folder.path), config=WATCHED, state="running", created=now, started=now,
              step=steps, steps=10_000, last_step_at=now, worker_id="bench")  # fmt: skip
    with store.session() as session:
        session.add(row)
        session.flush()
        number = row.id
    metrics.ingest(store, number, folder)
    return number, folder


def line(log: str, step: int) -> dict[str, float]:
    """A step's line, with as many numbers as a real one."""
    if log == "timings":
        return {"step": step, "seconds": 2.0}
    chance, share = random.Random(step), step / 5000
    named = {"score_mean": share + chance.gauss(0, 0.1), "score_std": 0.5, "kl": 3 * share + chance.random(),
             "length_mean": 20 + chance.random(), "entropy": 2 - share, "ratio_mean": 1.0, "clip_share": 0.1,
             "score_length_correlation": 0.1, "saturated_share": 0.0}  # fmt: skip
    held_out = {"eval_score_mean": share, "eval_kl": 3 * share, "eval_length_mean": 20.0} if step % 20 == 0 else {}
    return {"step": step, **named, **{f"more_{n}": chance.random() for n in range(25)}, **held_out}


def serve(data: Path, environ: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """A real server, ready."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    with (data / "serve.log").open("wb") as log:
        process = subprocess.Popen([*SERVE, str(port)], env=environ, stdout=log, stderr=log)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return process, url
        except httpx.TransportError:
            time.sleep(0.2)
    process.kill()
    raise SystemExit((data / "serve.log").read_text(encoding="utf-8"))


def train(folder: Path, size: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """A PPO training that goes on until it is ended, past its first steps."""
    import yaml
    from models import SHAPES, make_tokenizer, save
    from transformers import GPT2Config, GPT2LMHeadModel

    from appliance.data import films

    texts = [text for text, _ in films.reviews(400, seed=0)]
    tokenizer = make_tokenizer(texts)
    end = tokenizer.eos_token_id
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=128, bos_token_id=end, eos_token_id=end, **SHAPES[size])
    save(GPT2LMHeadModel(shape), tokenizer, folder / "model")
    (folder / "prompts.txt").write_text("".join(f"{' '.join(text.split()[:5])}\n" for text in dict.fromkeys(texts)))
    rollout = 8 if size == "test" else 32
    config = {
        "stage": "ppo",
        "device": "cpu",
        "policy": {"model": str(folder / "model")},
        "reward": {"source": "keyword", "positive": ["good"], "negative": ["bad"]},
        "prompts": {"source": str(folder / "prompts.txt")},
        "batch": {"steps": 100_000, "rollout": rollout},
        "optimizer": {"learning_rate": 1e-6, "schedule": "constant"},
        "evaluation": {"every_steps": 100_000, "prompts": 8, "report_prompts": 8, "report_samples": 1},
        "checkpoint": {"every_steps": 100_000},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "appliance", "train", "ppo", "--config", str(folder / "config.yaml")]
    with (folder / "train.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--run-dir", str(folder / "trained")],
            env=environ,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    until = time.monotonic() + PATIENCE_S
    while len(steps_of(folder / "trained")) < 4:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise SystemExit((folder / "train.log").read_text(encoding="utf-8"))
        time.sleep(0.2)
    return process


def steps_of(run: Path) -> list[float]:
    """Seconds of each step so far."""
    return [float(row["seconds"]) for row in RunDir(run).read_log("timings.jsonl")]


@dataclass
class Page:
    """What the page's script knows of the server: which function draws the Training tab, with which inputs."""

    draw: int
    inputs: list[str]

    @classmethod
    def of(cls, client: httpx.Client) -> "Page":
        """From the page's own description."""
        config = client.get("/config").raise_for_status().json()
        names = {part["id"]: part["props"].get("elem_id") or part["type"] for part in config["components"]}
        (button,) = (number for number, name in names.items() if name == "training-draw")
        (draw,) = (one for one in config["dependencies"] if [button, "click"] in one["targets"])
        return cls(draw["id"], [names[number] for number in draw["inputs"]])


@dataclass
class Line:
    """A browser's connection, written out: a client library would take more of the machine than what is measured."""

    address: tuple[str, int]
    cookie: str
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and content. Raises OSError and asyncio.IncompleteReadError when the server is gone."""
        kept = self.writer is not None
        try:
            return await self._ask(method, path, body)
        except (OSError, asyncio.IncompleteReadError):
            if not kept:
                raise
            self.writer = None  # the server had closed it meanwhile
            return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.writer is None or self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
        head = [
            f"{method} {path} HTTP/1.1",
            f"host: {self.address[0]}:{self.address[1]}",
            f"cookie: {COOKIE}={self.cookie}",
        ]
        head += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), await self.reader.readexactly(int(headers["content-length"]))


@dataclass
class Load:
    """People who look at the page for a while, and the seconds that each answer took."""

    address: tuple[str, int]
    page: Page
    arrive_s: float = 0.0
    since: float = 0.0  # answers before are those to people who arrive: only their first drawing counts
    times: Times = field(default_factory=lambda: defaultdict(list))
    failures: int = 0
    bytes: int = 0

    async def ask(self, kind: str, line: Line, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """What one request is answered with, its time entered under `kind`; nothing where it failed."""
        began = time.perf_counter()
        try:
            status, content = await line.ask(method, path, body)
        except (OSError, asyncio.IncompleteReadError):
            self.failures += 1
            return {}
        if kind == "first drawing" or time.monotonic() >= self.since:
            self.times[kind].append(time.perf_counter() - began)
        self.bytes += len(content)
        told = json.loads(content)
        failed = status != 200 or "error" in told
        self.failures += failed
        return {} if failed else told

    async def person(self, number: int, run_id: int, cookie: str, until: float) -> None:
        """Somebody with the Training tab open: every three seconds its pulse, and a drawing whenever its mark is another."""
        line, mark = Line(self.address, cookie), ""
        await asyncio.sleep(random.Random(number).uniform(0, self.arrive_s))
        values = [run_id if name == "page-run" else None for name in self.page.inputs]
        asked = {"fn_index": self.page.draw, "data": values, "session_hash": f"load{number}", "event_data": None}
        while time.monotonic() < until:
            began = time.monotonic()
            told = await self.ask("pulse", line, "GET", f"/pulse?tab=training&run={run_id}")
            if told and told["mark"] != mark:
                kind = "charts and all" if mark else "first drawing"
                await asyncio.sleep(random.random() * SPREAD_MS / 1e3 if mark else 0)
                await self.ask(kind, line, "POST", "/gradio_api/run/predict", json.dumps(asked).encode())
                mark = told["mark"]
            await asyncio.sleep(max(0.0, TICK_S - (time.monotonic() - began)))


def measure(store: Store, url: str, watched: list[tuple[int, RunDir]], trained: Path, options: Any) -> dict[str, Any]:
    """Windows without and with people, in turn."""
    member = users.add(store, "watcher", "correct horse battery", "trainer")
    cookies = [logins.start_session(store, member.id) for _ in range(options.users)]
    with httpx.Client(base_url=url, cookies={COOKIE: cookies[0]}) as client:
        page = Page.of(client)
    quiet: list[float] = []
    loaded: list[float] = []
    times: Times = defaultdict(list)
    failures, cost, sent = 0, 0.0, 0
    over = threading.Event()
    writer = threading.Thread(target=write, args=(store, watched, over))
    writer.start()
    try:
        for turn in range(options.rounds):
            quiet += window(trained, lambda: time.sleep(options.window_s))
            used = time.process_time()
            load = asyncio.Runner().run(
                people(url, page, cookies, watched, options.window_s, trained, loaded, options.arrive_s)
            )
            cost += time.process_time() - used
            failures, sent = failures + load.failures, sent + load.bytes
            for kind, seconds in load.times.items():
                times[kind] += seconds
            print(f"round {turn + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    finally:
        over.set()
        writer.join()
    if not quiet or not loaded:
        raise SystemExit("no step of the training ended in a window: make --window-s longer")
    seconds = (options.window_s + options.arrive_s) * options.rounds
    return {
        "users": options.users,
        "points": options.points,
        "cores": os.cpu_count(),
        "answers": {kind: summary(found) for kind, found in sorted(times.items())},
        "failures": failures,
        "megabytes_per_s": sent / 1e6 / seconds,
        "users_cpu_share": cost / seconds,
        "step_s": {"alone": statistics.median(quiet), "watched": statistics.median(loaded)},
        "steps": {"alone": len(quiet), "watched": len(loaded)},
        "slowdown": statistics.median(loaded) / statistics.median(quiet) - 1,
    }


def window(trained: Path, work: Any) -> list[float]:
    """The seconds of the steps that began and ended while `work` went on."""
    before = len(steps_of(trained))
    work()
    return steps_of(trained)[before + 1 :]


async def people(
    url: str,
    page: Page,
    cookies: list[str],
    watched: list[tuple[int, RunDir]],
    seconds: float,
    trained: Path,
    loaded: list[float],
    arrive_s: float,
) -> Load:
    """All users: they arrive one by one within `arrive_s`, and stay for `seconds`; half of them look at each run.

    `loaded` gets the training's steps from when all are there.
    """
    since = time.monotonic() + arrive_s
    place = httpx.URL(url)
    load = Load((place.host, place.port or 80), page, arrive_s, since)
    before, *_ = await asyncio.gather(
        count_at(trained, arrive_s),
        *(
            load.person(number, watched[number % len(watched)][0], cookie, since + seconds)
            for number, cookie in enumerate(cookies)
        ),
    )
    loaded += steps_of(trained)[before + 1 :]
    return load


async def count_at(trained: Path, seconds: float) -> int:
    """The training's steps so far, in `seconds` from now."""
    await asyncio.sleep(seconds)
    return len(steps_of(trained))


def write(store: Store, watched: list[tuple[int, RunDir]], over: threading.Event) -> None:
    """What the worker does meanwhile: a new step of each watched run every two seconds, and its own sign of life."""
    places = {number: metrics.ingest(store, number, folder) for number, folder in watched}
    step = len(watched[0][1].read_log("timings.jsonl"))
    while not over.wait(2.0):
        step += 1
        workers.beat(store, "bench", host="bench", pid=os.getpid(), device="cpu")
        for number, folder in watched:
            folder.append("metrics.jsonl", line("metrics", step))
            folder.append("timings.jsonl", line("timings", step))
            places[number] = metrics.ingest(store, number, folder, places[number])


def summary(seconds: list[float]) -> dict[str, float]:
    """Number, median, 95th percentile and largest, in milliseconds."""
    ordered = sorted(seconds)
    at = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
    return {
        "count": len(ordered),
        "median_ms": 1e3 * statistics.median(ordered),
        "p95_ms": 1e3 * at,
        "max_ms": 1e3 * ordered[-1],
    }


def report(found: dict[str, Any]) -> str:
    """Markdown."""
    rows = [
        f"| {kind} | {one['count']} | {one['median_ms']:.0f} | {one['p95_ms']:.0f} | {one['max_ms']:.0f} |"
        for kind, one in found["answers"].items()
    ]
    step = found["step_s"]
    return "\n".join(
        [
            f"{found['users']} users, two runs of {found['points']} steps, {found['cores']} cores, {found['failures']} failures",
            "",
            "| answer | number | median ms | p95 ms | largest ms |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"A training step: {step['alone']:.2f} s alone ({found['steps']['alone']} steps), {step['watched']:.2f} s watched "
            f"({found['steps']['watched']} steps): {found['slowdown']:+.1%}. {found['megabytes_per_s']:.2f} MB/s sent. The users "
            f"themselves took {found['users_cpu_share']:.0%} of a core.",
        ]
    )


if __name__ == "__main__":
    main()
