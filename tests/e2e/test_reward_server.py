"""`appliance serve-reward` in a process of its own, and runs that learn from it: also when it is killed under them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from appliance.rewards import http, trained

KILLED = -9
CODE = """
import os, signal
from pathlib import Path

HERE = Path(__file__).parent

def even(prompts, responses):
    (HERE / "calls").open("a").write("x")
    die = HERE / "die_at"
    if die.exists() and (HERE / "calls").stat().st_size == int(die.read_text()):
        os.kill(os.getpid(), signal.SIGKILL)
    return [sum(word[1:].isdigit() and int(word[1:]) % 2 == 0 for word in text.split()) for text in responses]
"""


class Server:
    """`appliance serve-reward` with these arguments, in a fork of `host` (see forked.py); it has said where it listens."""

    def __init__(self, host: subprocess.Popen[str], place: Path, *argv: str) -> None:
        self.host, self.err, self.code = host, place / "err", None
        self.err.write_text("")
        job = {"argv": ["serve-reward", *argv], "at": None, "out": str(place / "out"), "err": str(self.err)}
        print(json.dumps(job), file=host.stdin, flush=True)
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
        said = ""
        for _ in range(3000):
            said = self.err.read_text()
            if "listening on http://127.0.0.1:" in said:
                break
            time.sleep(0.01)
        self.pid = int(children.read_text())  # it has ended, or runs without a word, if this fails
        self.url = said.split()[-1]
        self.port = self.url.split(":")[2].removesuffix("/score")

    def end(self, number: int | None) -> tuple[int, str]:
        """Send it a signal (None: it has ended by itself); its exit code and the last line that it said."""
        if self.code is None:
            if number is not None:
                os.kill(self.pid, number)
            assert self.host.stdout is not None
            self.code = json.loads(self.host.stdout.readline())
        return self.code, self.err.read_text().splitlines()[-1]


@pytest.fixture(scope="module")
def host() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything once, for one server at a time."""
    command = [sys.executable, str(Path(__file__).with_name("forked.py"))]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        yield process
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


@pytest.fixture
def serve(host: subprocess.Popen[str], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """serve("MODEL", "--port", ...): a Server, after the end of the one before; the last is ended with the test."""
    made: list[Server] = []

    def start(*argv: str) -> Server:
        made.append(Server(host, tmp_path, *argv))
        return made[-1]

    yield start
    for server in made:
        server.end(signal.SIGKILL)


@pytest.fixture
def even(tmp_path: Path) -> Path:
    """A file with only the section `reward:`, of a function that kills its process at the call that `die_at` says."""
    (tmp_path / "even_words.py").write_text(CODE)
    file = tmp_path / "reward.yaml"
    section = {"source": "python", "function": "even_words:even", "folder": str(tmp_path)}
    file.write_text(yaml.safe_dump({"reward": section}))
    return file


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_values: Callable[..., dict[str, Any]], appliance: Callable[..., Any]
) -> Path:
    """A run whose reward counts the same words in the run's own process."""
    root = tmp_path_factory.mktemp("whole")
    config = root / "tiny.yaml"
    words = [f"w{i}" for i in range(0, 95, 2)]
    config.write_text(yaml.safe_dump(tiny_values(reward={"source": "keyword", "positive": words})))
    ended = appliance("train", "ppo", "--config", str(config), "--run-dir", str(root / "run"))
    assert ended.code == 0, ended.err
    return root / "run"


def same(run: Path, whole: Path) -> None:
    for file in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "model/value_head.safetensors"):
        assert (run / file).read_bytes() == (whole / file).read_bytes(), file


