"""The tables of the store: who may do what, what was uploaded, which runs there are, and how people voted.

A run's own truth is its folder; what stands here of it (progress, metric points, events) is copied from the folder by the
worker and may be copied again. Votes and users exist only here. Times are seconds since 1970, UTC.
"""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ROLES = ("admin", "trainer", "rater")

STATES = ("queued", "starting", "running", "stopping", "stopped", "done", "failed", "interrupted")
"""What a run can be. interrupted: its process is gone without having said why; the worker resumes it."""

CHOICES = ("a", "b", "same", "both_bad", "skip", "ranked")
"""What a vote can say of the two sides as they were shown; ranked: the order is in `ranking`."""


class Base(DeclarativeBase):
    """Constraints have names, so that a migration can change them in any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy reads it from the class


def _choice(column: str, choices: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(choice) for choice in choices)})", name=column)


class User(Base):
    """A person who signs in."""

    __tablename__ = "users"
    __table_args__ = (_choice("role", ROLES),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)  # in lower case
    password_hash: Mapped[str] = mapped_column(String(255))  # argon2id
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[float]
    disabled: Mapped[bool] = mapped_column(default=False)
    failures: Mapped[int] = mapped_column(default=0)  # wrong passwords since the last right one
    locked_until: Mapped[float] = mapped_column(default=0.0)


class Login(Base):
    """A browser that is signed in. The cookie holds the token, the store only its hash."""

    __tablename__ = "logins"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256, hex
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[float]
    expires: Mapped[float]


class Invitation(Base):
    """A token that makes one account; the first admin's is printed by `appliance serve`."""

    __tablename__ = "invitations"
    __table_args__ = (_choice("role", ROLES),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[float]
    expires: Mapped[float]
    used: Mapped[float | None] = mapped_column(default=None)


class Dataset(Base):
    """An uploaded file, kept as it came in the folder `uploads/<id>/` of the data folder."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # random hex: no user can guess another's
    name: Mapped[str] = mapped_column(String(255))  # the file's name as uploaded
    kind: Mapped[str] = mapped_column(String(16))  # prompts, preferences, demonstrations
    file: Mapped[str] = mapped_column(Text)  # below the data folder
    size_bytes: Mapped[int]
    rows: Mapped[int]
    column: Mapped[str | None] = mapped_column(String(255), default=None)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created: Mapped[float]


class Run(Base):
    """A run that was queued here, or found in the data folder."""

    __tablename__ = "runs"
    __table_args__ = (
        _choice("state", STATES),
        Index("ix_runs_state_queued", "state", "queued"),
        {"sqlite_autoincrement": True},  # the number of a deleted run is not given again: links and the audit name it
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    stage: Mapped[str] = mapped_column(String(16))
    folder: Mapped[str] = mapped_column(Text, unique=True)  # absolute
    config: Mapped[str] = mapped_column(Text)  # the YAML, exactly what `appliance train` takes
    state: Mapped[str] = mapped_column(String(16))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    key: Mapped[str | None] = mapped_column(String(64), unique=True)  # of the click that made it: twice is once
    created: Mapped[float]
    queued: Mapped[float | None] = mapped_column(default=None)  # when it was put into the queue; the order of the queue
    started: Mapped[float | None] = mapped_column(default=None)  # of this attempt
    ended: Mapped[float | None] = mapped_column(default=None)
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int] = mapped_column(default=0)
    last_step_at: Mapped[float | None] = mapped_column(default=None)
    phase: Mapped[str | None] = mapped_column(String(64), default=None)  # while starting: what is being loaded
    message: Mapped[str | None] = mapped_column(Text, default=None)
    fix: Mapped[str | None] = mapped_column(Text, default=None)
    cause: Mapped[str | None] = mapped_column(String(32), default=None)  # memory, disk, data, reward, crash, ...
    attempts: Mapped[int] = mapped_column(default=0)  # in a row that began at the same checkpoint
    checkpoint: Mapped[str | None] = mapped_column(String(64), default=None)  # the newest when this attempt began
    resume_by_itself: Mapped[bool] = mapped_column(default=True)
    stop_asked: Mapped[float | None] = mapped_column(default=None)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), default=None)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), default=None)
    note: Mapped[str] = mapped_column(Text, default="")
    starred: Mapped[bool] = mapped_column(default=False)
    result: Mapped[dict[str, Any] | None] = mapped_column(default=None)  # figures of report.json or result.json
    worker_id: Mapped[str | None] = mapped_column(String(64), default=None)  # None: started from the command line
    # which process it is: a signal is sent only where all four agree
    pid: Mapped[int | None] = mapped_column(default=None)
    pid_started: Mapped[float | None] = mapped_column(default=None)  # clock ticks since boot
    boot_id: Mapped[str | None] = mapped_column(String(64), default=None)
    token: Mapped[str | None] = mapped_column(String(64), default=None)  # in the process's environment
    heartbeat: Mapped[float | None] = mapped_column(default=None)


class Point(Base):
    """One line of a run's metrics.jsonl."""

    __tablename__ = "points"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]]


