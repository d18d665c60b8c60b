"""The http source against a small server that answers as it is told: tries, limits, and every wrong answer."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import torch
from pydantic import ValidationError

from appliance.errors import ConfigError, RewardUnavailable
from appliance.rewards import http

CPU = torch.device("cpu")


class Fake:
    """A server; `answers` are (status, body) for the next requests, then it scores by the response's length."""

    def __init__(self):
        self.answers, self.asked = [], []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append((self.path, dict(self.headers), body))
                status, answer = 200, {"scores": [len(text) for text in body["responses"]]}
                if fake.answers:
                    status, answer = fake.answers.pop(0)
                content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server():
    made = Fake()
    yield made
    made.close()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the source slept, without sleeping."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def make(url, **options):
    return http.make(http.Options(url=url, **options), CPU)


def test_texts_go_out_in_order_and_in_pieces_and_scores_come_back(server):
    scores = make(server.url, batch=2)(["a", "b", "c"], ["x", "yy", "zzz"])
    assert scores.dtype == torch.float32
    assert scores.tolist() == [1.0, 2.0, 3.0]
    assert [body for _, _, body in server.asked] == [
        {"prompts": ["a", "b"], "responses": ["x", "yy"]},
        {"prompts": ["c"], "responses": ["zzz"]},
    ]


def test_a_float_comes_back_as_it_was(server):
    values = torch.randn(5, generator=torch.Generator().manual_seed(1))
    server.answers = [(200, {"scores": values.tolist()})]
    assert torch.equal(make(server.url)(["p"] * 5, ["r"] * 5), values)


def test_without_a_path_score_is_meant(server):
    make(server.url.removesuffix("/score"))(["p"], ["r"])
    make(server.url.removesuffix("score") + "v2/rate?x=1")(["p"], ["r"])
    assert [path for path, _, _ in server.asked] == ["/score", "/v2/rate?x=1"]


def test_a_token_comes_from_a_file_and_stands_in_no_config(server, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    options = http.Options(url=server.url, token_file=str(tmp_path / "token"))
    http.make(options, CPU)(["p"], ["r"])
    assert server.asked[0][1]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in options.model_dump_json()


@pytest.mark.parametrize("content", ["", "two words", "ü", None])
def test_a_token_file_without_one_token_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the token file .*token (is empty|cannot be read)"):
        make("http://host", token_file=str(tmp_path / "token"))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_be_over_soon_is_tried_again_with_longer_waits(server, waits, capsys, status):
    server.answers = [(status, {"error": "later"})] * 3
    assert make(server.url, backoff_s=2.0)(["p"], ["r"]).tolist() == [1.0]
    assert waits == [2.0, 4.0, 8.0]
    assert f"{server.url}: it answered {status}: " in capsys.readouterr().err


def test_after_the_last_try_the_error_names_url_tries_last_error_and_fix(server, waits):
    server.answers = [(500, "boom")] * 9
    with pytest.raises(RewardUnavailable) as told:
        make(server.url, retries=2, backoff_s=40.0)(["p"], ["r"])
    assert told.value.what == (
        f"the reward server {server.url} gave no scores after 3 tries; the last time: it answered 500: 'boom'"
    )
    assert "appliance serve-reward" in told.value.fix
    assert waits == [40.0, 60.0]  # 80 would be longer than the longest wait
    assert len(server.asked) == 3


def test_a_server_that_is_not_there_is_tried_again(waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(RewardUnavailable, match="after 2 tries; the last time: ConnectError"):
            make(f"http://127.0.0.1:{free.getsockname()[1]}", retries=1)(["p"], ["r"])
    assert waits == [1.0]


def test_a_server_that_is_silent_is_given_up(waits):
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(RewardUnavailable, match=r"within 0.05 s"):
        make(f"http://127.0.0.1:{deaf.getsockname()[1]}", retries=0, timeout_s=0.05)(["p"], ["r"])


@pytest.mark.parametrize(
    ("status", "fix"),
    [(401, "token_file"), (403, "token_file"), (404, "reward.url"), (413, "reward.batch"), (422, "prompts"), (302, "")],
)
def test_a_refusal_is_not_tried_again(server, waits, status, fix):
    server.answers = [(status, {"error": "no"})]
    with pytest.raises(RewardUnavailable, match=f"refused the texts; it answered {status}") as told:
        make(server.url)(["p"], ["r"])
    assert fix in told.value.fix
    assert waits == []
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<html>", "answered what is not JSON: '<html>'"),
        ([1.0], "without a list `scores`"),
        ({"score": [1.0]}, "without a list `scores`"),
        ({"scores": 1.0}, "without a list `scores`"),
        ({"scores": [1.0]}, "was sent 2 texts and answered 1 scores"),
        ({"scores": [1.0, 2.0, 3.0]}, "was sent 2 texts and answered 3 scores"),
        ('{"scores": [1.0, NaN]}', "answered nan as the score of text 1 of 2"),
        ('{"scores": [Infinity, 1]}', "answered inf as the score of text 0 of 2"),
        ({"scores": [10**400, 1.0]}, "answered 10+ as the score of text 0 of 2"),
        ("[" * 100_000, "answered what is not JSON"),
        ({"scores": [None, 1.0]}, "answered None as the score of text 0"),
        ({"scores": ["1.0", 1.0]}, "answered '1.0' as the score of text 0"),
        ({"scores": [True, 1.0]}, "answered True as the score of text 0"),
        ({"scores": [[1.0], 1.0]}, r"answered \[1.0\] as the score of text 0"),
    ],
)
def test_an_answer_that_is_not_one_finite_number_for_each_text_is_refused(server, waits, answer, message):
    server.answers = [(200, answer)]
    with pytest.raises(RewardUnavailable, match=message):
        make(server.url)(["p", "p"], ["r", "r"])
    assert waits == []


def test_no_text_is_no_request():
    assert make("http://nowhere.invalid")([], []).shape == (0,)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://127.9.9.9", True),
        ("http://gpu2:1", False),
        ("http://10.0.0.1:1", False),
    ],
)
def test_this_machine_is_reached_without_a_proxy(url, own, monkeypatch):
    made, plain = [], httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: made.append(plain(**options)) or made[-1])
    make(url)([], [])
    assert made[0].trust_env is not own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "host:5555"}, "begin with http"),
        ({"url": "ftp://host"}, "begin with http"),
        ({"url": "http://"}, "name a host"),
        ({"url": "http://me:secret@host"}, "holds a name or password"),
        ({"url": "http://host:abc"}, "Port could not be cast"),
        ({"url": "http://host:65536"}, "Port out of range"),
        ({"url": "http://ho\x00st"}, "a character that cannot be seen"),
        ({"url": "http://host", "batch": 0}, "batch"),
        ({"url": "http://host", "timeout_s": 0}, "timeout_s"),
        ({"url": "http://host", "headers": {}}, "headers"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        http.Options(**options)
