"""A reward model's report: the verdict in words, one page that needs nothing but itself, pictures that say their numbers."""

import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from appliance.evaluate import reward_report
from appliance.evaluate.reward_charts import calibration_chart, score_chart, training_charts
from appliance.evaluate.reward_figures import ScoredPair, measure

METRICS = [{"step": s, "loss": 0.7 - s / 50, "accuracy": 0.5 + s / 40, "margin": s / 10} for s in range(1, 11)]
PAIRS = [
    ScoredPair(f"k{i}", f"prompt {i}", f"kinder {i}", f"harder {i}", (2.0 if i % 5 else -1.0) + i / 50, 0.5)
    for i in range(60)
]
TIES = [ScoredPair("k1", "prompt 1", "one", "other", 0.25, 0.5)]


def result(pairs: list[ScoredPair] = PAIRS, ties: list[ScoredPair] = TIES, **changes: Any) -> dict[str, Any]:
    """A run's result.json."""
    return {
        "rankings": 500,
        "pairs": 900,
        "training_ties": 4,
        "held_out_rankings": len(pairs),
        **measure(pairs, ties),
        "score_mean": 0.5,
        "score_std": 1.5,
        "measured_on": {"what": "the held-out responses", "samples": 120},
        "gate": {"passed": True, "reasons": []},
        "steps": 10,
        "seconds": 62.0,
    } | changes