class Event(Base):
    """One line of a run's events.jsonl, or something that the worker saw."""

    __tablename__ = "events"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # negative: the worker's own
    step: Mapped[int] = mapped_column(default=0)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(16))  # notice, alarm, worker
    what: Mapped[str] = mapped_column(Text)
    fix: Mapped[str | None] = mapped_column(Text, default=None)


class Worker(Base):
    """A worker that is, or was, alive."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(64))
    started: Mapped[float]
    heartbeat: Mapped[float]


class Question(Base):
    """A prompt that somebody tries on a finished run; the worker answers it with both models."""

    __tablename__ = "questions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    prompt: Mapped[str] = mapped_column(Text)
    created: Mapped[float]
    state: Mapped[str] = mapped_column(String(16), default="queued")  # queued, answering, done, failed
    answer: Mapped[dict[str, Any] | None] = mapped_column(default=None)  # {"before": {...}, "after": {...}}
    message: Mapped[str | None] = mapped_column(Text, default=None)
    worker_id: Mapped[str | None] = mapped_column(String(64), default=None)  # who answers it


class VoteBatch(Base):
    """Answers that people are asked to compare."""

    __tablename__ = "vote_batches"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    mode: Mapped[str] = mapped_column(String(16))  # pair, best_of_4
    guideline: Mapped[str] = mapped_column(Text, default="")
    repeat_share: Mapped[float] = mapped_column(default=0.1)
    created: Mapped[float]
    closed: Mapped[bool] = mapped_column(default=False)


class VoteItem(Base):
    """One prompt with the answers to compare; `origins` says where each came from and is never shown to a rater."""

    __tablename__ = "vote_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("vote_batches.id", ondelete="CASCADE"), index=True)
    prompt: Mapped[str] = mapped_column(Text)
    responses: Mapped[list[Any]]  # texts
    origins: Mapped[list[Any]]  # before, after, sample


class Assignment(Base):
    """An item put before a rater: at which place in their order, and which answer stands where."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("batch_id", "user_id", "place"),
        UniqueConstraint("item_id", "user_id", "is_repeat"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("vote_batches.id", ondelete="CASCADE"), index=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("vote_items.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    place: Mapped[int]
    order: Mapped[list[Any]]  # [1, 0]: the item's second answer stands first
    is_repeat: Mapped[bool] = mapped_column(default=False)


class Vote(Base):
    """What a rater said of an assignment: one row, however often it is sent. Undoing marks it and frees the assignment."""

    __tablename__ = "votes"
    __table_args__ = (
        _choice("choice", CHOICES),
        Index(
            "uq_votes_one_that_counts",
            "assignment_id",
            unique=True,
            sqlite_where=text("undone IS NULL"),
            postgresql_where=text("undone IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id", ondelete="CASCADE"), index=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)  # of the click: twice is once
    choice: Mapped[str] = mapped_column(String(16))
    ranking: Mapped[list[Any] | None] = mapped_column(default=None)  # places as shown, best first
    reason: Mapped[str] = mapped_column(String(255), default="")
    seconds: Mapped[float]
    created: Mapped[float]
    undone: Mapped[float | None] = mapped_column(default=None)


class RaterExclusion(Base):
    """A rater whose votes are not used, by a manager's decision."""

    __tablename__ = "rater_exclusions"

    batch_id: Mapped[int] = mapped_column(ForeignKey("vote_batches.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    created: Mapped[float]


class Audit(Base):
    """Who started, stopped, deleted, exported, voted, signed in, and when. Rows are only ever added."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    user_name: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(255), default="")
    detail: Mapped[dict[str, Any] | None] = mapped_column(default=None)
