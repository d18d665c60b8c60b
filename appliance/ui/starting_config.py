"""From a draft to the config that will run, to what it takes, and to the queue."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.config import PpoConfig, parse, to_yaml
from appliance.errors import ApplianceError, ConfigError
from appliance.plan import files
from appliance.plan.make import plan
from appliance.plan.parts import Plan
from appliance.settings import Settings
from appliance.stages.demo_ppo import ppo_values
from appliance.store import datasets, runs
from appliance.store.db import Store
from appliance.store.schema import Run
from appliance.store.users import Member
from appliance.ui import starting_draft
from appliance.ui.catalogue import Card
from appliance.ui.starting_draft import Draft
from appliance.ui.starting_goal import (
    cards_of,
    check_goal,
    example_folder,
    example_run,
    needs_example,
    reward_of,
)
from appliance.ui.starting_prompts import Looked, Split, look, split_of
from appliance.ui.starting_size import SIZES, settings_of, train_of
from appliance.ui.submitting import stage_of_submitted

DEVICE_S = 60.0
_device: list[tuple[float, tuple[bool, float | None]]] = []


@dataclass(frozen=True)
class Built:
    """A draft's config, as an object and as the YAML that runs; the plan of it, and how the prompts are split."""

    config: PpoConfig
    yaml: str
    plan: Plan
    split: Split


def device() -> tuple[bool, float | None]:
    """Whether there is a GPU, and the memory of it, or of the machine; asked of the driver once a minute."""
    from appliance.cli.plan import device_of

    now = time.monotonic()
    if not _device or now - _device[0][0] > DEVICE_S:
        probe = parse(
            {
                "stage": "ppo",
                "policy": {"model": "x"},
                "reward": {"source": "length"},
                "prompts": {"source": "x"},
            },
            origin="the config",
        )
        _device[:] = [(now, device_of(probe, None))]
    return _device[0][1]


def mine(member: Member) -> int | None:
    """Whose uploads a member may use: None for an admin, who may use all."""
    return None if member.role == "admin" else member.id


def dataset_of(store: Store, member: Member, draft: Draft) -> tuple[Any, Looked]:
    """The draft's data set and what is in it. Raises ApplianceError when none is chosen, or it cannot be used."""
    if draft.dataset is None:
        raise ConfigError("there are no prompts yet", "upload a file, paste some, or try the example")
    dataset = datasets.get(store, draft.dataset, owner_id=mine(member))
    return dataset, look(datasets.path_of(store, dataset), draft.column, draft.template)


def check_prompts(store: Store, member: Member, draft: Draft) -> Split:
    """How the prompts are split. Raises ApplianceError for what step 1 still lacks."""
    _, looked = dataset_of(store, member, draft)
    if looked.checked.error is not None:
        raise ConfigError(*looked.checked.error)
    return split_of(len(looked.lengths), report_given=draft.example)


def weights_of(draft: Draft, cards: dict[str, Card]) -> int | None:
    """The starting model's number of weights; None where it is not known."""
    card = cards.get(draft.policy or "")
    return card.weights if card is not None else None


