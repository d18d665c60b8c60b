"""What was asked and answered before and after a run: plain records that samples.json keeps whole."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from appliance.errors import ApplianceError

SCHEMA = 1
FIX = "make the comparison anew from the run's checkpoint"


@dataclass(frozen=True)
class Answers:
    """One side's answers: P prompts, S samples of each, every field [P][S]. Raises ApplianceError if shapes differ.

    A score may be any finite number; every other field says its unit.
    """

    texts: list[list[str]]
    scores: list[list[float]]  # what PPO learned from
    tokens: list[list[int]]  # response length in tokens, the end token included
    ended: list[list[bool]]  # the policy ended the response by itself
    kl: list[list[float]]  # nats per response, sum_t(lp_t - start_lp_t); 0 for the starting policy itself
    start_nll: list[list[float]]  # nats per response, -sum_t(start_lp_t): for perplexity under the starting model
    opinion: list[list[float]] | None = None  # the second opinion's scores, if there is one

    def __post_init__(self) -> None:
        shape = [len(row) for row in self.texts]
        if not shape or not all(shape) or len(set(shape)) != 1:
            raise _damaged(
                f"texts has rows of {sorted(set(shape))} samples; at least one is needed, as many everywhere"
            )
        for name, kind in KINDS.items():
            rows = getattr(self, name)
            if rows is None and name == "opinion":
                continue
            if [len(row) for row in rows] != shape:
                raise _damaged(f"{name} is not {len(shape)} prompts of {shape[0]} samples, as texts is")
            if not all(kind(value) for row in rows for value in row):
                raise _damaged(f"{name} holds a value that is not {NOUNS[kind]}")


@dataclass(frozen=True)
class Comparison:
    """The same prompts answered by the starting policy and by the result, with the same random numbers.

    Sample s of prompt p is the same draw on both sides. Raises ApplianceError when the sides do not match.
    """

    prompts: list[str]
    before: Answers
    after: Answers

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            rows = len(getattr(self, name).texts)
            if rows != len(self.prompts):
                raise _damaged(f"{name} answers {rows} prompts of {len(self.prompts)}")
        if not all(isinstance(prompt, str) for prompt in self.prompts):
            raise _damaged("prompts holds something that is not text")
        if len(self.before.texts[0]) != len(self.after.texts[0]):
            samples = len(self.before.texts[0]), len(self.after.texts[0])
            raise _damaged(f"{samples[0]} samples a prompt before, {samples[1]} after: they cannot be paired")
        if (self.before.opinion is None) != (self.after.opinion is None):
            raise _damaged("only one side has a second opinion")

    @property
    def samples(self) -> int:
        """S, the number of samples of each prompt."""
        return len(self.before.texts[0])

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; `from_json` reads them back."""
        return {"schema": SCHEMA} | asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Comparison":
        """What `to_json` gave. Raises ApplianceError naming the key that is missing, unknown or of a wrong kind."""
        _keys(value, {"schema", "prompts", "before", "after"}, "samples")
        if value["schema"] != SCHEMA:
            raise _damaged(f"schema is {value['schema']!r}, this version reads {SCHEMA}")
        if not isinstance(value["prompts"], list):
            raise _damaged("prompts is not a list")
        return cls(value["prompts"], _answers(value["before"], "before"), _answers(value["after"], "after"))


def is_text(value: Any) -> bool:
    """True for a string."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """True for a whole number, zero or more; False for True and False."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_flag(value: Any) -> bool:
    """True for True and False."""
    return isinstance(value, bool)


def is_number(value: Any) -> bool:
    """True for a finite number; False for True and False."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


KINDS = {
    "texts": is_text,
    "scores": is_number,
    "tokens": is_count,
    "ended": is_flag,
    "kl": is_number,
    "start_nll": is_number,
    "opinion": is_number,
}
NOUNS = {is_text: "text", is_number: "a finite number", is_count: "a whole number", is_flag: "true or false"}


def _answers(value: Any, side: str) -> Answers:
    names = {field.name for field in fields(Answers)}
    _keys(value, names, side)
    for name, rows in value.items():
        if rows is None and name == "opinion":
            continue
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise _damaged(f"{side}.{name} is not a list of lists")
    return Answers(**value)


def _keys(value: Any, wanted: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise _damaged(f"{where} is {type(value).__name__}, not a table of keys")
    for what, names in (("lacks", wanted - set(value)), ("has the unknown", set(value) - wanted)):
        if names:
            raise _damaged(f"{where} {what} keys {', '.join(sorted(map(str, names)))}")


def _damaged(what: str) -> ApplianceError:
    return ApplianceError(f"the before/after samples are damaged: {what}", FIX)


def flat(rows: list[list[Any]]) -> Iterator[Any]:
    """The P * S values one after another, prompt by prompt."""
    return (value for row in rows for value in row)
