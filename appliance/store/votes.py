"""Blind comparisons: what a rater is shown next, and what they said of it. Nothing here is lost by a reload or a second tab.

Flow: a batch holds items (a prompt and its answers); a rater is assigned an item at a place of their own order, its
answers shuffled; the vote is one row under that assignment. Every order is drawn once and stored. A tenth of the places
are repeats of what the rater has judged before, the sides the other way round.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, select
from sqlalchemy.exc import IntegrityError

from appliance.errors import ApplianceError
from appliance.store.schema import Assignment, Vote, VoteBatch, VoteItem
from appliance.store.vote_batches import MODES, batch_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from appliance.store.db import Store

REPEAT_DISTANCE = 5
"""Places between the first time and its repeat, at least."""

LONGEST_S = 3600.0
"""A vote that took longer was a break."""


class VoteConflict(ApplianceError):
    """Another vote on the same assignment counts already: from another tab, or from before a reload."""


@dataclass(frozen=True)
class Shown:
    """What a rater sees: the answers in the order drawn for them, and nothing of where those came from."""

    assignment_id: int
    batch_id: int
    mode: str
    place: int
    prompt: str
    texts: list[str]


@dataclass(frozen=True)
class Standing:
    """How far a rater is in a batch: votes that count, places there will be, and when the last vote was saved."""

    done: int
    total: int
    saved: float | None


def next_item(store: Store, batch_id: int, user_id: int) -> Shown | None:
    """What this rater is to judge now; the same until a vote is cast. None: nothing is left.

    Raises ApplianceError for a batch that is closed or not there.
    """
    for _ in range(3):  # two tabs may draw the same place; the second finds what the first stored
        try:
            with store.session() as session:
                batch = batch_of(session, batch_id)
                if batch.closed:
                    raise ApplianceError(f"the voting {batch.name!r} is closed", "ask for another one")
                waiting = session.scalar(
                    select(Assignment)
                    .where(Assignment.batch_id == batch_id, Assignment.user_id == user_id, ~_voted())
                    .order_by(Assignment.place)
                    .limit(1)
                )
                assignment = waiting or _assign(session, batch, user_id)
                return None if assignment is None else _shown(session, batch, assignment)
        except IntegrityError:
            continue
    raise ApplianceError("the next pair could not be drawn: another tab draws at the same time", "reload the page")


def _voted() -> Any:
    return exists().where(Vote.assignment_id == Assignment.id, Vote.undone.is_(None))


def _assign(session: Session, batch: VoteBatch, user_id: int) -> Assignment | None:
    """A new place in the rater's order: a repeat where one is due, else the item that was judged least so far."""
    mine = list(
        session.scalars(
            select(Assignment)
            .where(Assignment.batch_id == batch.id, Assignment.user_id == user_id)
            .order_by(Assignment.place)
        )
    )
    place = len(mine)
    draw = random.Random(f"{batch.id} {user_id} {place}")
    repeated = {one.item_id for one in mine if one.is_repeat}
    due = int((place + 1) * batch.repeat_share / (1 + batch.repeat_share)) > len(repeated)
    old = [
        one
        for one in mine
        if not one.is_repeat and one.item_id not in repeated and one.place <= place - REPEAT_DISTANCE
    ]
    if due and old:
        first = draw.choice(old)
        assignment = Assignment(item_id=first.item_id, order=first.order[::-1], is_repeat=True)
    else:
        item = _fresh_item(session, batch.id, {one.item_id for one in mine}, draw)
        if item is None:
            return None
        order = list(range(len(item.responses)))
        draw.shuffle(order)
        assignment = Assignment(item_id=item.id, order=order, is_repeat=False)
    assignment.batch_id, assignment.user_id, assignment.place = batch.id, user_id, place
    session.add(assignment)
    session.flush()
    return assignment


def _fresh_item(session: Session, batch_id: int, seen: set[int], draw: random.Random) -> VoteItem | None:
    """An item that this rater has not seen. Half of the time one that exactly one other has judged: agreement needs two."""
    judged = (
        select(Assignment.item_id, func.count().label("votes"))
        .where(Assignment.batch_id == batch_id, ~Assignment.is_repeat, _voted())
        .group_by(Assignment.item_id)
        .subquery()
    )
    found = session.execute(
        select(VoteItem, func.coalesce(judged.c.votes, 0))
        .outerjoin(judged, judged.c.item_id == VoteItem.id)
        .where(VoteItem.batch_id == batch_id)
        .order_by(VoteItem.id)
    ).all()
    left = [(item, votes) for item, votes in found if item.id not in seen]
    if not left:
        return None
    once = [item for item, votes in left if votes == 1]
    if once and draw.random() < 0.5:
        return draw.choice(once)
    least = min(votes for _, votes in left)
    return draw.choice([item for item, votes in left if votes == least])


