"""Vote: two answers side by side, nobody knows which model wrote which. Also the whole of the page /vote/."""

from __future__ import annotations

import time
import uuid
from typing import Any

import gradio as gr
from gradio.context import Context as Building

from appliance.store import audit, vote_batches, votes
from appliance.store.users import Member
from appliance.ui import vote_managing
from appliance.ui.access import EVERYONE, allowed
from appliance.ui.context import Context
from appliance.ui.voting import progress_line

TITLE, ORDER, ROLES = "Vote", 40, ("trainer", "admin")

downloads = vote_managing.downloads

LETTERS = "ABCD"
BUTTONS = (("a", "1 · A is better"), ("b", "2 · B is better"), ("same", "3 · Same"), ("both_bad", "4 · Both bad"))
REASONS = ["More helpful", "More correct", "Better written", "Safer"]

KEYS = """() => {
  if (window.voteKeys) return [];
  window.voteKeys = true;
  const ids = {"1": "vote-a", "2": "vote-b", "3": "vote-same", "4": "vote-both_bad", "s": "vote-skip", "u": "vote-undo"};
  const four = {"1": "vote-pick-0", "2": "vote-pick-1", "3": "vote-pick-2", "4": "vote-pick-3"};
  const seen = (id) => { const e = document.getElementById(id); return e && e.offsetParent !== null && !e.disabled ? e : null; };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const at = event.target;
    if (at.closest("input, select, [contenteditable=true]")) return;
    if (at.tagName === "TEXTAREA" && !at.readOnly && !at.disabled) return;
    const key = event.key.toLowerCase();
    const button = seen(ids[key]) || seen(four[key]);
    if (button) { event.preventDefault(); button.click(); }
  });
  return [];
}"""
"""The keys 1 to 4, S and U press the buttons that can be seen; not while somebody types."""


def build(context: Context) -> None:
    """The pair, its buttons, and for trainers the results."""
    gr.Markdown("## Which answer is better?")
    Building.root_block.load(None, None, None, js=KEYS, api_visibility="private")
    batch = gr.Dropdown([], label="Voting", visible=False, interactive=True, elem_id="vote-batch")
    guide = gr.Markdown("", elem_id="vote-guideline")
    line = gr.Markdown("Loading.", elem_id="vote-progress")
    shown = gr.State(None)  # the assignment's id, the key of the click, when it was shown, and the mode
    order = gr.State([])  # best of 4: places chosen so far, best first
    with gr.Column(visible=False) as box:
        prompt = gr.Textbox(label="Prompt", interactive=False, lines=2, max_lines=12, elem_id="vote-prompt")
        texts, picks = _answers()
        chosen = gr.Markdown("", elem_id="vote-order")
        with gr.Row(elem_id="vote-bar"):
            choices = {
                name: gr.Button(label, variant="primary" if name in "ab" else "secondary", elem_id=f"vote-{name}")
                for name, label in BUTTONS
            }
            over = gr.Button("Start over", visible=False, elem_id="vote-over")
            choices["skip"] = gr.Button("S · Skip", elem_id="vote-skip")
        reason = gr.CheckboxGroup(REASONS, label="Why? (optional)", elem_id="vote-reason")
        gr.Markdown(
            "Keys: **1** A, **2** B, **3** same, **4** both bad, **S** skip, **U** undo. The sides are shuffled; "
            "some pairs come twice on purpose."
        )
    with gr.Row():
        undo = gr.Button("U · Undo the last one", visible=False, size="sm", scale=0, min_width=200, elem_id="vote-undo")
    view = [
        batch,
        guide,
        line,
        box,
        prompt,
        *texts,
        *picks,
        *choices.values(),
        over,
        undo,
        reason,
        shown,
        order,
        chosen,
    ]

    @allowed(*EVERYONE, quiet=True)
    def draw(member: Member, wanted: int | None) -> list[Any]:
        return _view(context, member, wanted)

    @allowed(*EVERYONE)
    def give(
        member: Member, choice: str, wanted: int | None, about: dict[str, Any] | None, why: list[str]
    ) -> list[Any]:
        _cast(context, member, about, choice, None, why)
        return _view(context, member, wanted)

    @allowed(*EVERYONE)
    def pick(
        member: Member, place: int, wanted: int | None, about: dict[str, Any] | None, why: list[str], so_far: list[int]
    ) -> list[Any]:
        best_first = [*so_far, place] if place not in so_far else so_far
        if len(best_first) < len(LETTERS) - 1:
            return [gr.skip()] * (len(view) - 2) + [best_first, _order_line(best_first)]
        rest = [other for other in range(len(LETTERS)) if other not in best_first]
        _cast(context, member, about, "ranked", best_first + rest, why)
        return _view(context, member, wanted)

    @allowed(*EVERYONE)
    def take_back(member: Member, wanted: int | None) -> list[Any]:
        if wanted is None or not votes.undo(context.store, int(wanted), member.id):
            gr.Info("There is nothing to undo.")
        return _view(context, member, wanted)

    for name, button in choices.items():
        button.click(give, [gr.State(name), batch, shown, reason], view, show_progress="hidden")
    for place, button in enumerate(picks):
        button.click(pick, [gr.State(place), batch, shown, reason, order], view, show_progress="hidden")
    over.click(allowed(*EVERYONE)(lambda member: ([], _order_line([]))), None, [order, chosen], show_progress="hidden")
    undo.click(take_back, batch, view, show_progress="hidden")
    batch.input(draw, batch, view, show_progress="hidden")
    context.draw(draw, inputs=batch, outputs=view)
    if not context.alone:
        vote_managing.build(context, batch)


