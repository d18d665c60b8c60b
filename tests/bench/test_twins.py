"""The learning curves of the recipes' twins: one tiny run goes through, and the table says what it found."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """twins.py; its neighbours can be imported meanwhile."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("bench_twins", HERE / "twins.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_recipe_runs_and_its_row_has_a_point_for_each_measurement(monkeypatch, capsys):
    twins = load(monkeypatch)
    monkeypatch.setattr(twins, "SIZES", twins.SIZES | {"evaluation.report_samples": 1})
    monkeypatch.setattr(os, "environ", dict(os.environ))
    argv = ["twins.py", "--only", "gpt2", "--seeds", "3", "--steps", "1", "--teach", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    twins.main()
    *_, row, together, _, foot = capsys.readouterr().out.splitlines()
    name, seed, curve, *_ = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, seed, len(curve.split())) == ("gpt2", "3", 2)
    assert together.startswith("| gpt2 | all |")
    # what the recipe does not say is told, where its models are is not
    assert foot.startswith("gpt2: batch.steps=30, batch.rollout=32, ")
    assert "policy.model" not in foot


def test_the_sign_test_counts_both_tails(monkeypatch):
    twins = load(monkeypatch)
    # 9 of 10: (10 + 1) / 1024 in a tail; 5 of 10 is no surprise; with nothing changed there is nothing to test
    assert twins.sign_test_p(9, 1) == pytest.approx(2 * 11 / 1024)
    assert twins.sign_test_p(1, 9) == pytest.approx(2 * 11 / 1024)
    assert twins.sign_test_p(5, 5) == 1.0
    assert twins.sign_test_p(0, 0) == 1.0


def test_runs_of_one_recipe_are_added_up(monkeypatch):
    twins = load(monkeypatch)
    one = {
        "curve": [0.0, 1.0],
        "mean_reward": {"before": 0.0, "after": 1.0},
        "sign_test_p": 0.5,
        "kl": 2.0,
        "seconds": 3,
    }
    made = [one | {"seed": 1, "improved": 9, "worse": 1}, one | {"seed": 2, "improved": 0, "worse": 0}]
    *runs, together = twins.rows("opt", made)
    assert [row[4] for row in runs] == ["9 / 1", "0 / 0"]
    assert together[4:6] == ["9 / 1", "0.021"]
