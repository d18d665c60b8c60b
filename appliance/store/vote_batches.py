"""What raters are asked to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from appliance.errors import ApplianceError
from appliance.store.schema import VoteBatch, VoteItem

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from appliance.store.db import Store

MODES = {"pair": ("a", "b", "same", "both_bad", "skip"), "best_of_4": ("ranked", "same", "both_bad", "skip")}
"""What a vote of each mode may say."""


def create_batch(
    store: Store,
    *,
    name: str,
    mode: str,
    items: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    run_id: int | None = None,
    guideline: str = "",
    repeat_share: float = 0.1,
) -> int:
    """The id of a new batch of (prompt, responses, origins). Raises ApplianceError when there is nothing to compare."""
    wanted = 2 if mode == "pair" else 4
    usable = [item for item in items if len(item[1]) == wanted and len(set(item[1])) == wanted]
    if not usable:
        raise ApplianceError(
            f"none of the {len(items)} prompts has {wanted} different answers to compare",
            "choose a run whose answers changed, or more samples in its report",
        )
    with store.session() as session:
        batch = VoteBatch(
            name=name,
            run_id=run_id,
            mode=mode,
            guideline=guideline,
            repeat_share=repeat_share,
            created=store.clock(),
        )
        session.add(batch)
        session.flush()
        session.add_all(
            VoteItem(batch_id=batch.id, prompt=prompt, responses=list(responses), origins=list(origins))
            for prompt, responses, origins in usable
        )
        return batch.id


def batches(store: Store, *, open_only: bool = False) -> list[VoteBatch]:
    """All batches, newest first."""
    query = select(VoteBatch).order_by(VoteBatch.id.desc())
    with store.reading() as session:
        return list(session.scalars(query.where(~VoteBatch.closed) if open_only else query))


def close_batch(store: Store, batch_id: int, *, closed: bool = True) -> None:
    """No more votes are asked for; those that were given stay."""
    with store.session() as session:
        batch_of(session, batch_id).closed = closed


def batch_of(session: Session, batch_id: int) -> VoteBatch:
    """The batch. Raises ApplianceError when there is none of that number."""
    batch = session.get(VoteBatch, batch_id)
    if batch is None:
        raise ApplianceError(f"there is no voting {batch_id}", "choose one from the list")
    return batch
