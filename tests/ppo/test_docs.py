"""docs/metrics.md says what the code measures, in the code's own words."""

import re
from pathlib import Path

import pytest

from appliance.ppo.metrics import EVAL_METRICS, METRICS, PART_METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TABLES = pytest.mark.parametrize(
    ("heading", "metrics"),
    [("Every step", METRICS), ("On held-out prompts", EVAL_METRICS), ("Of each source of a blend", PART_METRICS)],
)


def section(heading):
    return PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]


def as_row(name, metric):
    formula, meaning = (text.replace("|", r"\|") for text in (metric.formula, metric.meaning))
    return f"| `{name}` | `{formula}` | {metric.unit} | {meaning} |"


@TABLES
def test_the_table_of_metrics_is_the_codes(heading, metrics):
    rows = [as_row(name, metric) for name, metric in metrics.items()]
    found = [line for line in section(heading).splitlines() if line.startswith("| `")]
    assert found == rows, "write these rows under the heading:\n" + "\n".join(rows)


@TABLES
def test_every_metric_has_a_unit_a_formula_and_a_meaning(heading, metrics):
    for name, metric in metrics.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert metric.unit, heading
        assert metric.formula
        assert metric.meaning


def test_no_metric_is_named_twice():
    assert not METRICS.keys() & EVAL_METRICS.keys()
    assert not PART_METRICS.keys() & (METRICS | EVAL_METRICS).keys()
