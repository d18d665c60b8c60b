"""The models that the page can offer: staged folders and results of finished runs, read without loading anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from appliance.plan.files import find
from appliance.settings import Settings
from appliance.staging.manifest import stated_licence
from appliance.staging.names import COMMIT, DATASETS
from appliance.store import runs
from appliance.store.db import Store
from appliance.store.files import read_json, size_text

Kind = Literal["policy", "reward", "classifier"]

WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
ENDINGS = (".safetensors",)
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
DEPTH = 3
"""Folders below the models folder that are looked into: models/owner/name/commit, or models/owner/name."""


@dataclass(frozen=True)
class Card:
    """One model on this disk. `problem` says why it cannot be used, or is None; `labels` are a classifier's."""

    name: str
    model: str  # what a config names: the folder
    kind: Kind
    origin: str  # models folder, or the run that made it
    size_bytes: int
    weights: int | None
    licence: str | None
    architecture: str
    labels: tuple[str, ...] = ()
    accuracy: float | None = None  # a reward model's, on held-out pairs
    gate_passed: bool | None = None
    run_id: int | None = None
    problem: str | None = None

    @property
    def title(self) -> str:
        """One line for a list: name, size, licence."""
        size = f"{self.weights / 1e6:,.0f} million weights" if self.weights and self.weights >= 1e6 else ""
        if self.weights and not size:
            size = f"{self.weights:,} weights"
        parts = [
            self.name,
            size,
            size_text(self.size_bytes) if self.size_bytes else "",
            self.licence or "licence not stated",
        ]
        return " · ".join(part for part in parts if part)


def catalogue(settings: Settings, store: Store) -> list[Card]:
    """Every model that is found, those of runs last; each folder once."""
    found: dict[str, Card] = {}
    for folder in _folders(settings.models, DEPTH):
        name = _shown(folder.relative_to(settings.models))
        found[str(folder.resolve())] = card_of(folder, name=name, origin="models folder")
    for run in runs.list_runs(store, states=("done",)):
        if run.stage == runs.EXAMPLE:
            made_here = [card for card in example_cards(Path(run.folder), run.id) if Path(card.model).is_dir()]
            found |= {str(Path(card.model).resolve()): card for card in made_here}
            continue
        folder = Path(run.folder) / "model"
        if (folder / "config.json").is_file():
            made = card_of(folder, name=run.name, origin=f"run {run.id}", run_id=run.id)
            found.setdefault(str(folder.resolve()), made)
    return list(found.values())


def example_cards(folder: Path, run_id: int | None = None) -> list[Card]:
    """The example's starting model and its reward model, whether they are made yet or not."""
    cards = []
    for name, model in (("Example: film reviewer", folder / "sft"), ("Example: kindness", folder / "reward")):
        inner = model / "model"
        if (inner / "config.json").is_file():
            card = card_of(inner, name=name, origin="the example", run_id=run_id)
            cards.append(replace(card, model=str(model if card.kind == "reward" else inner), licence="made here"))
            continue
        kind: Kind = "reward" if model.name == "reward" else "policy"
        where = str(model if kind == "reward" else inner)
        cards.append(
            Card(name, where, kind, "the example", 0, None, "is made first, about a minute", "", run_id=run_id)
        )
    return cards


def _shown(path: Path) -> str:
    """owner/name, and the first digits of the commit where `appliance models` staged it."""
    return f"{path.parent.as_posix()}@{path.name[:8]}" if COMMIT.fullmatch(path.name) else path.as_posix()


def of_kind(cards: list[Card], *kinds: Kind) -> list[Card]:
    """The cards of these kinds."""
    return [card for card in cards if card.kind in kinds]


def _folders(place: Path, depth: int) -> Iterator[Path]:
    try:
        inner = sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_")))
    except OSError:
        return
    for folder in inner:
        if depth == DEPTH and folder.name == DATASETS:
            continue
        if (folder / "config.json").is_file():
            yield folder
        elif depth > 1:
            yield from _folders(folder, depth - 1)


def card_of(folder: Path, *, name: str, origin: str, run_id: int | None = None) -> Card:
    """What a model's folder says of itself."""
    config = read_json(folder / "config.json") or {}
    architecture = str((config.get("architectures") or ["unknown"])[0])
    reward = read_json(folder / "reward.json")
    labels = tuple(
        str(label) for _, label in sorted((config.get("id2label") or {}).items(), key=lambda item: int(item[0]))
    )
    writes = architecture.endswith(WRITERS)
    kind: Kind = "policy" if writes else "reward" if reward is not None else "classifier"
    gate = (reward or {}).get("gate")
    accuracy = (read_json(folder.parent / "result.json") or {}).get("held_out_accuracy") if run_id is not None else None
    files = [file for file in folder.iterdir() if file.is_file()]
    return Card(
        name=name,
        model=str(folder.parent if run_id is not None and kind == "reward" else folder),
        kind=kind,
        origin=origin,
        size_bytes=sum(file.stat().st_size for file in files),
        weights=find(str(folder)).weights,
        licence=stated_licence(folder),
        architecture=architecture,
        labels=labels if kind == "classifier" else (),
        accuracy=accuracy if isinstance(accuracy, float) else None,
        gate_passed=gate.get("passed") if isinstance(gate, dict) else None,
        run_id=run_id,
        problem=_problem(files, config),
    )


def _problem(files: list[Path], config: dict[str, Any]) -> str | None:
    if not config:
        return "its config.json cannot be read"
    if not any(file.suffix in ENDINGS for file in files):
        pickled = any(file.suffix in PICKLES for file in files)
        return "its weights are only there as pickle, which can run code" if pickled else "its weights are missing"
    if not any(
        file.name in ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model", "vocab.txt") for file in files
    ):
        return "its tokenizer is missing"
    return None
