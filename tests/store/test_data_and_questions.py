"""Uploads and whose they are; questions to a run's models; the audit log; transactions."""

import os
import stat

import pytest
from sqlalchemy.exc import IntegrityError

from appliance.errors import ApplianceError
from appliance.store import audit, datasets, questions, runs, workers
from appliance.store.schema import Audit, Run, User


@pytest.fixture
def people(store):
    """Two users."""
    with store.session() as session:
        found = [User(name=name, password_hash="x", role="trainer", created=0.0) for name in ("anna", "ben")]
        session.add_all(found)
        session.flush()
    return found


def test_an_upload_is_moved_into_a_folder_of_its_own(store, people, tmp_path):
    source = tmp_path / "temporary.csv"
    source.write_text("text\nhello\n")
    made = datasets.add(
        store, name="../../My prompts!.csv", kind="prompts", source=source, rows=1, owner_id=people[0].id, column="text"
    )
    path = datasets.path_of(store, made)
    assert path == store.data / "uploads" / made.id / "My_prompts_.csv"
    assert path.read_text() == "text\nhello\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (made.size_bytes, made.rows, made.column) == (11, 1, "text")
    assert not source.exists()


def test_anothers_upload_is_not_there(store, people, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("x")
    anna, ben = (person.id for person in people)
    mine = datasets.add(store, name="a.txt", kind="prompts", source=source, rows=1, owner_id=anna, move=False)
    nobodys = datasets.add(store, name="b.txt", kind="prompts", source=source, rows=1, owner_id=None)
    assert datasets.get(store, mine.id, owner_id=anna).id == mine.id
    with pytest.raises(ApplianceError, match="no such upload"):
        datasets.get(store, mine.id, owner_id=ben)
    assert [found.id for found in datasets.list_datasets(store, owner_id=ben)] == [nobodys.id]
    assert len(datasets.list_datasets(store, kind="prompts")) == 2
    assert datasets.list_datasets(store, kind="preferences") == []


def test_a_deleted_upload_leaves_nothing(store, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("abc")
    made = datasets.add(store, name="a.txt", kind="prompts", source=source, rows=1, owner_id=None)
    assert datasets.delete(store, made.id) == 3
    assert datasets.delete(store, made.id) == 0
    assert list((store.data / "uploads").iterdir()) == []


def test_an_upload_cut_short_is_swept_away(store, clock, tmp_path):
    with pytest.raises(FileNotFoundError):
        datasets.add(store, name="a", kind="prompts", source=tmp_path / "none", rows=1, owner_id=None)
    left = store.data / "uploads" / "halfway"
    left.mkdir(parents=True)
    os.utime(left, (clock.now, clock.now))
    datasets.sweep(store)
    assert left.exists()  # perhaps it is at work
    clock.now += 3601
    datasets.sweep(store)
    assert list((store.data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.csv", "a.csv"),
        ("C:\\x\\ä ö.txt", "_.txt"),
        ("..", "upload"),
        (".env", "env"),
        ("x" * 200 + ".json", "x" * 80 + ".json"),
    ],
)
def test_file_names_are_made_harmless(name, safe):
    assert datasets.safe_name(name) == safe


@pytest.fixture
def finished(store, config_yaml):
    """A run that is done."""
    run = runs.enqueue(store, config_yaml=config_yaml, name="tiny", stage="ppo", owner_id=None, key=None)
    runs.claim(store, "w")
    runs.finish(store, run.id, "done")
    return run.id


def test_a_question_is_answered_once(store, people, finished):
    asked = questions.ask(store, finished, people[0].id, "Once upon")
    assert questions.oldest(store).id == asked.id
    assert questions.take(store, asked.id, "w")
    assert not questions.take(store, asked.id, "v")
    questions.partial(store, asked.id, {"before": {"text": "a"}})
    questions.put_back(store, "v")  # another worker's
    assert questions.get(store, asked.id).state == "answering"
    questions.put_back(store, "w")
    assert questions.get(store, asked.id).state == "queued"
    assert questions.take(store, asked.id, "v")
    questions.answer(store, asked.id, {"before": {"text": "a"}, "after": {"text": "b"}})
    found = questions.get(store, asked.id)
    assert (found.state, found.answer["after"]["text"]) == ("done", "b")
    assert [one.id for one in questions.recent(store, finished, people[0].id)] == [asked.id]
    assert questions.recent(store, finished, people[1].id) == []


def test_questions_that_cannot_be_asked(store, people, finished, config_yaml):
    with pytest.raises(ApplianceError, match="prompt is empty"):
        questions.ask(store, finished, people[0].id, "  ")
    with pytest.raises(ApplianceError, match="8,001 characters, 8,000 are allowed"):
        questions.ask(store, finished, people[0].id, "x" * 8001)
    with pytest.raises(ApplianceError, match="no run number"):
        questions.ask(store, 99, people[0].id, "x")
    for _ in range(questions.MOST_WAITING):
        questions.ask(store, finished, people[0].id, "x")
    with pytest.raises(ApplianceError, match="5 of your questions wait"):
        questions.ask(store, finished, people[0].id, "x")
    questions.ask(store, finished, people[1].id, "x")


def test_the_audit_log_outlives_the_user(store, people, clock):
    audit.record(store, people[0], "start", "run tiny", {"run": 1})
    clock.now += 1
    audit.record(store, None, "resume", "run tiny")
    with store.session() as session:
        session.delete(session.get(User, people[0].id))
    latest, first = audit.entries(store)
    assert (latest.user_name, latest.action) == ("appliance", "resume")
    assert (first.user_name, first.user_id, first.detail) == ("anna", None, {"run": 1})
    assert [entry.id for entry in audit.entries(store, action="start")] == [first.id]
    assert [entry.id for entry in audit.entries(store, user_name="appliance")] == [latest.id]


def test_the_audit_log_names_its_actions_once_each(store):
    assert audit.actions(store) == []
    for action in ("stop", "delete", "stop"):
        audit.record(store, None, action)
    assert audit.actions(store) == ["delete", "stop"]


def test_an_error_in_a_session_changes_nothing(store, finished):
    nobody = User(name="x", password_hash="x", role="nonsense", created=0.0)
    with pytest.raises(IntegrityError), store.session() as session:
        session.add_all([Audit(at=0.0, user_name="x", action="never"), nobody])
    assert audit.entries(store) == []
    assert runs.get(store, finished).note == ""


def test_a_reading_session_does_not_wait_for_a_writer(store, finished):
    with store.session() as writer:
        writer.get(Run, finished).note = "written"
        writer.flush()
        assert runs.get(store, finished).note == ""
    assert runs.get(store, finished).note == "written"


def test_a_worker_is_heard_of_until_it_leaves(store, clock):
    workers.beat(store, "cpu-1", host="here", pid=7, device="cpu")
    clock.now += 20
    workers.beat(store, "cpu-1", host="here", pid=7, device="cpu")
    clock.now += 20
    [found] = workers.heard_of(store)
    assert (found.started, found.heartbeat) == (clock.now - 40, clock.now - 20)
    clock.now += 20
    assert workers.heard_of(store) == []
    assert [workers.is_silent(store, worker) for worker in workers.known(store)] == [True]
    workers.beat(store, "cpu-1", host="here", pid=8, device="cpu")
    assert workers.heard_of(store)[0].started == clock.now
    workers.leave(store, "cpu-1")
    assert workers.heard_of(store) == workers.known(store) == []
