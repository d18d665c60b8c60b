"""The reward server, really listening, asked by the http source and by hand."""

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from appliance.errors import ApplianceError, RewardUnavailable
from appliance.rewards import http as source
from appliance.serving import reward
from appliance.serving.reward import Limits, bound, make_app

CPU = torch.device("cpu")
LIMITS = Limits(texts=4, characters=30, body_mib=1, batch=3)


class Slow:
    """A reward of 10 * words + the prompt's words; it holds its first batch until it is let go, if asked."""

    def __init__(self):
        self.batches, self.free, self.began = [], threading.Event(), threading.Event()
        self.free.set()

    def __call__(self, prompts, responses):
        self.batches.append(list(responses))
        self.began.set()
        assert self.free.wait(10)
        if "boom" in responses:
            raise ValueError("boom")
        if "broken" in responses:
            return torch.full((len(responses),), float("nan"))
        return torch.tensor([10.0 * len(r.split()) + len(p.split()) for p, r in zip(prompts, responses, strict=True)])


class Running:
    """A server in a thread, and a client for it."""

    def __init__(self, scorer, token=None):
        self.told = []
        app = make_app(scorer, name="test", limits=LIMITS, token=token, notice=self.told.append)
        self.queue = app.state.scorer
        place = bound("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{place.getsockname()[1]}"
        self.port, ready = place.getsockname()[1], threading.Event()
        self.server = None

        class Kept(reward._Server):
            def __init__(inner, *options):
                super().__init__(*options)
                self.server = inner

        plain, reward._Server = reward._Server, Kept
        self.thread = threading.Thread(target=reward.serve, args=(app, place), kwargs={"ready": ready.set})
        self.thread.start()
        assert ready.wait(10)
        reward._Server = plain
        self.client = httpx.Client(base_url=self.address, trust_env=False, timeout=10)

    def score(self, prompts, responses, **options):
        return self.client.post("/score", json={"prompts": prompts, "responses": responses}, **options)

    def counter(self, name):
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"appliance_reward_{name}"))

    def stop(self):
        self.server.should_exit = True

    def close(self):
        self.client.close()
        self.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def scorer():
    return Slow()


@pytest.fixture
def server(scorer):
    made = Running(scorer)
    yield made
    scorer.free.set()
    made.close()


def test_the_http_source_gets_what_the_model_gives(server):
    ask = source.make(source.Options(url=server.address, batch=2), CPU)
    assert ask(["a", "a b", ""], ["x", "", "x y z"]).tolist() == [11.0, 2.0, 30.0]
    assert server.counter("texts_total") == 3
    assert server.counter('requests_total{status="200"}') == 2


def test_health_names_the_model_and_nothing_else_is_there(server):
    assert server.client.get("/healthz").json() == {"status": "ok", "model": "test"}
    for path in ("/", "/docs", "/openapi.json", "/redoc"):
        assert server.client.get(path).status_code == 404
    assert server.client.get("/score").status_code == 405


def test_counters_are_in_the_format_of_prometheus(server):
    server.score(["a"], ["x"])
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'appliance_reward_requests_total{status="200"} 1' in lines
    assert "appliance_reward_errors_total 0" in lines
    assert "# TYPE appliance_reward_texts_total counter" in lines
    assert all(line.startswith(("# HELP ", "# TYPE ", "appliance_reward_")) for line in lines)


def test_requests_that_wait_together_are_scored_together(server, scorer):
    scorer.free.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(server.score, ["p"], ["one"])
        assert scorer.began.wait(10)
        others = [pool.submit(server.score, ["p"], [text]) for text in ("a a", "b b")]
        wait_until(lambda: server.queue.texts == 3)
        scorer.free.set()
        assert first.result().json() == {"scores": [11.0]}
        assert [other.result().json() for other in others] == [{"scores": [21.0]}] * 2
    assert scorer.batches[0] == ["one"]
    assert sorted(scorer.batches[1]) == ["a a", "b b"]


def wait_until(true):
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never came true")