def _shown(session: Session, batch: VoteBatch, assignment: Assignment) -> Shown:
    item = session.get_one(VoteItem, assignment.item_id)
    texts = [item.responses[index] for index in assignment.order]
    return Shown(assignment.id, batch.id, batch.mode, assignment.place, item.prompt, texts)


def cast(
    store: Store,
    assignment_id: int,
    user_id: int,
    *,
    key: str,
    choice: str,
    seconds: float,
    ranking: Sequence[int] | None = None,
    reason: str = "",
) -> float:
    """Save a vote and return when it was saved. The same `key` again changes nothing and returns the first time.

    `ranking` holds the places as shown, best first, for choice ranked. Raises VoteConflict when another vote on this
    assignment counts already, ApplianceError for an assignment of somebody else or a choice that the mode does not have.
    """
    saved = store.clock()
    try:
        with store.session() as session:
            before = session.scalar(select(Vote).where(Vote.key == key))
            if before is not None:
                return before.created
            assignment = session.get(Assignment, assignment_id)
            if assignment is None or assignment.user_id != user_id:
                raise ApplianceError("this pair was not given to you", "reload the page")
            _check(batch_of(session, assignment.batch_id), assignment, choice, ranking)
            session.add(
                Vote(
                    assignment_id=assignment_id,
                    key=key,
                    choice=choice,
                    ranking=list(ranking) if ranking is not None else None,
                    reason=reason[:255],
                    seconds=min(max(seconds, 0.0), LONGEST_S),
                    created=saved,
                )
            )
    except IntegrityError:
        with store.reading() as session:
            same = session.scalar(select(Vote).where(Vote.key == key))
        if same is not None:
            return same.created
        raise VoteConflict("you have judged this one already, in another tab", "go on with the next one") from None
    return saved


def _check(batch: VoteBatch, assignment: Assignment, choice: str, ranking: Sequence[int] | None) -> None:
    if choice not in MODES[batch.mode]:
        raise ApplianceError(f"{choice!r} is no answer here", f"choose one of {', '.join(MODES[batch.mode])}")
    places = list(range(len(assignment.order)))
    if (choice == "ranked") != (ranking is not None) or (ranking is not None and sorted(ranking) != places):
        raise ApplianceError("the order is not complete", "choose every answer once, the best first")
    if batch.closed:
        raise ApplianceError(f"the voting {batch.name!r} is closed", "ask for another one")


def undo(store: Store, batch_id: int, user_id: int) -> bool:
    """Take back this rater's newest vote of the batch, so that its item is shown again; False: there is none."""
    with store.session() as session:
        last = session.scalar(
            select(Vote)
            .join(Assignment)
            .where(Assignment.batch_id == batch_id, Assignment.user_id == user_id, Vote.undone.is_(None))
            .order_by(Vote.id.desc())
            .limit(1)
        )
        if last is None:
            return False
        last.undone = store.clock()
        return True


def standing(store: Store, batch_id: int, user_id: int) -> Standing:
    """How far this rater is. The total counts the repeats that are to come."""
    with store.reading() as session:
        batch = batch_of(session, batch_id)
        items = session.scalar(select(func.count()).where(VoteItem.batch_id == batch_id)) or 0
        done, saved = session.execute(
            select(func.count(), func.max(Vote.created))
            .select_from(Vote)
            .join(Assignment)
            .where(Assignment.batch_id == batch_id, Assignment.user_id == user_id, Vote.undone.is_(None))
        ).one()
        repeats = _repeats_of(items, batch.repeat_share)
        return Standing(done, max(items + repeats, done), saved)


def _repeats_of(items: int, share: float) -> int:
    """How many repeats `_assign` places before the items run out."""
    place = repeats = fresh = 0
    while fresh < items:
        due = int((place + 1) * share / (1 + share)) > repeats
        if due and place >= REPEAT_DISTANCE:
            repeats += 1
        else:
            fresh += 1
        place += 1
    return repeats
