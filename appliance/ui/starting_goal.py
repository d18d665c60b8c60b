"""What training aims at: starting models and scorers to choose from, and the reward section of the config they make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from appliance.config import parse
from appliance.config.load import part_options
from appliance.errors import ApplianceError, ConfigError
from appliance.plan.make import fits_line, plan
from appliance.rewards._allowed import page_may_use
from appliance.settings import Settings
from appliance.store import runs, vote_records
from appliance.store.db import Store
from appliance.ui.catalogue import Card, catalogue, example_cards
from appliance.ui.markdown import plain
from appliance.ui.starting_draft import Draft

MODEL_SLOTS = 3
"""Model scorers that one run may blend on this page."""

ENOUGH_VOTES = 20

RULES = {
    "words": "Words (keyword): a point for each good word, one less for each bad one",
    "pattern": "A pattern (regular expression): a point when an answer has it",
    "length": "Length: a tenth of a point less for each word away from a target",
}

PER_WORD = 0.1


@dataclass(frozen=True)
class Choices:
    """What can be chosen: (line to read, value) of each, and the lines on what cannot be, with the reason."""

    policies: list[tuple[str, str]]
    scorers: list[tuple[str, str]]
    cards: dict[str, Card]
    unusable: list[str]


def cards_of(settings: Settings, store: Store) -> dict[str, Card]:
    """Every model on this disk by what a config names, and the example's, which may still have to be made."""
    found = {card.model: card for card in catalogue(settings, store)}
    for card in example_cards(example_folder(store)):
        found.setdefault(card.model, card)
    return found


def example_run(store: Store) -> Any:
    """The run that makes, or made, the example's models; None before the first."""
    return next((run for run in runs.list_runs(store) if run.stage == runs.EXAMPLE), None)


def example_folder(store: Store) -> Path:
    """Where the example's models are, or will be."""
    run = example_run(store)
    return Path(run.folder) if run is not None else store.data / runs.EXAMPLE


def choices(settings: Settings, store: Store, *, device: tuple[bool, float | None]) -> Choices:
    """The lists of step 2. A model that cannot be used is in `unusable`, with why; so is one that does not fit."""
    cards = cards_of(settings, store)
    policies, scorers, unusable = [], [], []
    for card in cards.values():
        if card.problem is not None:
            unusable.append(f"{plain(card.name)}: {plain(card.problem)}")
        elif card.kind == "policy":
            fits, said = _fit(card, device)
            if fits is False:
                unusable.append(f"{plain(card.name)}: {plain(said)}")
            else:
                policies.append((" · ".join(part for part in (card.title, said) if part), card.model))
        else:
            scorers.append((scorer_title(card), f"model:{card.model}"))
    scorers += [(title, f"rule:{name}") for name, title in RULES.items()]
    return Choices(policies, scorers, cards, unusable)


def scorer_title(card: Card) -> str:
    """One line on a model that scores."""
    kind = "reward model" if card.kind == "reward" else "classifier"
    right = f"right on {card.accuracy:.0%} of unseen pairs" if card.accuracy is not None else ""
    gate = "did not pass its quality gate" if card.gate_passed is False else ""
    return " · ".join(part for part in (card.title, kind, right, gate) if part)


def _fit(card: Card, device: tuple[bool, float | None]) -> tuple[bool | None, str]:
    if not card.weights:
        return None, ""
    return _fit_of(card.model, card.size_bytes, *device)


@lru_cache(maxsize=128)
def _fit_of(model: str, size_bytes: int, cuda: bool, device_gib: float | None) -> tuple[bool | None, str]:
    """Whether the model can be trained here, with LoRA if not in full, and the line that says so."""
    said = ""
    for train in ("full", "lora"):
        values = {
            "stage": "ppo",
            "policy": {"model": model, "train": train},
            "reward": {"source": "length"},
            "prompts": {"source": "x.txt", "max_characters": 400},
            "batch": {"rollout": 128, "microbatch": 1},
        }
        config = parse(values, origin="the config")
        made = plan(config, device_gib=device_gib, cuda=cuda)
        said = fits_line(made)
        if made.fits is not False:
            return made.fits, said.replace("GiB", "GB") + (" (with LoRA)" if train == "lora" else "")
    return False, said.replace("GiB", "GB")


def votes_line(store: Store) -> str:
    """What stands for "my votes" in the list of scorers: how many are missing, or where they become a scorer."""
    count = len(vote_records.rankings(vote_records.records(store)))
    if count < ENOUGH_VOTES:
        return f"*My votes*: not yet. {count} of {ENOUGH_VOTES} votes are there, {ENOUGH_VOTES - count} are missing."
    return (
        f"*My votes*: {count} votes are there. Make a scorer of them on the tab **Teach**; then it stands in the list."
    )


def words_of(text: str) -> list[str]:
    """Words, separated by commas, spaces or lines; each once."""
    return list(dict.fromkeys(word for word in re.split(r"[\s,;]+", text.strip()) if word))


def rule_section(draft: Draft, name: str) -> dict[str, Any]:
    """A rule as a reward section, checked. Raises ConfigError."""
    if name == "words":
        section: dict[str, Any] = {
            "source": "keyword",
            "positive": words_of(draft.good_words),
            "negative": words_of(draft.bad_words),
        }
    elif name == "pattern":
        if not draft.pattern.strip():
            raise ConfigError("the pattern is empty", "write what an answer should have, or choose another scorer")
        weight = 1.0 if draft.pattern_wanted else -1.0
        section = {"source": "pattern", "patterns": [{"regex": draft.pattern, "weight": weight, "ignore_case": True}]}
    else:
        section = {"source": "length", "per_word": PER_WORD, "target_words": draft.length_words}
    return part_options("rewards", section, where="the rule")


