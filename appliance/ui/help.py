"""The help page: what the tabs are for, and the words used on them."""

from __future__ import annotations

import html

from fastapi import APIRouter, Request
from fastapi.responses import Response

from appliance.ui.forms import card, prefix_of

router = APIRouter()

STEPS = (
    ("Start", "bring prompts, choose a starting model and what makes a good answer, and start a training"),
    ("Training", "see how it goes; stop it with its progress kept, or continue it"),
    ("Compare", "read answers to test prompts before and after the training, side by side"),
    ("Vote", "say which of two answers is better, without knowing which model wrote it"),
    ("Teach the scorer", "make a scorer of the votes, and use it in the next training"),
    ("Runs", "look up earlier trainings, compare them, download their models"),
    ("System", "for admins: users, disk, preflight, backup"),
)

WORDS = (
    ("Starting model", "the model that a training begins with"),
    ("Trained model", "what a training makes of it"),
    ("Scorer (reward model, reward source)", "what gives each answer its score: a rule, a ready model, or your votes"),
    ("Score", "how good the scorer finds an answer; only comparable under the same scorer"),
    ("Practice prompts, test prompts", "prompts that a training learns on, and those kept aside to judge it by"),
    (
        "Drift from the starting model (KL)",
        "how far its answers have moved; much drift with a rising score often means that the scorer is being tricked",
    ),
    ("Stop and keep progress", "finish the step that is running, save, and stop: Continue goes on from there"),
)


def listed(rows: tuple[tuple[str, str], ...]) -> str:
    """A list of words and what they mean."""
    return (
        "<dl>"
        + "".join(f"<dt><strong>{html.escape(a)}</strong></dt><dd>{html.escape(b)}</dd>" for a, b in rows)
        + "</dl>"
    )


@router.get("/own/help")
def help_page(request: Request) -> Response:
    """The help page; it says nothing of this machine, so nobody has to sign in for it."""
    body = (
        f'<p><a href="{prefix_of(request)}/">Back to the page</a></p><h2>From prompts to proof</h2>{listed(STEPS)}'
        "<p>A training goes on when the page is closed. Reload it any time.</p>"
        f"<h2>Words</h2>{listed(WORDS)}"
        "<h2>Keys on the Vote page</h2><p>1: A is better. 2: B is better. 3: the same. 4: both bad. S: skip. U: undo.</p>"
    )
    return card(request, "Help", body, wide=True)
