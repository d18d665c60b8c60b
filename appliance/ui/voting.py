"""What the Vote tab says: plain sentences and tables from votes. No Gradio, no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from appliance.evaluate.verdict import count, p_text
from appliance.evaluate.voting import Agreement, Rater, Share, WinRate
from appliance.store.vote_records import VoteRecord
from appliance.store.votes import Standing

FORMULA = ("=", "+", "-", "@", "\t", "\r")
RATER_COLUMNS = ["Rater", "Votes", "Skipped", "Seconds (median)", "Same answer again", "Agrees with others",
                 "Chose the first", "Chose the longer", "Counts"]  # fmt: skip
CSV_COLUMNS = ("vote", "time", "rater", "prompt", "answer_1", "origin_1", "rank_1", "answer_2", "origin_2", "rank_2",
               "answer_3", "origin_3", "rank_3", "answer_4", "origin_4", "rank_4", "choice", "shown_first", "is_repeat",
               "seconds", "reason", "counts")  # fmt: skip


def progress_line(standing: Standing) -> str:
    """ "12 of 33 judged. Last saved at 12:03:11." """
    line = f"**{standing.done} of {standing.total}** judged."
    if standing.saved is None:
        return f"{line} Each answer is saved as you give it."
    return f"{line} Last saved at {datetime.fromtimestamp(standing.saved):%H:%M:%S}."


def win_sentence(won: WinRate | None) -> str:
    """Who wins, in words, with its interval and what chance would do."""
    if won is None:
        return "No votes yet that compare answers before training with answers after."
    low, high = won.ci95 if won.ci95 is not None else (None, None)
    word = (
        "The trained model wins"
        if low is not None and low > 0.5
        else "The starting model wins"
        if high is not None and high < 0.5
        else "No winner yet"
    )
    interval = "" if low is None or high is None else f" (95 % interval {low:.0%} to {high:.0%})"
    return (
        f"**{word}.** Its answers were preferred in {won.rate:.0%}{interval} of the comparisons, ties counted half: "
        f"{count(won.wins, 'win')}, {won.losses} {'loss' if won.losses == 1 else 'losses'}, "
        f"{count(won.ties, 'tie')} over {count(won.prompts, 'prompt')}, {p_text(won.p_value)}."
        + (" With this few prompts no interval can be given." if low is None else "")
    ).replace("Its answers", "The trained model's answers")


def agreement_sentence(found: Agreement) -> str:
    """How much raters agree, or what is missing to say it."""
    if found.share is None:
        return "Raters' agreement can be told once two people have judged the same pair."
    alpha = (
        "" if found.alpha is None else f"; Krippendorff's alpha {found.alpha:.2f} (1 is full agreement, 0 is chance)"
    )
    return f"On {count(found.items, 'pair')} judged by two or more people they agree in {found.share:.0%}{alpha}."


def pull_sentence(side: Share, longer: Share) -> str:
    """Whether raters lean to a side or to length: only where chance does not explain it."""
    parts = []
    for share, what in ((side, "the answer shown first"), (longer, "the longer answer")):
        if share.value is None or share.p_value is None:
            continue
        lean = " That is more than chance does." if share.p_value < 0.01 and share.value > 0.5 else ""
        parts.append(f"{what} was chosen in {share.value:.0%} of {share.n}.{lean}")
    return " ".join(part[:1].upper() + part[1:] for part in parts)


def _share_text(share: Share) -> str:
    return "-" if share.value is None else f"{share.value:.0%} of {share.n}"


def rater_rows(raters: Sequence[Rater]) -> list[list[Any]]:
    """One row for each rater, under RATER_COLUMNS."""
    return [
        [
            rater.name,
            rater.votes,
            rater.skipped,
            round(rater.median_seconds, 1),
            _share_text(rater.repeats),
            _share_text(rater.with_others),
            _share_text(rater.first_side),
            _share_text(rater.longer),
            "no, excluded" if rater.excluded else "yes",
        ]
        for rater in raters
    ]


def harmless(value: str) -> str:
    """The text as a spreadsheet shows it and never runs it: a leading = + - @ gets an apostrophe before it."""
    return f"'{value}" if value.startswith(FORMULA) else value


def votes_csv(votes: Sequence[VoteRecord]) -> str:
    """All votes as CSV with a header, one a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for vote in votes:
        answers: list[str] = []
        for index in range(4):
            if index < len(vote.responses):
                rank = "" if vote.ranks is None else str(vote.ranks[index])
                answers += [vote.responses[index], vote.origins[index], rank]
            else:
                answers += ["", "", ""]
        cells = [
            str(vote.vote_id),
            datetime.fromtimestamp(vote.created).isoformat(timespec="seconds"),
            vote.user_name,
            vote.prompt,
            *answers,
            vote.choice,
            str(vote.order[0] + 1),
            "yes" if vote.is_repeat else "no",
            f"{vote.seconds:.1f}",
            vote.reason,
            "no" if vote.excluded else "yes",
        ]
        writer.writerow([harmless(cell) for cell in cells])
    return out.getvalue()