def model_section(card: Card, label: str | None) -> dict[str, Any]:
    """A model as a reward section. Raises ConfigError when a classifier's good label is not chosen."""
    if card.kind == "reward":
        return {"source": "trained", "model": card.model}
    if len(card.labels) > 1 and label not in card.labels:
        raise ConfigError(f"{card.name} has several labels and no good one is chosen", "choose the label that is good")
    chosen = {} if len(card.labels) <= 1 else {"label": label}
    return {"source": "classifier", "model": card.model, **chosen}


def parts_of(draft: Draft, cards: dict[str, Card]) -> list[tuple[str, str, float, dict[str, Any]]]:
    """(name in the blend, title, weight, section) of every scorer chosen. Raises ConfigError."""
    found = []
    for number, (model, scorer) in enumerate(draft.models.items(), start=1):
        card = cards.get(model)
        if card is None or card.problem is not None or card.kind == "policy":
            raise ConfigError("a scorer that was chosen is not here any more", "choose another one in step 2")
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", card.name).strip("-")[:28] or "model"
        found.append((f"{name}-{number}", card.name, scorer.weight, model_section(card, scorer.label)))
    for rule in draft.rules:
        found.append(
            (rule, RULES[rule].partition(":")[0], draft.rule_weights.get(rule, 1.0), rule_section(draft, rule))
        )
    return found


def reward_of(draft: Draft, cards: dict[str, Card]) -> dict[str, Any]:
    """The reward section: the scorer itself, or a blend of several, each model on a common scale. Raises ConfigError."""
    found = parts_of(draft, cards)
    if not found:
        raise ConfigError("no scorer is chosen", "choose at least one: it says which answers are good")
    if len(found) == 1:
        section = found[0][3]
    else:
        if not any(weight for _, _, weight, _ in found):
            raise ConfigError("every scorer weighs 0", "give at least one a weight")
        sources = [
            {**section, "name": name, "weight": weight, "normalize": "model" in section}
            for name, _, weight, section in found
        ]
        section = {"source": "blend", "sources": sources}
    page_may_use(section)
    return section


def check_goal(draft: Draft, cards: dict[str, Card]) -> None:
    """Raises ConfigError for what step 2 still lacks."""
    card = cards.get(draft.policy or "")
    if card is None:
        raise ConfigError("no starting model is chosen", "choose one: it is what learns")
    if card.problem is not None or card.kind != "policy":
        raise ConfigError(f"{card.name} cannot be trained: {card.problem or 'it writes no text'}", "choose another one")
    reward_of(draft, cards)


def slots(draft: Draft, cards: dict[str, Card]) -> list[tuple[str, tuple[str, ...], str | None, float]]:
    """(name, labels to choose from, the good one, weight) of each model scorer chosen, in order."""
    found = []
    for model, scorer in draft.models.items():
        card = cards.get(model)
        if card is not None:
            labels = card.labels if len(card.labels) > 1 else ()
            found.append((card.name, labels, scorer.label, scorer.weight))
    return found[:MODEL_SLOTS]


def chosen_scorers(values: list[str], draft: Draft, cards: dict[str, Card]) -> dict[str, Any]:
    """The draft's fields from the ticked scorers; what was set of one before stays. Raises ConfigError for too many."""
    models = [value.removeprefix("model:") for value in values if value.startswith("model:")]
    models = [model for model in models if model in cards and cards[model].kind != "policy"]
    if len(models) > MODEL_SLOTS:
        raise ConfigError(f"{len(models)} model scorers are chosen", f"choose at most {MODEL_SLOTS}, or use rules")
    kept = {model: draft.models[model].model_dump() if model in draft.models else {} for model in models}
    return {"models": kept, "rules": tuple(name for name in RULES if f"rule:{name}" in values)}


def needs_example(draft: Draft, store: Store) -> bool:
    """Whether a model is chosen that the example still has to make."""
    folder = example_folder(store)
    run = example_run(store)
    if run is not None and run.state == "done" and all(Path(card.model).is_dir() for card in example_cards(folder)):
        return False
    named = [draft.policy or "", *draft.models]
    return any(Path(model).is_relative_to(folder) for model in named if model)


def rule_scores(draft: Draft, text: str) -> list[tuple[str, float | None, str]]:
    """(title, score or None, what is wrong) of each rule for an answer: the numbers that training sees, without torch."""
    found: list[tuple[str, float | None, str]] = []
    for rule in draft.rules:
        title = RULES[rule].partition(":")[0]
        try:
            found.append((title, _score(rule_section(draft, rule), text), ""))
        except ApplianceError as error:
            found.append((title, None, f"{error.what}: {error.fix}"))
    return found


def _score(section: dict[str, Any], text: str) -> float:
    from appliance.rewards import keyword, length, pattern

    options = {key: value for key, value in section.items() if key != "source"}
    if section["source"] == "keyword":
        words = keyword.Options.model_validate(options)
        good, bad = keyword._set(words.positive), keyword._set(words.negative)
        return float(sum((w in good) - (w in bad) for w in keyword.WORD.findall(text.casefold())))
    if section["source"] == "length":
        rule = length.Options.model_validate(options)
        return -rule.per_word * abs(len(text.split()) - (rule.target_words or 0))
    looked = pattern.Options.model_validate(options)
    flags = [pattern.regex.IGNORECASE if one.ignore_case else 0 for one in looked.patterns]
    return float(
        sum(
            one.weight * pattern._found(pattern.regex.compile(one.regex, flag), text[: looked.max_characters], looked)
            for one, flag in zip(looked.patterns, flags, strict=True)
        )
    )