def _answers() -> tuple[list[gr.Textbox], list[gr.Button]]:
    """Four answers in two rows, of which a pair uses the first two, and the buttons that rank them."""
    texts, picks = [], []
    for row in (LETTERS[:2], LETTERS[2:]):
        with gr.Row():
            for letter in row:
                with gr.Column(min_width=280):
                    texts.append(
                        gr.Textbox(
                            label=f"Answer {letter}",
                            interactive=False,
                            lines=5,
                            max_lines=20,
                            elem_id=f"vote-text-{letter.lower()}",
                        )
                    )
                    place = LETTERS.index(letter)
                    picks.append(gr.Button(f"{place + 1} · {letter}", visible=False, elem_id=f"vote-pick-{place}"))
    return texts, picks


def _order_line(best_first: list[int]) -> str:
    """What has been chosen in best-of-4 mode, and what to do next."""
    if not best_first:
        return "Choose the best answer first, then the next best."
    return f"Best first: {', '.join(LETTERS[place] for place in best_first)}. Choose the next best."


def _cast(
    context: Context,
    member: Member,
    about: dict[str, Any] | None,
    choice: str,
    ranking: list[int] | None,
    why: list[str] | None,
) -> None:
    if about is None:
        return
    try:
        votes.cast(
            context.store,
            int(about["assignment"]),
            member.id,
            key=str(about["key"]),
            choice=choice,
            ranking=ranking,
            seconds=time.time() - float(about["at"]),
            reason=", ".join(text for text in why or [] if text in REASONS),
        )
        audit.record(context.store, member, "vote", f"pair {about['assignment']}")
    except votes.VoteConflict as conflict:
        gr.Info(f"{conflict.what}. Here is the next one.")


def _view(context: Context, member: Member, wanted: int | None) -> list[Any]:
    """Everything that the tab shows, from the store."""
    open_ones = vote_batches.batches(context.store, open_only=True)
    ids = [one.id for one in open_ones]
    if not ids:
        return _nothing("There is nothing to vote on. Votings are made of the answers of a finished run.")
    batch = next((one for one in open_ones if one.id == wanted), open_ones[0])
    picker = gr.Dropdown([(one.name, one.id) for one in open_ones], value=batch.id, visible=len(ids) > 1)
    standing = votes.standing(context.store, batch.id, member.id)
    shown = votes.next_item(context.store, batch.id, member.id)
    guide = batch.guideline or "Read the prompt, then both answers. Choose the one that you would rather get."
    if shown is None:
        done = f"**All done, thank you.** {progress_line(standing)}"
        return [picker, guide, done, *_nothing("", can_undo=standing.done > 0)[3:]]
    four = shown.mode == "best_of_4"
    texts = [*(text.strip() for text in shown.texts), "", ""][:4]
    about = {"assignment": shown.assignment_id, "key": uuid.uuid4().hex, "at": time.time()}
    return [
        picker,
        guide,
        progress_line(standing),
        gr.Column(visible=True),
        shown.prompt,
        *[gr.Textbox(text, visible=place < len(shown.texts)) for place, text in enumerate(texts)],
        *[gr.Button(visible=four) for _ in LETTERS],
        *[gr.Button(visible=not four or name in votes_of_four()) for name, _ in BUTTONS],
        gr.Button(visible=True),
        gr.Button(visible=four),
        gr.Button(visible=standing.done > 0),
        [],
        about,
        [],
        _order_line([]) if four else "",
    ]


def votes_of_four() -> tuple[str, ...]:
    """The buttons that best-of-4 mode keeps."""
    return tuple(name for name in vote_batches.MODES["best_of_4"] if name in ("same", "both_bad"))


def _nothing(text: str, *, can_undo: bool = False) -> list[Any]:
    """No pair: a sentence in its place."""
    empty = [gr.Dropdown(visible=False), "", text, gr.Column(visible=False), ""]
    return [*empty, *[gr.skip()] * (4 + 4 + len(BUTTONS) + 2), gr.Button(visible=can_undo), [], None, [], ""]
