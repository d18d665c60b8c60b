"""Try your own prompt: both models, warm, the same answers each time, and never beside a training that does not fit."""

import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from appliance.config import parse
from appliance.stages.generation import both_sides
from appliance.store import questions, rundir, runs
from appliance.worker import answering, room
from appliance.worker.answers import pieces


@pytest.fixture(scope="module")
def sides(tiny_yaml, folder_of, tmp_path_factory):
    """A run folder whose result is another model of the same tokenizer, and what both write."""
    run = rundir.create(tmp_path_factory.mktemp("finished") / "tiny", parse(yaml.safe_load(tiny_yaml), origin="x"))
    run.model.symlink_to(folder_of("llama"))
    return run.path, both_sides(run)


@pytest.fixture
def finished(store, tiny_yaml, sides):
    """A run that is done, in that folder."""
    run = runs.enqueue(store, config_yaml=tiny_yaml, name="tiny", stage="ppo", owner_id=None, key=None)
    runs.claim(store, "w")
    runs.finish(store, run.id, "done")
    with store.session() as session:
        session.get(type(run), run.id).folder = str(sides[0])
    return run


def answered(store, question):
    return lambda: questions.get(store, question.id).state in ("done", "failed")


def test_the_first_words_come_first_and_are_those_of_the_whole_answer(sides):
    both = dict(sides[1])
    for writer in both.values():
        writer.sampling = writer.sampling.model_copy(
            update={"response_tokens": type(writer.sampling.response_tokens)(low=40, high=40), "stop_at_eos": False}
        )
        writer.engine = None
    found = list(pieces(both, "w1 w2", 7))
    assert [(piece["side"], piece["finished"]) for piece in found] == [
        *(("before", False), ("after", False)) * 2,
        ("before", True),
        ("after", True),
    ]
    for side in ("before", "after"):
        first, second, whole = (piece["text"].split() for piece in found if piece["side"] == side)
        assert whole[: len(first)] == first
        assert whole[: len(second)] == second
        assert len(first) <= 8 <= len(second) <= 32 <= len(whole)
    assert found[-1]["text"] != found[-2]["text"]  # two models


def test_questions_are_answered_by_both_models_and_the_same_way_again(store, finished, make_worker, until):
    worker = make_worker()
    first = questions.ask(store, finished.id, None, "w1 w2")
    until(answered(store, first), worker)
    found = questions.get(store, first.id)
    assert found.state == "done", found.message
    assert {side: told["finished"] for side, told in found.answer.items()} == {"before": True, "after": True}
    process = worker.desk.warm.process.pid
    bad = questions.ask(store, finished.id, None, "w1 " * 80)  # longer than the model can read
    second = questions.ask(store, finished.id, None, "w1 w2")
    until(answered(store, second), worker)
    assert worker.desk.warm.process.pid == process  # warm
    assert questions.get(store, bad.id).state == "failed"
    assert "fix:" in questions.get(store, bad.id).message
    texts = [
        {side: told["text"] for side, told in questions.get(store, one.id).answer.items()} for one in (first, second)
    ]
    assert texts[0] == texts[1]


STUB = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["prompt"] == "die":
        sys.exit(3)
    for side in ("before", "after") if asked["prompt"] != "wait" else ():
        told = {"id": asked["id"], "side": side, "text": side, "seconds": 0.0, "finished": True}
        print(json.dumps(told), flush=True)
"""


@pytest.fixture
def stub(monkeypatch):
    """In place of the process with the models: one that answers at once, or dies of the prompt "die"."""
    monkeypatch.setattr(answering, "command", lambda run: [sys.executable, "-c", STUB])


@pytest.fixture
def gib(monkeypatch):
    """gib(free=..., answering=..., training=...): what is there and what is needed."""

    def say(*, free, answering, training):
        monkeypatch.setattr(room, "available_bytes", lambda: free * room.GIB)
        monkeypatch.setattr(room, "answering_bytes", lambda folder: answering * room.GIB)
        monkeypatch.setattr(room, "training_bytes", lambda config: training * room.GIB)

    return say


def test_models_that_nobody_asks_are_let_go_after_ten_minutes(store, finished, make_worker, until, stub, monotonic):
    worker = make_worker()
    question = questions.ask(store, finished.id, None, "hello")
    until(answered(store, question), worker)
    process = worker.desk.warm.process
    monotonic.ahead += 599
    worker.turn()
    assert process.poll() is None
    monotonic.ahead += 2
    worker.turn()
    assert worker.desk.warm is None
    assert process.poll() == -signal.SIGKILL


def test_a_process_that_dies_fails_the_question_and_the_next_is_answered(store, finished, make_worker, until, stub):
    worker = make_worker()
    first = questions.ask(store, finished.id, None, "die")
    until(answered(store, first), worker)
    assert "died" in questions.get(store, first.id).message
    second = questions.ask(store, finished.id, None, "hello")
    until(answered(store, second), worker)
    assert questions.get(store, second.id).answer["after"]["text"] == "after"


def test_a_training_that_does_not_fit_beside_the_models_ends_them_and_the_question_waits(
    store, finished, make_worker, until, stub, gib, pretend
):
    gib(free=4, answering=3, training=2)
    worker = make_worker()
    question = questions.ask(store, finished.id, None, "wait")
    until(lambda: worker.desk.busy, worker)
    gib(free=1, answering=3, training=2)
    run = pretend("steps")
    until(lambda: worker.following is not None, worker)
    assert worker.desk.warm is None
    for _ in range(3):
        worker.turn()
    waiting = questions.get(store, question.id)
    assert waiting.state == "queued"
    assert waiting.message.startswith("waiting: a training is running, and the models do not fit beside it")
    gib(free=4, answering=3, training=2)  # the training turned out small
    until(lambda: worker.desk.busy, worker)
    assert runs.get(store, run.id).state in ("starting", "running")


def test_a_question_whose_models_do_not_fit_at_all_is_told_so(store, finished, make_worker, until, gib):
    gib(free=2, answering=3, training=0)
    question = questions.ask(store, finished.id, None, "hello")
    until(answered(store, question), make_worker())
    assert questions.get(store, question.id).message == "both models need about 3.0 GiB of memory, 2.0 are free"


def test_the_process_with_the_models_does_not_outlive_its_worker(store, finished, worker_process, until):
    worker = worker_process()
    question = questions.ask(store, finished.id, None, "hello")
    until(answered(store, question))
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert len(children) == 1
    worker.kill()
    worker.wait()
    until(lambda: not Path(f"/proc/{children[0]}/stat").exists() or _zombie(int(children[0])))


def _zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_guess_of_room_counts_the_weights(tmp_path, tiny_yaml):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x" * 1000)
    assert room.answering_bytes(tmp_path) == room.GIB + 5000
    text = f"stage: ppo\npolicy: {{model: {tmp_path / 'model'}}}\nreward: {{source: length}}\n"
    assert room.training_bytes(text) == room.GIB + 10_000
    assert 0 < room.available_bytes() < 2**50
    assert os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >= room.available_bytes()