# calls: 1 held out before step 1; then each step's rollout and its held-out prompts, as it is checkpointed
@pytest.mark.parametrize(
    ("call", "checkpoint"), [(4, "step-000001"), (5, "step-000001+4")], ids=["in a rollout", "after an update"]
)
def test_a_run_whose_server_dies_keeps_its_state_and_goes_on_when_it_is_back(
    call, checkpoint, serve, even, whole, appliance, tiny_values, write_config, tmp_path
):
    (even.parent / "die_at").write_text(str(call))
    server = serve("--config", str(even), "--port", "0")
    reward = {"source": "http", "url": server.url, "retries": 1, "backoff_s": 0.01}
    config, run = write_config(tiny_values(reward=reward)), tmp_path / "run"

    ended = appliance("train", "ppo", "--config", config, "--run-dir", str(run))
    assert server.end(None)[0] == KILLED
    assert ended.code == 1
    assert f"reward server {server.url}: RemoteProtocolError" in ended.err  # it died while it was asked
    assert "try 2 of 2 in 0.01 s" in ended.err
    assert (
        f"error: the reward server {server.url} gave no scores after 2 tries; the last time: ConnectError" in ended.err
    )
    assert f"The run is kept as it was, in {run}/checkpoints/{checkpoint}\n" in ended.err
    assert "fix: start the server again (`appliance serve-reward`)" in ended.err
    assert f"go on with: appliance train ppo --run-dir {run} --resume\n" in ended.err
    assert "Traceback" not in ended.err
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed"
    assert "--resume" in status["message"]

    again = appliance("train", "ppo", "--run-dir", str(run), "--resume")  # it is still down
    assert again.code == 1
    assert f"The run is kept as it was, in {run}/checkpoints/{checkpoint}\n" in again.err

    (even.parent / "die_at").unlink()
    serve("--config", str(even), "--port", server.port)
    ended = appliance("train", "ppo", "--run-dir", str(run), "--resume")
    assert ended.code == 0, ended.err
    same(run, whole)


def test_a_server_that_is_not_there_at_the_start_is_waited_for(
    serve, even, whole, appliance, tiny_values, write_config, tmp_path
):
    first = serve("--config", str(even), "--port", "0")
    assert first.end(signal.SIGTERM) == (0, "stopped")
    reward = {"source": "http", "url": first.url, "retries": 0}
    run = tmp_path / "run"
    ended = appliance("train", "ppo", "--config", write_config(tiny_values(reward=reward)), "--run-dir", str(run))
    assert ended.code == 1
    assert "gave no scores after 1 try; the last time: ConnectError" in ended.err
    serve("--config", str(even), "--port", first.port)
    assert appliance("train", "ppo", "--run-dir", str(run), "--resume").code == 0
    same(run, whole)


def test_a_reward_model_gives_over_http_what_it_gives_here(serve, folder_of, tmp_path):
    torch.manual_seed(3)
    folder = tmp_path / "judge"
    model = AutoModelForSequenceClassification.from_pretrained(folder_of("gpt2"), num_labels=1, pad_token_id=0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder_of("gpt2")).save_pretrained(folder)
    (folder / "reward.json").write_text(json.dumps({"mean": 0.25, "std": 2.0}))
    prompts, responses = ["w1 w2", "w3", "w4 w5 w6"], [" w7", " w8 w9 w10", ""]
    here = trained.make(trained.Options(model=str(folder)), torch.device("cpu"))(prompts, responses)
    server = serve(str(folder), "--port", "0", "--max-texts", "3")
    there = http.make(http.Options(url=server.url), torch.device("cpu"))(prompts, responses)
    assert here.std() > 0
    torch.testing.assert_close(there, here, atol=1e-6, rtol=0)
    with httpx.Client(base_url=server.url.removesuffix("/score"), trust_env=False) as client:
        assert client.get("/healthz").json() == {"status": "ok", "model": str(folder)}
        assert client.post("/score", json={"prompts": [""] * 4, "responses": [""] * 4}).status_code == 413
    assert server.end(signal.SIGINT) == (0, "stopped")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "Give MODEL, or --config, or --run"),
        (("m", "--config", "c.yaml"), "Give MODEL, or --config, or --run"),
        (("./nowhere",), "no model folder"),
        (("--config", "nowhere.yaml"), "there is no config file nowhere.yaml"),
        (("m", "--host", "256.0.0.1"), "cannot be had"),
        (("m", "--token-file", "nowhere"), "the token file nowhere cannot be read"),
    ],
)
def test_what_cannot_be_served_is_told(command, argv, message):
    ended = command("serve-reward", *argv, "--port", "0")
    assert ended.code in (1, 2)
    assert message in ended.err
