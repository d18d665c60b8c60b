"""The same training once more: with other settings, or with the change that lets a failed one succeed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from appliance.config import PpoConfig, parse
from appliance.errors import ApplianceError, ConfigError
from appliance.store import audit, runs
from appliance.store.causes import changed, retry_changes
from appliance.store.db import Store
from appliance.store.rundir import flat
from appliance.store.schema import Run
from appliance.store.users import Member

PPO_FIELDS = ("batch.steps", "optimizer.learning_rate", "kl.coef", "kl.target_nats_per_sequence", "seed")
OTHER_FIELDS = ("training.max_steps", "optimizer.learning_rate", None, None, "seed")
"""What the five number fields are for each stage: steps, learning rate, price of drift, its target, seed."""

WHOLE = {"batch.steps", "training.max_steps", "seed"}


def fields(stage: str) -> tuple[str | None, ...]:
    """The keys of the five number fields; None where a stage has no such setting."""
    return PPO_FIELDS if stage == "ppo" else OTHER_FIELDS


def values(config_yaml: str, stage: str) -> list[float | None]:
    """The five fields' values in a config, its defaults filled in. Raises ConfigError."""
    found = flat(parse(_mapping(config_yaml), origin="the config").model_dump(mode="json"))
    return [None if key is None else found.get(key) for key in fields(stage)]


def base_name(name: str) -> str:
    """The name without the number that made its folder new: film-reviews-2 was called film-reviews."""
    return re.sub(r"-\d+\Z", "", name) or name


def edited(original: Run, text: str, name: str, given: list[float | None]) -> str:
    """The config of the new run: the edited text, and over it each field that was changed. Raises ConfigError."""
    if not runs.NAME.match(name):
        raise ConfigError(
            f"the name {name!r} cannot be a folder's", "use letters, digits, . _ - and at most 64 of them"
        )
    before = values(original.config, original.stage)
    changes: dict[str, Any] = {"name": name}
    for key, old, new in zip(fields(original.stage), before, given, strict=True):
        if key is not None and new is not None and new != old:
            changes[key] = round(new) if key in WHOLE else new
    made = changed(yaml.safe_dump(_mapping(text), sort_keys=False, allow_unicode=True, width=120), changes)
    runs.check_config(made, original.stage)
    return made


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the settings are not YAML: {error}", "correct them; indentation and colons matter"
        ) from None
    if not isinstance(found, dict):
        raise ConfigError("the settings are empty", "close this and open it again: it is filled in anew")
    for name, value in found.items():
        if name in ("batch", "training", "optimizer", "kl") and not isinstance(value, dict):
            raise ConfigError(f"{name} holds a value, not a section", f"write its settings on the lines below {name}:")
    return found


@dataclass(frozen=True)
class Retry:
    """What is changed so that a failed run can succeed, and that in words."""

    changes: dict[str, Any]
    words: str


def retry_of(run: Run) -> Retry | None:
    """The change for a run that ended for want of memory; None where the same settings are to be tried again, or none help.

    A folder belongs to one config, so a changed one is a new run, from the beginning.
    """
    if run.state not in ("failed", "interrupted") or run.stage not in ("ppo", "sft", "reward"):
        return None
    try:
        changes = retry_changes(run.config, run.cause)
        before = flat(parse(_mapping(run.config), origin="the config").model_dump(mode="json"))
    except ApplianceError:  # a config of another version
        return None
    return (
        Retry(changes, " ".join(_words(key, before.get(key), new) for key, new in changes.items())) if changes else None
    )


def _words(key: str, old: Any, new: Any) -> str:
    if key.endswith(".microbatch"):
        return (
            f"{new} texts at a time on the device instead of {old} ({key}). The result is the same; it takes a little "
            "longer. It begins anew."
        )
    if key == "policy.train":
        return (
            "only small added weights are trained (LoRA) instead of all, which needs far less memory. It begins anew."
        )
    return f"{key} is {new} instead of {old}. It begins anew."


def retry(store: Store, member: Member, run_id: int) -> Run:
    """The failed run again with its fix, as a new run at the end of the queue; twice is once. Raises ApplianceError."""
    run = runs.get(store, run_id)
    found = retry_of(run)
    if found is None:
        raise ApplianceError(f"there is no fix to apply to run {run.name}", "reload the page")
    made = runs.enqueue(
        store,
        config_yaml=changed(run.config, found.changes),
        name=base_name(run.name),
        stage=run.stage,
        owner_id=member.id,
        key=f"retry-{run.id}-{run.ended or 0:.3f}",
        dataset_id=run.dataset_id,
        parent_id=run.id,
    )
    audit.record(store, member, "retry", made.name, {"of": run.name, "changes": found.changes})
    return made


def go_on(store: Store, member: Member, run_id: int) -> Run:
    """The run in the queue again, from its newest checkpoint. A second click finds it there. Raises ApplianceError."""
    run = runs.get(store, run_id)
    if run.state == "queued" or run.state in runs.ACTIVE:
        return run
    again = runs.continue_run(store, run_id)
    audit.record(store, member, "continue", again.name)
    return again


def stop(store: Store, member: Member, run_id: int) -> Run:
    """The run, asked to stop. A second click changes nothing. Raises ApplianceError."""
    before = runs.get(store, run_id)
    if before.stop_asked is not None and before.state in ("stopping", "stopped"):
        return before
    asked = runs.ask_stop(store, run_id)
    audit.record(store, member, "stop", asked.name)
    return asked


def adaptive(config_yaml: str) -> bool:
    """Whether the price of drift moves towards its target, so that the target means something."""
    try:
        config = parse(_mapping(config_yaml), origin="the config")
    except ApplianceError:
        return False
    return isinstance(config, PpoConfig) and config.kl.adaptive


def begin(store: Store, member: Member, original: Run, config_yaml: str, *, stage: str, key: str) -> Run:
    """A new run with these settings at the end of the queue; the same key twice is one run. Raises ApplianceError."""
    made = runs.enqueue(
        store,
        config_yaml=config_yaml,
        name=yaml.safe_load(config_yaml)["name"],
        stage=stage,
        owner_id=member.id,
        key=key,
        dataset_id=original.dataset_id,
        parent_id=original.id,
    )
    audit.record(store, member, "start", made.name, {"again": original.name})
    return made
