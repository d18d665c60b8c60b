"""Step 2 of the Start tab: the model that learns, the scorers that say what is good, and a text to try them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from appliance.errors import ConfigError
from appliance.store.users import Member
from appliance.ui import starting_checks, starting_draft, starting_goal, starting_programs
from appliance.ui.access import allowed
from appliance.ui.context import Context
from appliance.ui.markdown import plain
from appliance.ui.starting_config import device
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_goal import MODEL_SLOTS, RULES, cards_of

ROLES = ("trainer", "admin")
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}


class GoalStep:
    """The widgets of the step; `outputs` in the order of what `view` returns."""

    def __init__(self, context: Context) -> None:
        self.context = context
        gr.Markdown(
            "Choose the model that learns (the starting model), and what tells good answers from bad ones (scorers)."
        )
        self.policy = gr.Radio([], label="Starting model", elem_id="start-policy")
        self.no_policy = gr.Markdown("", visible=False, elem_id="start-no-policy")
        self.scorers = gr.CheckboxGroup([], label="Scorers: one, or several blended", elem_id="start-scorers")
        self.votes = gr.Markdown("", elem_id="start-votes")
        self.slots: list[tuple[gr.Row, gr.Dropdown, gr.Slider]] = []
        for place in range(MODEL_SLOTS):
            with gr.Row(visible=False) as row:
                label = gr.Dropdown([], label="Good label", elem_id=f"start-label-{place}")
                weight = gr.Slider(0, 2, 1, step=0.1, label="Weight", elem_id=f"start-weight-{place}")
            self.slots.append((row, label, weight))
        self.rows: dict[str, tuple[gr.Row, gr.Slider]] = {}
        with gr.Row(visible=False) as row:
            self.good = gr.Textbox(label="Good words", placeholder="kind, lovely, warm", elem_id="start-good-words")
            self.bad = gr.Textbox(label="Bad words", placeholder="dreary, dull", elem_id="start-bad-words")
            self.rows["words"] = (row, _weight("words"))
        with gr.Row(visible=False) as row:
            self.pattern = gr.Textbox(
                label="Pattern", placeholder=r"\bthank you\b", max_length=500, elem_id="start-pattern"
            )
            self.wanted = gr.Radio(
                [("Answers should have it", True), ("Answers should not have it", False)],
                value=True,
                label="Wanted?",
                elem_id="start-pattern-wanted",
            )
            self.rows["pattern"] = (row, _weight("pattern"))
        with gr.Row(visible=False) as row:
            self.length = gr.Number(20, label="Target: so many words", precision=0, minimum=1, elem_id="start-length")
            self.rows["length"] = (row, _weight("length"))
        with gr.Accordion("Cannot be used, and why", open=False, visible=False) as self.unusable_box:
            self.unusable = gr.Markdown("", elem_id="start-unusable")
        with gr.Accordion("Try the scorers on a text", open=False, elem_id="start-try"):
            with gr.Row():
                self.prompt = gr.Textbox(
                    label="A prompt (optional)", lines=2, max_length=2000, elem_id="start-try-prompt"
                )
                self.text = gr.Textbox(label="An answer to it", lines=2, max_length=4000, elem_id="start-try-text")
            self.score = gr.Button("Score it", size="sm", elem_id="start-try-score")
            self.result = gr.Markdown("", elem_id="start-try-result")
            self.asked = gr.State(None)  # what the models' scores belong to
        self.next = gr.Button("Next: the size", variant="primary", elem_id="start-next-2")
        self.outputs = [
            self.policy,
            self.no_policy,
            self.scorers,
            self.votes,
            *self._details,
            self.unusable_box,
            self.unusable,
        ]

    @property
    def _details(self) -> list[Any]:
        """What belongs to the chosen scorers."""
        slots = [one for slot in self.slots for one in slot]
        rules = [one for row in self.rows.values() for one in row]
        return [*slots, *rules, self.good, self.bad, self.pattern, self.wanted, self.length]

    def view(self, member: Member, draft: Draft) -> list[Any]:
        """The updates of `outputs`."""
        store = self.context.store
        found = starting_goal.choices(self.context.settings, store, device=device())
        values = {value for _, value in found.scorers}
        ticked = [f"model:{model}" for model in draft.models] + [f"rule:{rule}" for rule in draft.rules]
        none = "There is no starting model yet. Put one into the folder " + (
            f"{plain(self.context.settings.models)}, or try the example: it makes its own."
        )
        return [
            gr.Radio(
                found.policies,
                value=draft.policy if any(value == draft.policy for _, value in found.policies) else None,
                visible=bool(found.policies),
            ),
            gr.Markdown(none, visible=not found.policies),
            gr.CheckboxGroup(found.scorers, value=[value for value in ticked if value in values]),
            starting_goal.votes_line(store),
            *self._detail_view(draft, found.cards),
            gr.Accordion(visible=bool(found.unusable)),
            "\n".join(f"- {line}" for line in found.unusable),
        ]

    def _detail_view(self, draft: Draft, cards: Any) -> list[Any]:
        several = draft.scorers > 1
        shown: list[Any] = []
        chosen = starting_goal.slots(draft, cards)
        for place in range(MODEL_SLOTS):
            if place >= len(chosen):
                shown += [gr.Row(visible=False), gr.skip(), gr.skip()]
                continue
            name, labels, label, weight = chosen[place]
            shown += [
                gr.Row(visible=bool(labels) or several),
                gr.Dropdown(list(labels), value=label, label=f"{name}: which label is good?", visible=bool(labels)),
                gr.Slider(value=weight, label=f"Weight of {name}", visible=several),
            ]
        for rule in self.rows:
            shown += [
                gr.Row(visible=rule in draft.rules),
                gr.Slider(value=draft.rule_weights.get(rule, 1.0), visible=several),  # type: ignore[call-overload]
            ]
        return [*shown, draft.good_words, draft.bad_words, draft.pattern, draft.pattern_wanted, draft.length_words]

    def wire(self, everything: list[Any], draw: Callable[[Member], list[Any]]) -> None:
        """Connect the step's events."""
        store, settings, data = self.context.store, self.context.settings, self.context.store.data

        @allowed(*ROLES)
        def policy(member: Member, model: str | None) -> None:
            card = cards_of(settings, store).get(model or "")
            if card is not None and card.kind == "policy":
                starting_draft.change(data, member.id, policy=card.model, train=None)

        @allowed(*ROLES)
        def scorers(member: Member, values: list[str]) -> list[Any]:
            cards, draft = cards_of(settings, store), starting_draft.read(data, member.id)
            draft = starting_draft.change(data, member.id, **starting_goal.chosen_scorers(values, draft, cards))
            return self._detail_view(draft, cards)

        def slot(place: int, field: str) -> Callable[..., None]:
            @allowed(*ROLES)
            def set_one(member: Member, value: Any) -> None:
                draft = starting_draft.read(data, member.id)
                models = {name: one.model_dump() for name, one in draft.models.items()}
                if place < len(models) and value is not None:
                    models[list(models)[place]][field] = value
                    starting_draft.change(data, member.id, models=models)

            return set_one

        def field(name: str) -> Callable[..., None]:
            @allowed(*ROLES)
            def set_field(member: Member, value: Any) -> None:
                if value is not None:
                    starting_draft.change(data, member.id, **{name: value})

            return set_field

        def rule_weight(rule: str) -> Callable[..., None]:
            @allowed(*ROLES)
            def set_weight(member: Member, value: float) -> None:
                weights = starting_draft.read(data, member.id).rule_weights | {rule: value}
                starting_draft.change(data, member.id, rule_weights=weights)

            return set_weight

        def keep_fields(member: Member, good: str, bad: str, pattern: str, wanted: bool, length: float | None) -> None:
            values = {"good_words": good, "bad_words": bad, "pattern": pattern, "pattern_wanted": wanted}
            more = {} if length is None else {"length_words": length}
            starting_draft.change(data, member.id, **values, **more)

        @allowed(*ROLES)
        def score(
            member: Member,
            prompt: str,
            text: str,
            good: str,
            bad: str,
            pattern: str,
            wanted: bool,
            length: float | None,
        ) -> list[Any]:
            keep_fields(member, good, bad, pattern, wanted, length)
            return self._try(member, prompt, text)

        @allowed(*ROLES, quiet=True)
        def look(member: Member, asked: str | None, prompt: str, text: str) -> Any:
            if asked is None:
                return gr.skip()
            return self._result(member, asked, text)

        @allowed(*ROLES)
        def forward(member: Member, good: str, bad: str, pattern: str, wanted: bool, length: float | None) -> list[Any]:
            keep_fields(member, good, bad, pattern, wanted, length)
            draft = starting_draft.read(data, member.id)
            starting_goal.check_goal(draft, cards_of(settings, store))
            starting_draft.go_to(data, member.id, 2)
            return draw(member)

        self.policy.input(policy, self.policy, None)
        self.scorers.input(scorers, self.scorers, self._details, **LIVE)
        for place, (_, label, weight) in enumerate(self.slots):
            label.input(slot(place, "label"), label, None, **LIVE)
            weight.input(slot(place, "weight"), weight, None, **LIVE)
        for rule, (_, weight) in self.rows.items():
            weight.input(rule_weight(rule), weight, None, **LIVE)
        fields = {
            "good_words": self.good,
            "bad_words": self.bad,
            "pattern": self.pattern,
            "pattern_wanted": self.wanted,
            "length_words": self.length,
        }
        for name, widget in fields.items():
            widget.input(field(name), widget, None, **LIVE)
            if name != "pattern_wanted":  # what is pasted comes with the blur alone
                widget.blur(field(name), widget, None, **LIVE)
        self.score.click(
            score, [self.prompt, self.text, *fields.values()], [self.result, self.asked], show_progress="hidden"
        )
        self.context.draw(look, inputs=[self.asked, self.prompt, self.text], outputs=self.result, every_s=2)
        self.next.click(forward, list(fields.values()), everything, show_progress="hidden")

    def _try(self, member: Member, prompt: str, text: str) -> list[Any]:
        """Score a text: rules at once, models by a program beside the page. Returns the result so far, and its name."""
        store = self.context.store
        draft, cards = starting_draft.read(store.data, member.id), cards_of(self.context.settings, store)
        if not text.strip():
            raise ConfigError("there is no answer to score", "write one")
        if not draft.scorers:
            raise ConfigError("no scorer is chosen", "choose one above")
        if not draft.models:
            return [self._lines(draft, text, []), None]
        if starting_goal.needs_example(draft, store):
            return [self._lines(draft, text, ["The example's scorer is made with the first example training."]), None]
        sections = {
            name: section
            for name, _, _, section in starting_goal.parts_of(draft.model_copy(update={"rules": ()}), cards)
        }
        why = starting_checks.room_for(store, [section["model"] for section in sections.values()])
        if why is not None:
            return [self._lines(draft, text, [f"The models are not asked now: {plain(why)}."]), None]
        folder = starting_draft.folder_of(store.data, member.id) / "tryout"
        clean_prompt, clean_text = (one.replace("\0", "")[:4000] for one in (prompt, text))
        asked = starting_checks.begin_tryout(folder, sections, clean_prompt, clean_text)
        return [self._lines(draft, text, ["Asking the models: a few seconds."]), asked]

    def _result(self, member: Member, asked: str, text: str) -> Any:
        store = self.context.store
        job = starting_programs.job_of(starting_draft.folder_of(store.data, member.id) / "tryout", asked)
        if job is None or not job.ended:
            return gr.skip()
        draft = starting_draft.read(store.data, member.id)
        scores = starting_checks.tryout_scores(job)
        lines = [f"**{plain(name.rpartition('-')[0] or name)}**: {score:.3g}" for name, score in scores.items()]
        if not lines:
            said = [line for line in job.said.splitlines() if line.strip()]
            lines = [f"The models could not score it: {plain(said[0] if said else 'no answer in time')}."]
        return self._lines(draft, text, lines)

    def _lines(self, draft: Draft, text: str, more: list[str]) -> str:
        rules = [
            f"**{plain(title)}**: {score:g}" if score is not None else f"**{plain(title)}**: {plain(wrong)}"
            for title, score, wrong in starting_goal.rule_scores(draft, text)
        ]
        return "\n".join(f"- {line}" for line in [*more, *rules])


def _weight(rule: str) -> gr.Slider:
    return gr.Slider(
        0,
        2,
        1,
        step=0.1,
        label=f"Weight of {RULES[rule].partition(':')[0]}",
        visible=False,
        elem_id=f"start-weight-{rule}",
    )