def test_a_request_over_the_batch_is_read_in_pieces(server, scorer):
    assert server.score(["p"] * 4, ["a", "b", "c", "d"]).json() == {"scores": [11.0] * 4}
    assert scorer.batches == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 422, "not JSON"),
        (b"[" * 100_000, 422, "not JSON"),
        (b"\xff", 422, "not JSON"),
        (b"[]", 422, "keys prompts and responses"),
        (b'{"prompts": []}', 422, "keys prompts and responses"),
        (b'{"prompts": [], "responses": [], "model": 1}', 422, "no others"),
        (b'{"prompts": "a", "responses": "b"}', 422, "prompts must be a list of texts"),
        (b'{"prompts": [1], "responses": ["b"]}', 422, "prompts must be a list of texts"),
        (b'{"prompts": ["a", "b"], "responses": ["b"]}', 422, "2 prompts and 1 responses"),
        (b'{"prompts": ["a"], "responses": ["\\ud800"]}', 422, "half of a surrogate pair"),
        (json.dumps({"prompts": ["a"] * 5, "responses": ["b"] * 5}).encode(), 413, "5 texts in one request; send at most 4"),
        (json.dumps({"prompts": ["a" * 15], "responses": ["b" * 16]}).encode(), 413, "text 0 has 31 characters"),
        (b" " * (2**20 + 1), 413, "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_answered_with_why(server, scorer, content, status, message):
    answer = server.client.post("/score", content=content)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert scorer.batches == []
    assert server.counter("errors_total") == 1


def test_no_texts_are_no_scores(server, scorer):
    assert server.score([], []).json() == {"scores": []}
    assert scorer.batches == []


def test_a_body_of_no_announced_size_is_cut_off_at_the_limit(server):
    """The server answers while the client is still sending: the rest is never read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/score")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for _ in range(17):  # of 64 KiB: just over 1 MiB, and the end is never sent
        connection.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
    answer = connection.getresponse()
    assert answer.status == 413
    assert "larger than 1 MiB" in json.loads(answer.read())["error"]
    connection.close()


def test_a_text_that_the_model_fails_on_spoils_no_other_and_the_server_goes_on(server, scorer):
    scorer.free.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(server.score, ["p"], ["one"])
        assert scorer.began.wait(10)
        bad, good = pool.submit(server.score, ["p"], ["boom"]), pool.submit(server.score, ["p"], ["two"])
        wait_until(lambda: server.queue.texts == 3)
        scorer.free.set()
        assert first.result().status_code == 200
        assert (bad.result().status_code, bad.result().json()) == (500, {"error": "the model failed: ValueError"})
        assert good.result().json() == {"scores": [11.0]}
    assert "boom" in server.told[0]  # the traceback is the server's own, not the client's
    broken = server.score(["p"], ["broken"])
    assert broken.status_code == 500
    assert "nan for 1 of 1 texts" in broken.json()["error"]
    assert server.score(["p"], ["x"]).json() == {"scores": [11.0]}


def test_too_much_waiting_is_told_to_come_again(server, scorer, monkeypatch):
    monkeypatch.setattr(reward.Scorer, "submit", lambda *_: (_ for _ in ()).throw(reward.Busy))
    answer = server.score(["p"], ["r"])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_queue_refuses_what_is_over_its_room(scorer):
    made = reward.Scorer(scorer, batch=2, waiting=3, counters=reward.Counters(), notice=print)
    scorer.free.clear()
    large = made.submit(["p"] * 9, ["r"] * 9)  # more than the room, but nothing waits: it is taken
    with pytest.raises(reward.Busy):
        made.submit(["p"], ["r"])
    scorer.free.set()
    assert large.result(10) == [11.0] * 9
    wait_until(lambda: made.texts == 0)
    assert made.submit(["p"], ["r"]).result(10) == [11.0]
    made.close()
    with pytest.raises(reward.Busy):
        made.submit(["p"], ["r"])


def test_a_request_that_nobody_waits_for_any_more_is_left_out(scorer):
    made = reward.Scorer(scorer, batch=2, waiting=9, counters=reward.Counters(), notice=print)
    scorer.free.clear()
    first = made.submit(["p"], ["r"])
    assert scorer.began.wait(10)
    gone = made.submit(["p", "p"], ["r", "r"])
    assert gone.cancel()
    scorer.free.set()
    assert first.result(10) == [11.0]
    assert made.submit(["p"], ["r r"]).result(10) == [21.0]
    assert ["r", "r"] not in scorer.batches
    wait_until(lambda: made.texts == 0)
    made.close()


def test_a_token_is_asked_for(scorer):
    server = Running(scorer, token="s3cret")
    try:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "s3cret"}):
            answer = server.score(["p"], ["r"], headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert server.score(["p"], ["r"], headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert server.client.get("/healthz").status_code == 200
        assert scorer.batches == [["r"]]
        with pytest.raises(RewardUnavailable, match="refused the texts; it answered 401"):
            source.make(source.Options(url=server.address), CPU)(["p"], ["r"])
    finally:
        server.close()


def test_what_is_under_way_is_answered_before_the_end(scorer):
    server = Running(scorer)
    scorer.free.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.score, ["p"], ["last words"])
        assert scorer.began.wait(10)
        server.stop()
        wait_until(lambda: not server.server.servers[0].is_serving())
        scorer.free.set()
        assert answer.result().json() == {"scores": [21.0]}
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/healthz", trust_env=False)


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded():
    first = bound("127.0.0.1", 0)
    first.listen()
    with pytest.raises(ApplianceError, match=r"port .* cannot be had: .*in use"):
        bound("127.0.0.1", first.getsockname()[1])
    with pytest.raises(ApplianceError, match="cannot be had"):
        bound("256.0.0.1", 0)
    first.close()