def build(store: Store, settings: Settings, member: Member, draft: Draft) -> Built:
    """The config of a draft. Raises ApplianceError that says what is missing."""
    cards = cards_of(settings, store)
    check_goal(draft, cards)
    split = check_prompts(store, member, draft)
    dataset, looked = dataset_of(store, member, draft)
    weights, size = weights_of(draft, cards), SIZES[draft.size]
    chosen = settings_of(draft, weights)
    longest = int(chosen["answer_tokens"])
    steps, rollout = int(chosen["steps"]), size.rollout
    values: dict[str, Any] = {
        "stage": "ppo",
        "name": name_of(draft, dataset.name),
        "seed": int(chosen["seed"]),
        "policy": {"model": draft.policy, "train": train_of(draft, weights)},
        "reward": reward_of(draft, cards),
        "prompts": _prompts(draft, datasets.path_of(store, dataset).resolve(), looked, longest),
        "sampling": {"response_tokens": [max(1, longest * 2 // 3), longest], "temperature": chosen["temperature"]},
        "batch": {"steps": steps, "rollout": rollout, "minibatch": size.minibatch},
        "kl": {"coef": chosen["kl_coef"], "adaptive": chosen["kl_target"] > 0},
        "optimizer": {"learning_rate": chosen["learning_rate"], "schedule": "linear"},
        "evaluation": {
            "every_steps": max(1, min(20, steps // 4)),
            "prompts": split.test,
            "report_prompts": split.report,
            "report_samples": size.report_samples,
        },
        "checkpoint": {"every_steps": max(1, min(20, steps // 2))},
    }
    if chosen["kl_target"] > 0:
        values["kl"]["target_nats_per_sequence"] = chosen["kl_target"]
    if draft.example:
        demo = ppo_values(example_folder(store).resolve())
        values["evaluation"] |= {key: demo["evaluation"][key] for key in ("report_file", "second_opinion")}
        values["alarms"] = demo["alarms"]
    config, made = _fitted(values)
    text = to_yaml(config)
    stage_of_submitted(store, settings, member, text)
    return Built(config, text, made, split)


def _prompts(draft: Draft, path: Path, looked: Looked, answer_tokens: int) -> dict[str, Any]:
    """The prompts section. No prompt is longer in tokens than in bytes: that bounds the plan, and the model's context."""
    values: dict[str, Any] = {"source": str(path)}
    if len(looked.checked.columns) > 1 or draft.column:
        values["column"] = looked.checked.column
    if draft.template:
        values["template"] = draft.template
    shape = files.find(draft.policy or "").shape
    limits = [looked.bytes + 1] + ([shape.limit_tokens - answer_tokens] if shape and shape.limit_tokens else [])
    return values | {"keep_tokens": [1, max(1, min(limits))]}


def _fitted(values: dict[str, Any]) -> tuple[PpoConfig, Plan]:
    """The config with the largest microbatch that fits, and its plan."""
    cuda, device_gib = device()
    config = parse(values, origin="the config")
    assert isinstance(config, PpoConfig)
    made = plan(config, device_gib=device_gib, cuda=cuda)
    if made.fits is False and made.largest_microbatch and made.largest_microbatch < config.batch.microbatch:
        values = values | {"batch": values["batch"] | {"microbatch": made.largest_microbatch}}
        config = parse(values, origin="the config")
        assert isinstance(config, PpoConfig)
        made = plan(config, device_gib=device_gib, cuda=cuda)
    return config, made


def name_of(draft: Draft, dataset_name: str) -> str:
    """The run's name: the user's, or from the data and the size; letters, digits, . _ - only."""
    wanted = draft.name or ("example" if draft.example else f"{Path(dataset_name).stem}-{draft.size}")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:48]
    return f"{plain}-run" if draft.example and plain == runs.EXAMPLE else plain or "training"


def start(store: Store, settings: Settings, member: Member, key: str) -> tuple[Run, bool]:
    """The draft's run in the queue, and whether this call put it there; the same key again gives the same run.

    Where the example's models are still to be made, the run that makes them is queued first. Raises ApplianceError.
    """
    draft = starting_draft.read(store.data, member.id)
    if draft.key != key:
        raise ApplianceError("this page shows an older state", "it was drawn again; look at it, then click Start")
    if draft.started is not None:
        return runs.get(store, draft.started), False
    build(store, settings, member, draft)  # nothing is queued for a draft that cannot run
    parent = make_example(store, member) if needs_example(draft, store) else None
    built = build(store, settings, member, draft)
    run = runs.enqueue(
        store,
        config_yaml=built.yaml,
        name=built.config.name,
        stage="ppo",
        owner_id=member.id,
        key=f"start:{key}"[:64],
        dataset_id=draft.dataset,
        parent_id=parent,
    )
    starting_draft.change(store.data, member.id, started=run.id)
    return run, True


def make_example(store: Store, member: Member) -> int:
    """The number of the run that makes the example's models: queued, at work or done; one that failed goes on."""
    run = example_run(store)
    if run is not None and run.state in ("failed", "stopped", "interrupted"):
        return runs.continue_run(store, run.id).id
    if run is not None:
        return run.id
    made = runs.enqueue(
        store,
        config_yaml=f"stage: {runs.EXAMPLE}\n",
        name=runs.EXAMPLE,
        stage=runs.EXAMPLE,
        owner_id=member.id,
        key=runs.EXAMPLE,
    )
    return made.id
