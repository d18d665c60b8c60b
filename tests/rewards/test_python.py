"""A function of the user's own: found in its folder, and every way in which it can be wrong told."""

import sys

import pytest
import torch
from pydantic import ValidationError

from appliance.errors import ApplianceError, ConfigError
from appliance.rewards import python

CPU = torch.device("cpu")
CODE = """
def lengths(prompts, responses):
    return [len(p) + 10 * len(r) for p, r in zip(prompts, responses)]

def one(prompts, responses):
    return [1.0]

def broken(prompts, responses):
    return [1 / 0]

def words(prompts, responses):
    return ["many"] * len(prompts)

number = 3
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make("name"): the source of that function in a module that only this test has."""
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def source(name, module=module):
        return python.make(python.Options(function=f"{module}:{name}", folder=str(tmp_path)), CPU)

    yield source
    sys.modules.pop(module, None)


def test_the_function_scores_and_the_path_stays_as_it_was(make):
    before = list(sys.path)
    scores = make("lengths")(["a", ""], ["bc", "d"])
    assert sys.path == before
    assert scores.dtype == torch.float32
    assert scores.tolist() == [21.0, 10.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", r"ZeroDivisionError: division by zero \(.*own_.*\.py line 9\)"), ("words", "ValueError")],
)
def test_a_function_that_fails_is_named_with_the_line(make, name, message):
    with pytest.raises(ApplianceError, match=rf":{name} failed on 1 texts: {message}"):
        make(name)(["p"], ["r"])


def test_what_cannot_be_imported_is_refused(make):
    with pytest.raises(ConfigError, match="has no function 'nothing'; it has broken, lengths, one, words"):
        make("nothing")
    with pytest.raises(ConfigError, match="has no function 'number'"):
        make("number")
    with pytest.raises(ConfigError, match=r"'no_such_module' cannot be imported.*ModuleNotFoundError"):
        make("score", module="no_such_module")
    with pytest.raises(ConfigError, match="there is no folder"):
        python.make(python.Options(function="a:b", folder="/nowhere"), CPU)


@pytest.mark.parametrize("function", ["score", "a.b.c", "a:b.c", "os;x:y", ":f", "a:", "a b:c", "../a:b"])
def test_a_name_must_be_a_module_and_a_function(function):
    with pytest.raises(ValidationError):
        python.Options(function=function)