def built(found: dict[str, Any], pairs: list[ScoredPair] = PAIRS, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """report.json of a result."""
    run = {"name": "judge", "model": "m", "versions": {"torch": "2"}, "config": "stage: reward\n"}
    return reward_report.build(found, pairs, notes=notes, run=run)


def test_the_verdict_is_a_sentence_with_both_baselines():
    # 48 of 60 right; all pairs are of one length, which counts half. Two-sided binomial p of 48 of 60: 0.0000030
    text = reward_report.sentence(result())
    assert text.startswith(
        "The reward model passed its quality gate: it agrees with 80.0% of 60 held-out pairs (95% interval 68.2% to 88.2%)"
    )
    assert "chance is 50.0% (p = 0.000003), choosing the longer response 50.0% (p = 0.000003)" in text
    failed = reward_report.sentence(
        result(gate={"passed": False, "reasons": ["too few pairs", "no better than length"]})
    )
    assert failed.startswith(
        "The reward model did not pass its quality gate: too few pairs; no better than length. In numbers, it agrees"
    )


def test_the_report_keeps_the_figures_and_the_worst_disagreements():
    report = built(result(), notes=("3 blank rows dropped",))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["verdict"]["word"] == "passed"
    assert report["held_out_accuracy"] == 0.8
    assert report["ties"]["pairs"] == 1
    assert report["notes"] == ["3 blank rows dropped"]
    # wrong ones are i = 0, 5, 10, ...: -1 + i / 50 - 0.5, the most wrong first
    assert [found["prompt"] for found in report["worst"]] == [f"prompt {i}" for i in range(0, 50, 5)]
    assert report["worst"][0]["margin"] == -1.5
    assert "key" not in report["worst"][0]


def test_a_very_long_text_keeps_its_end():
    long = ScoredPair("k", "p" * 5000 + "end", "a", "b", 0.0, 1.0)
    (found,) = built(result([long, *PAIRS]), [long])["worst"]
    assert len(found["prompt"]) == 4005
    assert found["prompt"].startswith("[...]p")
    assert found["prompt"].endswith("pend")


@pytest.fixture
def page(tmp_path):
    """page(result, pairs): report.html of it."""

    def make(found: dict[str, Any], pairs: list[ScoredPair] = PAIRS, notes: tuple[str, ...] = ()) -> str:
        reward_report.write(tmp_path / "report", built(found, pairs, notes), pairs, METRICS)
        assert json.loads((tmp_path / "report" / "report.json").read_text())["schema"] == 1
        return (tmp_path / "report" / "report.html").read_text()

    return make


def test_the_page_needs_nothing_but_itself_and_shows_five_pictures(page):
    html = page(result(), notes=("3 blank rows dropped",))
    for outside in ("http://", "https://", "<script", "<link", "<img", "@import", "url("):
        assert outside not in html
    assert html.count("<svg") == 5
    assert ".verdict {" in html  # the look of the other report
    for text in ("Quality gate passed", "80.0%", "3 blank rows dropped", "stage: reward", "1 min 02 s", "4 ties"):
        assert text in html


def test_texts_of_the_data_are_escaped(page):
    nasty = ScoredPair("k", "<script>alert(1)</script>", "<b>a</b>", "\x00b", 0.0, 1.0)
    html = page(result([nasty, *PAIRS]), [nasty, *PAIRS])
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "\x00" not in html


def test_a_gate_that_was_not_passed_is_said_with_every_reason(page):
    html = page(result(gate={"passed": False, "reasons": ["too few pairs", "no better than length"]}))
    assert "Quality gate not passed" in html
    assert "<li>too few pairs</li>" in html
    assert 'class="verdict worse"' in html


def test_the_page_says_how_pairs_of_one_prompt_were_counted(page):
    assert "Every prompt has one pair" in page(result())
    doubled = [*PAIRS, *PAIRS]
    html = page(result(doubled), doubled)
    assert "Wilson&#39;s for 60 independent pairs" in html or "Wilson's for 60 independent pairs" in html


def test_a_model_that_is_always_right_without_ties_has_a_page(page):
    pairs = [pair for pair in PAIRS if pair.margin > 0]
    html = page(result(pairs, []), pairs)
    assert "the model agrees with every held-out pair" in html
    assert "ties" not in html.split("<h2>Pictures</h2>")[0].replace("and 4 ties", "")


def test_the_scale_says_what_it_was_measured_on():
    policy = {
        "what": "responses of the starting policy",
        "policy": "gpt2",
        "revision": None,
        "prompts": "p.txt",
        "samples": 256,
        "response_tokens": [16, 48],
    }
    assert reward_report.measured_text(policy) == (
        "256 responses of the starting policy gpt2 to prompts of p.txt, 16 to 48 tokens each"
    )
    assert reward_report.measured_text({"what": "the held-out responses", "samples": 8}) == "the held-out responses (8)"


# --- pictures


def test_the_calibration_stands_where_its_numbers_are():
    svg = calibration_chart(measure(PAIRS)["calibration"])
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label").startswith("Calibration: ")
    # sigmoid(0.5 .. 2.7) in bins; the dot of a bin that is right more often stands higher
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter("circle")]
    assert len(dots) == len(measure(PAIRS)["calibration"])
    assert dots == sorted(dots)
    for bin_, (x, y) in zip(measure(PAIRS)["calibration"], dots, strict=True):
        # 52 to 344 from 0.5 to 1, 176 to 40 from 0 to 1
        assert x == pytest.approx(52 + 292 * (bin_["predicted"] - 0.5) / 0.5, abs=0.06)
        assert y == pytest.approx(176 - 136 * bin_["observed"], abs=0.06)


def test_the_histogram_counts_every_pair_on_both_sides():
    svg = score_chart([1.0, 1.0, 3.0], [0.0, 0.0, 0.0])
    root = ElementTree.fromstring(svg)
    paths = {path.get("class"): path.get("d") for path in root.iter("path") if path.get("class")}
    assert set(paths) == {"train", "held"}
    # three rejected scores of 0 fill the first step: to the top (40) of an axis from 0 to 3
    assert paths["held"].startswith("M52.0 176.0V40.0H")
    assert "chosen 1.67 on average, rejected 0" in root.get("aria-label")
    assert "<svg" in score_chart([1.0], [1.0])  # all alike


def test_training_has_a_picture_of_loss_accuracy_and_margin():
    drawn = training_charts(METRICS)
    assert [ElementTree.fromstring(svg).get("aria-label").split(" in ")[0] for svg in drawn] == [
        "Loss",
        "Accuracy",
        "Margin",
    ]
    assert all("wrote no numbers" in text for text in training_charts([]))
