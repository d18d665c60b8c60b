"""Ranges, batch sizes that divide, and that no key of a config is without a reader."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import appliance
from appliance.config import PpoConfig, RewardConfig, SftConfig
from appliance.config.base import TokenRange, each_divides, fill_from_larger
from appliance.config.ppo import Batch

SIZES = st.integers(1, 512)


@given(SIZES, SIZES)
def test_a_range_is_read_from_a_pair_unless_it_is_empty(low, high):
    if low > high:
        with pytest.raises(ValidationError, match="is empty"):
            TokenRange.model_validate([low, high])
    else:
        pair = TokenRange.model_validate([low, high])
        assert pair == TokenRange.model_validate({"low": low, "high": high})
        assert TokenRange.model_validate(pair.model_dump(mode="json")) == pair


@pytest.mark.parametrize("value", [[1], [1, 2, 3], 4, "4", [1.5, 2], [None, 2], {"low": 1}])
def test_what_is_no_pair_of_lengths_is_no_range(value):
    with pytest.raises(ValidationError):
        TokenRange.model_validate(value)


@given(SIZES, SIZES)
def test_a_size_passes_exactly_when_it_divides_and_the_hints_would_pass(large, small):
    check = each_divides("large", "small")
    section = SimpleNamespace(large=large, small=small)
    if large % small == 0:
        assert check(section) is section
        return
    with pytest.raises(ValueError, match=f"^small {small} does not divide large {large}. Use ") as caught:
        check(section)
    hints = [int(word) for word in str(caught.value).rpartition("Use ")[2].split(" or ")]
    assert hints
    assert all(large % hint == 0 for hint in hints)
    # no divisor lies nearer than the nearest hint
    nearest = min(abs(d - small) for d in range(1, large + 1) if large % d == 0)
    assert min(abs(hint - small) for hint in hints) == nearest


def test_a_size_that_is_not_given_is_the_next_larger_one():
    assert Batch.model_validate({"rollout": 64}).model_dump() == {
        "steps": 194,
        "rollout": 64,
        "minibatch": 64,
        "microbatch": 64,
    }
    chosen = Batch.model_validate({"rollout": 64, "minibatch": 16})
    assert (chosen.minibatch, chosen.microbatch) == (16, 16)


def test_filling_leaves_what_it_was_given_alone():
    given_values = {"rollout": 8}
    fill_from_larger("rollout", "minibatch")(given_values)
    assert given_values == {"rollout": 8}


# --- every key has a reader

CONFIGS = (PpoConfig, RewardConfig, SftConfig)


def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A config model with every section inside it."""
    found = {model}
    for field in model.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= sections(inner)
    return found


def fields() -> dict[str, str]:
    """Every key of the three configs, with a section that has it."""
    every = set().union(*map(sections, CONFIGS))
    return {name: model.__name__ for model in every for name in model.model_fields}


def attributes_read() -> set[str]:
    """Names that the package reads as attributes, outside config/."""
    root = Path(appliance.__file__).parent
    return {
        node.attr
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] != "config"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_every_key_is_read_somewhere():
    read = attributes_read()
    assert not {name: section for name, section in fields().items() if name not in read}
    assert "no_such_key" not in read


def test_every_key_has_a_meaning():
    every = set().union(*map(sections, CONFIGS))
    plain = [
        f"{model.__name__}.{name}"
        for model in every - {TokenRange}
        for name, field in model.model_fields.items()
        if not field.description
        and not any(isinstance(t, type) and issubclass(t, BaseModel) for t in (field.annotation,))
    ]
    assert not plain


PPO = {"policy": {"model": "gpt2"}, "reward": {"source": "length"}, "prompts": {"source": "p.txt"}}


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": {"betas": [1.0, 0.9]}},
        {"optimizer": {"betas": [0.9, 1.0]}},  # divides by 1 - beta
        {"optimizer": {"betas": [0.9, float("nan")]}},
        {"seed": 2**32},  # more than numpy takes
        {"seed": 10**26},
        {"scores": {"missing_eos": "replace", "missing_eos_penalty": float("nan")}},
        {"scores": {"missing_eos": "subtract", "missing_eos_penalty": float("inf")}},
        {"sampling": {"temperature": 0.001}},
        {"sampling": {"temperature": float("nan")}},
        {"sampling": {"temperature": float("inf")}},
        {"sampling": {"stop_at_eos": False}, "scores": {"missing_eos": "drop"}},
        {"sampling": {"stop_at_eos": False}, "scores": {"missing_eos": "replace"}},
        {"sampling": {"stop_at_eos": False}, "scores": {"missing_eos": "subtract"}},
        {"compile": True, "device": "cuda"},
        {"compile": True, "policy": {"model": "gpt2", "train": "top_layers"}},
        {"sampling": {"engine": "compiled"}},
    ],
)
def test_numbers_that_would_end_the_run_later_are_refused(values):
    with pytest.raises(ValidationError):
        PpoConfig.model_validate(PPO | values)


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": {"betas": [0.0, 0.999]}},
        {"seed": 2**32 - 1},
        {"scores": {"missing_eos": "replace", "missing_eos_penalty": -2.0}},
        {"sampling": {"temperature": 0.01}},
        {"sampling": {"stop_at_eos": False}},
        {"scores": {"missing_eos": "drop"}},
    ],
)
def test_numbers_at_those_limits_are_taken(values):
    PpoConfig.model_validate(PPO | values)


def test_a_missing_end_cannot_be_penalised_where_nothing_ends():
    values = {"sampling": {"stop_at_eos": False}, "scores": {"missing_eos": "drop"}}
    with pytest.raises(ValidationError, match=r"scores\.missing_eos goes with sampling\.stop_at_eos: true"):
        PpoConfig.model_validate(PPO | values)


@pytest.mark.parametrize("weight", [0.0, float("inf"), float("nan")])
def test_the_weight_of_centring_is_a_number(weight):
    values = {"model": {"model": "gpt2"}, "data": {"source": "pairs.jsonl"}}
    with pytest.raises(ValidationError):
        RewardConfig.model_validate(values | {"training": {"center_coef": weight}})
    RewardConfig.model_validate(values | {"training": {"center_coef": 0.01}})
