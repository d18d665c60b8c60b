"""What the Runs tab lists: one line a run with its outcome, in words and units for people who do not read logs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from appliance.evaluate.verdict import duration, number, signed
from appliance.evaluate.voting import WinRate, win_rate
from appliance.store.db import Store
from appliance.store.files import size_text
from appliance.store.runs import ACTIVE
from appliance.store.schema import RaterExclusion, Run, User, Vote, VoteBatch
from appliance.store.users import Member
from appliance.store.vote_records import records
from appliance.ui.markdown import plain

COLUMNS = (
    "Run",
    "Name",
    "Kind",
    "When (UTC)",
    "Who",
    "State",
    "Score change",
    "Win rate",
    "Drift (nats)",
    "Time",
)
WIDTHS = ("55px", "160px", "100px", "162px", "128px", "110px", "130px", "100px", "125px", "100px")

KINDS = {"ppo": "training", "reward": "scorer", "sft": "first lessons", "example": "example models"}
"""What the page calls a stage; the technical word follows in the run's own part of the tab."""

NONE = "-"


@dataclass(frozen=True)
class Line:
    """A run as it is listed: the row, its owner's name, and what votes said of it."""

    run: Run
    who: str
    votes: WinRate | None

    def cells(self) -> list[Any]:
        """The line under COLUMNS."""
        run, found = self.run, self.run.result or {}
        return [
            run.id,
            ("★ " if run.starred else "") + run.name,
            KINDS.get(run.stage, run.stage),
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.created)),
            self.who,
            run.state,
            score_change(found),
            NONE if self.votes is None else f"{self.votes.rate:.0%} of {self.votes.prompts}",
            _figure(found.get("kl"), number),
            _figure(seconds(run), duration),
        ]


def lines(store: Store, votes: Mapping[int, WinRate]) -> list[Line]:
    """Every run, newest first. `votes`: see `win_rates`."""
    with store.reading() as session:
        names = dict(session.execute(select(User.id, User.name)).all())
        rows = list(session.scalars(select(Run).order_by(Run.created.desc(), Run.id.desc())))
    return [Line(run, names.get(run.owner_id, "command line"), votes.get(run.id)) for run in rows]


def search(found: Sequence[Line], words: str, *, starred: bool = False) -> list[Line]:
    """Those in which every word occurs (in number, name, kind, stage, owner, state or note); case does not matter."""
    wanted = words.lower().split()

    def told(line: Line) -> str:
        run = line.run
        parts = (str(run.id), run.name, KINDS.get(run.stage, ""), run.stage, line.who, run.state, run.note)
        return " ".join(parts).lower()

    return [line for line in found if (line.run.starred or not starred) and all(w in told(line) for w in wanted)]


def win_rates(store: Store) -> dict[int, WinRate]:
    """How the trained model of each run did in blind votes; runs without one are not there."""
    with store.reading() as session:
        of = dict(session.execute(select(VoteBatch.id, VoteBatch.run_id).where(VoteBatch.run_id.is_not(None))).all())
    votes: dict[int, list[Any]] = {}
    for vote in records(store) if of else []:
        if vote.batch_id in of:
            votes.setdefault(of[vote.batch_id], []).append(vote)
    found = {number: win_rate(given) for number, given in votes.items()}
    return {number: rate for number, rate in found.items() if rate is not None}


def votes_mark(store: Store) -> tuple[Any, ...]:
    """Changes whenever `win_rates` may: votes are only added and taken back, raters left out or taken in."""
    with store.reading() as session:
        counted = session.execute(select(func.count(Vote.id), func.max(Vote.id), func.count(Vote.undone))).one()
        return (*counted, session.scalar(select(func.count()).select_from(RaterExclusion)))


def score_change(result: Mapping[str, Any]) -> str:
    """ "+0.83 better" of a finished training; "-" where there is none."""
    if not isinstance(result.get("difference"), int | float):
        return NONE
    verdict = result.get("verdict")
    word = verdict.get("word") if isinstance(verdict, dict) else None
    said = {"better": " better", "worse": " worse"}.get(str(word), " unclear" if word else "")
    return signed(float(result["difference"])) + said


def seconds(run: Run) -> float | None:
    """How long the run took, or has taken by its last step; None before it began."""
    told = (run.result or {}).get("seconds")
    if isinstance(told, int | float):
        return float(told)
    if run.started is None:
        return None
    end = run.ended or run.last_step_at
    return None if end is None or end < run.started else end - run.started


def may_delete(run: Run, member: Member) -> str | None:
    """Why this user cannot delete the run now; None where they can."""
    if member.role != "admin" and run.owner_id != member.id:
        return "Only its owner or an admin can delete it."
    if run.state in ACTIVE:
        return "It is at work. Stop it first, then delete it."
    return None


def about(line: Line, size_bytes: int) -> str:
    """The chosen run in Markdown: what it is, how it went, how large it is on disk."""
    run = line.run
    kind = f"{KINDS.get(run.stage, run.stage)} ({run.stage})" if run.stage in KINDS else run.stage
    steps = f", step {run.step:,} of {run.steps:,}" if run.steps else ""
    lasted = seconds(run)
    took = f" It took {duration(lasted)}." if lasted is not None and run.ended else ""
    parts = [
        f"### {plain(run.name)}\n\nRun {run.id}, a {kind}, started by {line.who} on "
        f"{time.strftime('%Y-%m-%d at %H:%M', time.gmtime(run.created))} UTC. It is **{run.state}**{steps}.{took} "
        f"It uses {size_text(size_bytes)} on disk."
    ]
    if run.message:
        parts.append(plain(f"{run.message}. {run.fix or ''}".strip()))
    found = run.result or {}
    sentence = found.get("verdict", {}).get("sentence") if isinstance(found.get("verdict"), dict) else None
    if sentence:
        parts.append(plain(f"Result: {sentence}"))
    if line.votes is not None:
        parts.append(
            f"In blind votes the trained model's answer was preferred on {line.votes.rate:.0%} of "
            f"{line.votes.prompts} prompts; a tie counts half."
        )
    return "\n\n".join(parts)


def _figure(value: Any, shown: Any) -> str:
    return shown(float(value)) if isinstance(value, int | float) else NONE
