"""Signing in and out: passwords tried, the lock after wrong ones, browsers that are signed in, and API tokens.

The store holds hashes of tokens. A browser's token lasts 12 hours from when it was last used and 30 days at most; an API
token lasts a year and works only as `Authorization: Bearer`.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from appliance.errors import ApplianceError
from appliance.store.schema import Login, User
from appliance.store.users import Member, digest, matches, member

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.store.db import Store

SLIDING_S, LONGEST_S, API_S = 12 * 3600.0, 30 * 24 * 3600.0, 365 * 24 * 3600.0
RENEW_S = 600.0
"""A browser's login is written again when it was not for this long: one write in ten minutes, not one a click."""

TRIES, LOCK_S, LONGEST_LOCK_S = 5, 900.0, 24 * 3600.0
API_PREFIX = "rlhf_"


class SignInRefused(ApplianceError):
    """A wrong name or password, or too many of them."""


class Throttle:
    """Wrong sign-ins by address, in memory: 30 in 15 minutes, from whatever names, and the address has to wait."""

    def __init__(self, clock: Callable[[], float], *, most: int = 30, window_s: float = LOCK_S) -> None:
        self._clock, self._most, self._window_s = clock, most, window_s
        self._seen: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Raises SignInRefused while the address has to wait."""
        with self._lock:
            wrong = self._recent(address)
        if len(wrong) >= self._most:
            raise _too_many(wrong[0] + self._window_s - self._clock())

    def wrong(self, address: str) -> None:
        """Count a wrong sign-in."""
        with self._lock:
            if len(self._seen) > 10_000:  # addresses are cheap to make up
                self._seen = {key: times for key in list(self._seen) if (times := self._recent(key))}
            self._seen[address] = [*self._recent(address)[-self._most :], self._clock()]

    def _recent(self, address: str) -> list[float]:
        return [at for at in self._seen.get(address, []) if at > self._clock() - self._window_s]


def lock_s(failures: int) -> float:
    """Seconds that the user is locked after this many wrong passwords in a row: none, but at each fifth, doubling."""
    if not failures or failures % TRIES:
        return 0.0
    return min(LOCK_S * 2 ** (failures // TRIES - 1), LONGEST_LOCK_S)


def sign_in(store: Store, name: str, password: str) -> str:
    """A fresh token for a browser. Raises SignInRefused, with the same words whether the name or the password is wrong.

    A locked user is refused whatever the password. Unknown names cost the same time.
    """
    now = store.clock()
    with store.reading() as session:
        user = session.scalar(select(User).where(User.name == name.strip().lower()))
    right = matches(password, None if user is None else user.password_hash)
    if user is not None and user.locked_until > now:
        raise _too_many(user.locked_until - now)
    if user is None or user.disabled or not right:
        if user is not None:
            _count_failure(store, user.id, now)
        raise SignInRefused("the name or the password is not right", "type both again, or ask an admin")
    with store.session() as session:
        session.execute(update(User).where(User.id == user.id).values(failures=0, locked_until=0.0))
        session.execute(delete(Login).where(Login.expires < now))
    return start_session(store, user.id)


def start_session(store: Store, user_id: int) -> str:
    """A fresh token for a browser of a user who has just shown who they are."""
    token, now = secrets.token_urlsafe(32), store.clock()
    with store.session() as session:
        session.add(Login(token_hash=digest(token), user_id=user_id, created=now, expires=now + SLIDING_S))
    return token


def who(store: Store, token: str | None) -> Member | None:
    """Who is signed in with this browser's token, whose 12 hours begin again; None if nobody is."""
    if not token or token.startswith(API_PREFIX):
        return None
    now = store.clock()
    with store.reading() as session:
        found = _alive(session, token, now)
    if found is None:
        return None
    login, user = found
    until = min(now + SLIDING_S, login.created + LONGEST_S)
    if until - login.expires > RENEW_S:
        with store.session() as session:
            session.execute(update(Login).where(Login.token_hash == login.token_hash).values(expires=until))
    return member(user)


def who_has(store: Store, api_token: str | None) -> Member | None:
    """Whose API token this is; None if it is nobody's."""
    if not api_token or not api_token.startswith(API_PREFIX):
        return None
    with store.reading() as session:
        found = _alive(session, api_token, store.clock())
    return None if found is None else member(found[1])


def _alive(session, token: str, now: float) -> tuple[Login, User] | None:
    row = session.execute(
        select(Login, User)
        .join(User, User.id == Login.user_id)
        .where(Login.token_hash == digest(token), Login.expires > now, User.disabled.is_(False))
    ).first()
    return None if row is None else (row[0], row[1])


def sign_out(store: Store, token: str) -> None:
    """Forget one browser."""
    with store.session() as session:
        session.execute(delete(Login).where(Login.token_hash == digest(token)))


@dataclass(frozen=True)
class ApiToken:
    """An API token as it may be shown: the first characters of its hash stand for it."""

    id: str
    user_id: int
    created: float
    expires: float


def make_api_token(store: Store, user_id: int) -> str:
    """A new API token of this user, to be shown once."""
    token, now = API_PREFIX + secrets.token_urlsafe(32), store.clock()
    with store.session() as session:
        session.add(Login(token_hash=digest(token), user_id=user_id, created=now, expires=now + API_S))
    return token


def api_tokens(store: Store, user_id: int | None = None) -> list[ApiToken]:
    """API tokens that still work, newest first; of one user, or of all. No browser's login lasts as long as one of these."""
    query = select(Login).where(Login.expires > store.clock(), Login.expires - Login.created > LONGEST_S + SLIDING_S)
    if user_id is not None:
        query = query.where(Login.user_id == user_id)
    with store.reading() as session:
        rows = session.scalars(query.order_by(Login.created.desc())).all()
    return [ApiToken(row.token_hash[:12], row.user_id, row.created, row.expires) for row in rows]


def drop_api_token(store: Store, token_id: str, user_id: int | None = None) -> None:
    """Make an API token useless. Raises ApplianceError if there is none of that id (of that user, where one is named)."""
    if token_id not in {token.id for token in api_tokens(store, user_id)}:
        raise ApplianceError(f"there is no API token {token_id!r}", "load the page again")
    with store.session() as session:
        session.execute(delete(Login).where(Login.token_hash.startswith(token_id, autoescape=True)))


def _count_failure(store: Store, user_id: int, now: float) -> None:
    with store.session() as session:
        failures = session.execute(
            update(User).where(User.id == user_id).values(failures=User.failures + 1).returning(User.failures)
        ).scalar_one()
        wait = lock_s(failures)
        if wait:
            session.execute(update(User).where(User.id == user_id).values(locked_until=now + wait))


def _too_many(wait_s: float) -> SignInRefused:
    minutes = max(1, round(wait_s / 60))
    return SignInRefused("too many wrong passwords", f"wait {minutes} minute{'s' * (minutes > 1)}, or ask an admin")
