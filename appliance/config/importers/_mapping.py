"""A framework's settings as a table, and what the table makes of a file: our config, and a list of what is not in it."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import yaml

from appliance.config.load import parse
from appliance.config.ppo import PpoConfig
from appliance.errors import ConfigError

Given = Mapping[str, Any]
"""Their settings by dotted key, with their defaults where the file is silent."""
Ours = dict[str, Any]
"""Our settings by dotted key."""
UNSET: Any = object()
CHOOSE = "CHOOSE"
"""Marks a line that the file says nothing about and the user has to write."""

SECRET = re.compile(r"(token|secret|passw|credential|api_?key|access_?key)(?!izer)(?!_id$)", re.IGNORECASE)
"""Keys whose values are never looked at: hub tokens and their like. stop_token and tokenizer settings are in a table."""


class NoCounterpart(Exception):
    """This value of a setting cannot be said in our config; the text says why, and what holds instead."""


@dataclass(frozen=True)
class Row:
    """What one of their settings sets of ours: the same value, or what `convert` makes of it; without `ours` nothing."""

    ours: tuple[str, ...]
    note: str = ""  # how the value changes; without `ours`: why there is nothing
    convert: Callable[[Any, Given], Ours] | None = None
    default: Any = UNSET  # what they use when the file is silent


def same(ours: str, *, default: Any = UNSET, note: str = "") -> Row:
    """A setting that we have with the same meaning and unit."""
    return Row((ours,), note, None, default)


def made(*ours: str, note: str, by: Callable[[Any, Given], Ours], default: Any = UNSET) -> Row:
    """A setting that `by(value, given)` turns into ours; it may raise NoCounterpart."""
    return Row(ours, note, by, default)


def nothing(why: str) -> Row:
    """A setting that has no place in our config."""
    return Row((), why)


@dataclass(frozen=True)
class Framework:
    """One kind of file: its settings, what it does without a setting for it, and what it does not say.

    A key of `rows` that ends in `.*` stands for everything below it, and has no counterpart.
    """

    name: str
    rows: dict[str, Row]
    always: dict[str, tuple[Any, str]] = field(default_factory=dict)  # our key: the value, and what they do
    choose: dict[str, tuple[Any, str]] = field(default_factory=dict)  # our key: a stand-in, and what to write there


@dataclass(frozen=True)
class Imported:
    """Our config, where each of its lines is from, and their settings that are not in it, each with the reason."""

    framework: str
    config: PpoConfig
    values: Ours
    origins: dict[str, str]
    left: list[tuple[str, str]]


def imported(framework: Framework, given: Given, *, origin: str) -> Imported:
    """What the table makes of the settings in the file `origin`. Raises ConfigError when a value is out of our range."""
    full = {key: row.default for key, row in framework.rows.items() if row.default is not UNSET} | dict(given)
    values: Ours = {}
    origins: dict[str, str] = {}
    left: list[tuple[str, str]] = []
    for key, row in framework.rows.items():
        if key not in full:
            continue
        if not row.ours:
            left += [(key, row.note)] if key in given else []
            continue
        try:
            found = row.convert(full[key], full) if row.convert else {row.ours[0]: full[key]}
        except NoCounterpart as why:
            left.append((key, str(why)))
            continue
        for ours, value in found.items():
            values[ours] = value
            origins[ours] = key + (f", {row.note}" if row.note else "") + ("" if key in given else " (not given)")
    for ours, (value, what) in framework.always.items():
        if ours not in values:
            values[ours], origins[ours] = value, f"always: {what}"
    rewarded = "reward.source" in values
    for ours, (value, what) in framework.choose.items():
        if ours not in values and not (rewarded and ours.startswith("reward.")):
            values[ours], origins[ours] = value, f"{CHOOSE}: {what}"
    left += _unknown(given, framework)
    config = parse(nested(values), origin=f"{origin}, as our config")
    if not isinstance(config, PpoConfig):
        raise TypeError("an importer made a config of another stage")
    return Imported(framework.name, config, values, origins, left)


def _unknown(given: Given, framework: Framework) -> list[tuple[str, str]]:
    """The settings that the table does not have by name, each with what can be said of it."""
    told: list[tuple[str, str]] = []
    groups = {key[:-1]: row.note for key, row in framework.rows.items() if key.endswith(".*")}
    for key in given:
        if key in framework.rows:
            continue
        group = next((note for prefix, note in groups.items() if key.startswith(prefix)), None)
        if SECRET.search(key):
            told.append((key, "a secret: never copied"))
        elif group is not None:
            told.append((key, group))
        else:
            near = get_close_matches(key, [name for name in framework.rows if not name.endswith("*")], n=1, cutoff=0.8)
            told.append((key, f"unknown to {framework.name}" + (f"; did you mean {near[0]}?" if near else "")))
    return told


def nested(values: Ours) -> dict[str, Any]:
    """Dotted keys as sections within sections, `stage: ppo` before them."""
    made: dict[str, Any] = {"stage": "ppo"}
    for key, value in values.items():
        *sections, last = key.split(".")
        where = made
        for section in sections:
            where = where.setdefault(section, {})
        where[last] = value
    return made


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections within sections as dotted keys; a list, and a section without keys, is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}".replace("/", ".")
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = _number(value)
    return found


def _number(value: Any) -> Any:
    """9e-7 and 1e12 as numbers: YAML reads a float without a point as text."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return [_number(item) for item in value] if isinstance(value, list | tuple) else value


