"""People who may sign in: their names, roles and passwords (argon2id), and the invitations that make accounts.

Names are kept and compared in lower case. What these functions return is a `Member`: no password hash leaves this file
but to `store/logins.py`, which checks it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from appliance.errors import ApplianceError, ConfigError
from appliance.store.schema import ROLES, Assignment, Invitation, Login, User, Vote

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from appliance.store.db import Store

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
SHORTEST, LONGEST = 10, 256
"""Characters of a password."""

INVITATION_S = 7 * 24 * 3600.0
FIRST_ADMIN = "admin"

_hasher = PasswordHasher()  # argon2id, 64 MiB and 3 passes: the library's recommendation
_two_at_once = threading.BoundedSemaphore(2)  # sign-ins sent by the hundred must not fill the memory
_nobody = _hasher.hash(secrets.token_hex(16))


@dataclass(frozen=True)
class Member:
    """A user as the page and the API see them."""

    id: int
    name: str
    role: str
    created: float
    disabled: bool
    locked_until: float


def member(user: User) -> Member:
    """The part of a user's row that may be shown."""
    return Member(user.id, user.name, user.role, user.created, user.disabled, user.locked_until)


def digest(token: str) -> str:
    """What the store keeps of a token: sha256, hex. Tokens are 256 random bits, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(password: str, password_hash: str | None) -> bool:
    """Whether the password is right. With no hash (no such user) it takes as long and says no."""
    with _two_at_once:
        try:
            return _hasher.verify(password_hash or _nobody, password[: LONGEST + 1]) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False


def clean_name(name: str) -> str:
    """The name in lower case. Raises ConfigError for one that is empty, too long or has other characters."""
    lowered = name.strip().lower()
    if not NAME.fullmatch(lowered):
        raise ConfigError(
            f"{name.strip()[:80]!r} cannot be a user name",
            "use 1 to 64 letters, digits and . _ @ + - and begin with a letter or digit",
        )
    return lowered


def hashed(password: str, name: str) -> str:
    """The hash of a password that is good enough for `name`. Raises ConfigError that says what is wrong with it."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(
            f"the password has {len(password)} characters",
            f"use {SHORTEST} to {LONGEST}; several words are easy to keep",
        )
    if password.strip().lower() == name:
        raise ConfigError("the password is the name", "choose another password")
    with _two_at_once:
        return _hasher.hash(password)


def add(store: Store, name: str, password: str, role: str) -> Member:
    """A new user. Raises ConfigError for a name that is taken, or a name, password or role that cannot be."""
    _check_role(role)
    lowered = clean_name(name)
    password_hash = hashed(password, lowered)
    try:
        with store.session() as session:
            user = User(name=lowered, password_hash=password_hash, role=role, created=store.clock())
            session.add(user)
            session.flush()
            return member(user)
    except IntegrityError:
        raise ConfigError(f"there is a user {lowered!r} already", "choose another name") from None


def everyone(store: Store) -> list[Member]:
    """All users by name."""
    with store.reading() as session:
        return [member(user) for user in session.scalars(select(User).order_by(User.name))]


def get(store: Store, user_id: int) -> Member:
    """The user of this id. Raises ApplianceError if there is none."""
    with store.reading() as session:
        return member(_row(session, user_id))


def change_password(store: Store, user_id: int, old: str, new: str) -> None:
    """Set one's own password; every browser but a new sign-in is signed out. Raises ApplianceError if `old` is wrong."""
    with store.reading() as session:
        user = _row(session, user_id)
        name, password_hash = user.name, user.password_hash
    if not matches(old, password_hash):
        raise ApplianceError("the present password is not right", "type it again")
    _store_password(store, user_id, hashed(new, name))


def set_password(store: Store, user_id: int, new: str) -> None:
    """An admin sets somebody's password; their lock is lifted and their browsers are signed out."""
    _store_password(store, user_id, hashed(new, get(store, user_id).name))


def set_role(store: Store, user_id: int, role: str) -> None:
    """Give a user another role. Raises ApplianceError if no admin would be left."""
    _check_role(role)
    with store.session() as session:
        user = _row(session, user_id)
        if role != "admin":
            _keep_an_admin(session, user)
        user.role = role


