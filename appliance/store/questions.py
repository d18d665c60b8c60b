"""Prompts that people try on a finished run. The worker answers them, oldest first, when there is room for both models."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import func, select, update

from appliance.errors import ApplianceError
from appliance.store.db import Store
from appliance.store.schema import Question, Run

LONGEST = 8000
"""Characters of a prompt."""

MOST_WAITING = 5
"""Questions of one person that may wait at a time."""


def ask(store: Store, run_id: int, owner_id: int | None, prompt: str) -> Question:
    """Put a prompt to both models of a run. Raises ApplianceError when it is empty or too long, or too many wait."""
    if not prompt.strip():
        raise ApplianceError("the prompt is empty", "type the text that both models are to continue")
    if len(prompt) > LONGEST:
        raise ApplianceError(f"the prompt has {len(prompt):,} characters, {LONGEST:,} are allowed", "shorten it")
    with store.session() as session:
        run = session.get(Run, run_id)
        if run is None or run.state != "done" or run.stage == "reward":
            raise ApplianceError(
                "this run has no answers to compare" if run else f"there is no run number {run_id}",
                "choose a finished run that trained a writing model",
            )
        mine = (Question.owner_id == owner_id, Question.state.in_(("queued", "answering")))
        waiting = session.scalar(select(func.count()).select_from(Question).where(*mine)) or 0
        if waiting >= MOST_WAITING:
            raise ApplianceError(f"{waiting} of your questions wait already", "wait for their answers first")
        made = Question(
            id=secrets.token_hex(16), run_id=run_id, owner_id=owner_id, prompt=prompt, created=store.clock()
        )
        session.add(made)
        session.flush()
        return made


def get(store: Store, question_id: str) -> Question:
    """The question with its answer, if it has one. Raises ApplianceError when there is none of that id."""
    with store.reading() as session:
        found = session.get(Question, question_id)
    if found is None:
        raise ApplianceError("there is no such question", "ask again")
    return found


def recent(store: Store, run_id: int, owner_id: int | None, *, limit: int = 20) -> list[Question]:
    """What a user asked of a run, latest first."""
    query = select(Question).where(Question.run_id == run_id, Question.owner_id == owner_id)
    with store.reading() as session:
        return list(session.scalars(query.order_by(Question.created.desc(), Question.id).limit(limit)))


def oldest(store: Store) -> Question | None:
    """The question that waits longest."""
    query = select(Question).where(Question.state == "queued").order_by(Question.created, Question.id).limit(1)
    with store.reading() as session:
        return session.scalar(query)


def take(store: Store, question_id: str, worker_id: str) -> bool:
    """Begin to answer it; False when another worker does."""
    return _move(store, question_id, "queued", state="answering", message=None, worker_id=worker_id)


def waits(store: Store, question_id: str, why: str) -> None:
    """Say why it is not answered yet."""
    _move(store, question_id, "queued", message=why)


def partial(store: Store, question_id: str, answer: dict[str, Any]) -> None:
    """What has been written so far."""
    _move(store, question_id, "answering", answer=answer)


def answer(store: Store, question_id: str, answer: dict[str, Any]) -> None:
    """Both models have answered: {"before": {"text": ..., "seconds": ...}, "after": {...}}."""
    _move(store, question_id, "answering", state="done", answer=answer, message=None)


def fail(store: Store, question_id: str, message: str) -> None:
    """It cannot be answered."""
    with store.session() as session:
        session.execute(update(Question).where(Question.id == question_id).values(state="failed", message=message))


def put_back(store: Store, worker_id: str) -> None:
    """Questions that the worker left in the middle wait again."""
    mine = (Question.state == "answering", Question.worker_id == worker_id)
    with store.session() as session:
        session.execute(update(Question).where(*mine).values(state="queued", answer=None))


def _move(store: Store, question_id: str, expected: str, **values: Any) -> bool:
    with store.session() as session:
        changed = session.execute(
            update(Question).where(Question.id == question_id, Question.state == expected).values(**values)
        )
    return bool(changed.rowcount)
