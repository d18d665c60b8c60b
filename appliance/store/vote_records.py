"""Votes read back: who said what of which answers, and what a reward model can learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from appliance.data.rankings import Ranking
from appliance.store.schema import Assignment, RaterExclusion, User, Vote, VoteItem

if TYPE_CHECKING:
    from appliance.store.db import Store


@dataclass(frozen=True)
class VoteRecord:
    """A vote that counts, with its item. `ranks` are per response in the item's own order, 1 best; None: skipped."""

    vote_id: int
    batch_id: int
    item_id: int
    prompt: str
    responses: list[str]
    origins: list[str]
    user_id: int
    user_name: str
    order: list[int]
    is_repeat: bool
    choice: str
    ranks: tuple[int, ...] | None
    reason: str
    seconds: float
    created: float
    excluded: bool


def exclude(store: Store, batch_id: int, user_id: int, *, excluded: bool = True) -> None:
    """Leave a rater's votes of a batch out of everything that is made of votes, or take them in again."""
    with store.session() as session:
        present = session.get(RaterExclusion, (batch_id, user_id))
        if excluded and present is None:
            session.add(RaterExclusion(batch_id=batch_id, user_id=user_id, created=store.clock()))
        elif not excluded and present is not None:
            session.delete(present)


def records(store: Store, batch_id: int | None = None) -> list[VoteRecord]:
    """Every vote that was not taken back, in the order in which they were cast; of one batch, or of all."""
    query = (
        select(Vote, Assignment, VoteItem, User.name, RaterExclusion.user_id)
        .join(Assignment, Vote.assignment_id == Assignment.id)
        .join(VoteItem, Assignment.item_id == VoteItem.id)
        .join(User, Assignment.user_id == User.id)
        .outerjoin(
            RaterExclusion,
            (RaterExclusion.batch_id == Assignment.batch_id) & (RaterExclusion.user_id == Assignment.user_id),
        )
        .where(Vote.undone.is_(None))
        .order_by(Vote.id)
    )
    if batch_id is not None:
        query = query.where(Assignment.batch_id == batch_id)
    with store.reading() as session:
        return [
            VoteRecord(
                vote_id=vote.id,
                batch_id=assignment.batch_id,
                item_id=item.id,
                prompt=item.prompt,
                responses=list(item.responses),
                origins=list(item.origins),
                user_id=assignment.user_id,
                user_name=name,
                order=list(assignment.order),
                is_repeat=assignment.is_repeat,
                choice=vote.choice,
                ranks=ranks(vote.choice, vote.ranking, assignment.order),
                reason=vote.reason,
                seconds=vote.seconds,
                created=vote.created,
                excluded=excluded is not None,
            )
            for vote, assignment, item, name, excluded in session.execute(query)
        ]


def ranks(choice: str, ranking: Sequence[int] | None, order: Sequence[int]) -> tuple[int, ...] | None:
    """The rank of each response in the item's own order, 1 best, equal for a tie; None for a vote that was skipped.

    order[i] is the response that stood at place i; `ranking` holds places, best first.
    """
    if choice == "skip":
        return None
    if choice in ("same", "both_bad"):
        return (1,) * len(order)
    best_first = list(ranking) if ranking is not None else [0, 1] if choice == "a" else [1, 0]
    found = [0] * len(order)
    for rank, place in enumerate(best_first, start=1):
        found[order[place]] = rank
    return tuple(found)


def rankings(votes: Sequence[VoteRecord]) -> list[Ranking]:
    """What a reward model can learn from: votes of raters who are not excluded, no skips, no repeats; ties stay ties."""
    return [
        Ranking(vote.prompt, tuple(vote.responses), vote.ranks)
        for vote in votes
        if vote.ranks is not None and not vote.is_repeat and not vote.excluded
    ]