def set_disabled(store: Store, user_id: int, disabled: bool) -> None:
    """Shut a user out, with every browser and API token of theirs, or let them in again. The last admin stays."""
    with store.session() as session:
        user = _row(session, user_id)
        if disabled:
            _keep_an_admin(session, user)
            session.execute(delete(Login).where(Login.user_id == user_id))
        user.disabled, user.failures, user.locked_until = disabled, 0, 0.0


def remove(store: Store, user_id: int) -> None:
    """Delete a user who has never voted. Raises ApplianceError for the last admin, and where votes would go with them."""
    with store.session() as session:
        user = _row(session, user_id)
        _keep_an_admin(session, user)
        votes = select(func.count()).select_from(Vote).join(Assignment, Assignment.id == Vote.assignment_id)
        count = session.scalar(votes.where(Assignment.user_id == user_id))
        if count:
            raise ApplianceError(f"{count} votes of {user.name} would be deleted too", "disable the account instead")
        session.delete(user)


def invite(store: Store, role: str) -> str:
    """A token that makes one account of this role, within a week."""
    _check_role(role)
    token, now = secrets.token_urlsafe(32), store.clock()
    with store.session() as session:
        session.add(Invitation(token_hash=digest(token), role=role, created=now, expires=now + INVITATION_S))
    return token


def invited_role(store: Store, token: str) -> str | None:
    """The role that an invitation gives; None if it was used, ran out or never was."""
    with store.reading() as session:
        return session.scalar(_open_invitation(token, store.clock()).with_only_columns(Invitation.role))


def join(store: Store, token: str, name: str, password: str) -> Member:
    """The account that an invitation makes; it works once. Raises ApplianceError."""
    lowered = clean_name(name)
    password_hash = hashed(password, lowered)
    now = store.clock()
    try:
        with store.session() as session:
            used = session.execute(
                update(Invitation)
                .where(Invitation.token_hash == digest(token), Invitation.used.is_(None), Invitation.expires > now)
                .values(used=now)
                .returning(Invitation.role)
            ).scalar()
            if used is None:
                raise ApplianceError("this invitation was used or has run out", "ask an admin for a new one")
            user = User(name=lowered, password_hash=password_hash, role=used, created=now)
            session.add(user)
            session.flush()
            return member(user)
    except IntegrityError:
        raise ConfigError(f"there is a user {lowered!r} already", "choose another name") from None


def first_admin(store: Store, password_file: Path | None) -> str | None:
    """Makes sure that an admin can come in where there is no user yet.

    With a password file: the user `admin` with that password, and None. Without: an invitation for an admin, to be shown
    once; an earlier one no longer works. None if there are users. Raises ConfigError for a file that cannot be used.
    """
    with store.reading() as session:
        if session.scalar(select(func.count()).select_from(User)):
            return None
    if password_file is None:
        with store.session() as session:
            session.execute(delete(Invitation).where(Invitation.role == "admin", Invitation.used.is_(None)))
        return invite(store, "admin")
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"APPLIANCE_ADMIN_PASSWORD_FILE {password_file}: {reason}", "correct the path or the rights of the file"
        ) from None
    add(store, FIRST_ADMIN, password, "admin")
    return None


def _row(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise ApplianceError(f"there is no user {user_id}", "load the page again")
    return user


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ConfigError(f"there is no role {role!r}", f"choose one of: {', '.join(ROLES)}")


def _keep_an_admin(session: Session, user: User) -> None:
    admins = select(func.count()).where(User.role == "admin", User.disabled.is_(False), User.id != user.id)
    if user.role == "admin" and not session.scalar(admins):
        raise ApplianceError(f"{user.name} is the last admin", "make somebody else an admin first")


def _store_password(store: Store, user_id: int, password_hash: str) -> None:
    with store.session() as session:
        user = _row(session, user_id)
        user.password_hash, user.failures, user.locked_until = password_hash, 0, 0.0
        session.execute(delete(Login).where(Login.user_id == user_id))


def _open_invitation(token: str, now: float):
    return select(Invitation).where(
        Invitation.token_hash == digest(token), Invitation.used.is_(None), Invitation.expires > now
    )