def to_text(found: Imported, *, origin: str, command: str) -> str:
    """The config as YAML that says of each line where it is from, and at its end what is not in it and why."""
    lines = [
        f"# Made by `{command}` from {origin}: {found.framework}.",
        "# Behind each line is the setting that it is from; (not given): the file is silent, and this is their default.",
        "stage: ppo",
    ]
    written: list[str] = []
    for key in _ordered(found.values):
        *sections, last = key.split(".")
        for depth, section in enumerate(sections):
            if written[: depth + 1] != sections[: depth + 1]:
                written = sections[: depth + 1]
                lines.append(f"{'  ' * depth}{section}:")
        written = sections
        value = yaml.safe_dump(found.values[key], default_flow_style=True, width=10**6, allow_unicode=True)
        text = value.removesuffix("...\n").strip()
        lines.append(f"{'  ' * len(sections)}{last}: {text}  # {' '.join(found.origins[key].split())}")
    if found.left:
        lines += ["", "# Not taken over:", *(f"#   {line}" for line in left_lines(found))]
    return "\n".join(lines) + "\n"


def left_lines(found: Imported) -> list[str]:
    """What was not taken over, a line per reason: the settings, and why."""
    reasons: dict[str, list[str]] = {}
    for key, why in found.left:
        reasons.setdefault(" ".join(why.split()), []).append(" ".join(key.split()))
    return [f"{', '.join(keys)}: {why}" for why, keys in reasons.items()]


def _ordered(values: Ours) -> list[str]:
    """The keys in the order of our config: what has no section first."""
    sections = list(PpoConfig.model_fields)

    def place(key: str) -> tuple[bool, int, int]:
        section, _, inner = key.partition(".")
        annotation = PpoConfig.model_fields[section].annotation
        known = list(getattr(annotation, "model_fields", {}))
        name = inner.partition(".")[0]
        return bool(inner), sections.index(section), known.index(name) if name in known else 0

    return sorted(values, key=place)


def table(framework: Framework) -> str:
    """The framework's settings as Markdown: a row for each that we have, then a row per reason for the others."""
    lines = [f"| {framework.name} | ours | |", "|---|---|---|"]
    for key, row in framework.rows.items():
        if row.ours:
            lines.append(f"| `{key}` | {', '.join(f'`{ours}`' for ours in row.ours)} | {row.note} |")
    lines += [f"| (always) | `{ours}` | {what} |" for ours, (_, what) in framework.always.items()]
    reasons: dict[str, list[str]] = {}
    for key, row in framework.rows.items():
        if not row.ours:
            reasons.setdefault(row.note, []).append(key)
    lines += [f"| {', '.join(f'`{key}`' for key in keys)} | none | {why} |" for why, keys in reasons.items()]
    return "\n".join(lines)


def share_of(part: float, whole: float) -> float:
    """part / whole, between 0 and 1."""
    return min(1.0, max(0.0, part / whole)) if whole else 0.0


def over(value: Any, divisor: Any) -> int:
    """value / divisor, rounded up, at least 1."""
    return max(1, math.ceil(float(value) / float(divisor)))


def whole(value: Any) -> int:
    """A number that has to be whole, as 10000.0 is. Raises NoCounterpart."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise NoCounterpart(f"{value!r} is no whole number")
    return int(value)


def folder_name(value: Any, given: Given) -> Ours:
    """Our `name`: what their run's name has that a folder's name may hold. Raises NoCounterpart when nothing has."""
    text = "" if value is None else str(value)
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("._-")[:64]
    if not name:
        raise NoCounterpart("it is empty")
    return {"name": name}


def refuse(why: str) -> ConfigError:
    """The error for a file that is not what it was said to be."""
    return ConfigError(why, "check --from and the file; `appliance config keys NAME` lists what is understood")
