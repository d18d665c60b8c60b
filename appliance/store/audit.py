"""Who did what, when. Rows are only ever added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from appliance.store.db import Store
from appliance.store.schema import Audit, User

if TYPE_CHECKING:
    from appliance.store.users import Member


def record(
    store: Store, user: User | Member | None, action: str, subject: str = "", detail: dict[str, Any] | None = None
) -> None:
    """Enter that `user` (None: the appliance itself) did `action` (start, stop, delete, export, vote, ...) to `subject`."""
    row = Audit(
        at=store.clock(),
        user_id=None if user is None else user.id,
        user_name="appliance" if user is None else user.name,
        action=action[:64],
        subject=subject[:255],
        detail=detail,
    )
    with store.session() as session:
        session.add(row)


def entries(store: Store, *, limit: int = 200, action: str | None = None, user_name: str | None = None) -> list[Audit]:
    """What was entered, latest first; of one action or one user where asked."""
    query = select(Audit).order_by(Audit.at.desc(), Audit.id.desc()).limit(limit)
    if action is not None:
        query = query.where(Audit.action == action)
    if user_name is not None:
        query = query.where(Audit.user_name == user_name)
    with store.reading() as session:
        return list(session.scalars(query))


def actions(store: Store) -> list[str]:
    """Every action that was ever entered, in the order of the alphabet."""
    with store.reading() as session:
        return list(session.scalars(select(Audit.action).distinct().order_by(Audit.action)))
