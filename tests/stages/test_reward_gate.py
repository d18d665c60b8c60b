"""The quality gate: each of its conditions, what PPO is told of it, and where it is looked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.config.reward import QualityGate
from appliance.ppo.journal import Journal
from appliance.progress import progress
from appliance.stages.reward_gate import gate_warnings, judge_gate, warn_of_gate
from appliance.store.rundir import RunDir

GOOD = {"held_out_accuracy": 0.8, "longer_wins_accuracy": 0.5, "longer_wins_p": 0.001, "held_out_pairs": 200}


def test_a_model_that_meets_every_condition_passes():
    assert judge_gate(GOOD, QualityGate()) == {"passed": True, "reasons": []}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"held_out_accuracy": 0.599}, "held-out accuracy 59.9% is below 60.0%"),
        ({"longer_wins_accuracy": 0.8}, "choosing the longer response is right in 80.0%, the model in 80.0%"),
        (
            {"longer_wins_p": 0.07},
            "it is not shown to be better than choosing the longer response: 80.0% against 50.0%, p = 0.07",
        ),
        ({"held_out_pairs": 49}, "only 49 pairs were held out, fewer than 50"),
    ],
)
def test_each_condition_that_is_not_met_is_a_reason(change, reason):
    assert judge_gate(GOOD | change, QualityGate()) == {"passed": False, "reasons": [reason]}


def test_the_longer_response_matters_only_where_the_gate_says_so():
    loser = GOOD | {"longer_wins_accuracy": 0.9, "longer_wins_p": 0.9}
    assert judge_gate(loser, QualityGate(beat_longer=False))["passed"]
    assert judge_gate(GOOD | {"held_out_accuracy": 0.6}, QualityGate())["passed"]  # the limit itself is enough
    assert judge_gate(GOOD | {"held_out_pairs": 50}, QualityGate())["passed"]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """model(name, gate): the folder of a reward run whose reward.json has this gate."""

    def make(name: str, gate: Any) -> str:
        inner = tmp_path / name / "model"
        inner.mkdir(parents=True)
        (inner / "reward.json").write_text(json.dumps({"mean": 0.0, "std": 1.0} | ({"gate": gate} if gate else {})))
        return str(tmp_path / name)

    return make


FAILED = {"passed": False, "reasons": ["too few pairs", "too inaccurate"]}


def test_a_model_that_failed_is_warned_of_by_its_reasons(model):
    folder = model("weak", FAILED)
    expected = [f"the reward model {folder} did not pass its quality gate: too few pairs; too inaccurate"]
    assert gate_warnings({"source": "trained", "model": folder}) == expected
    assert gate_warnings({"source": "trained", "model": f"{folder}/model"}) == [
        expected[0].replace(folder, f"{folder}/model")
    ]


def test_models_inside_a_blend_are_found_once_each(model):
    weak, strong, other = model("weak", FAILED), model("strong", {"passed": True, "reasons": []}), model("x", FAILED)
    blend = {
        "source": "blend",
        "parts": [
            {"weight": 1, "reward": {"source": "trained", "model": weak}},
            {"weight": 1, "reward": {"source": "trained", "model": strong}},
            {"source": "trained", "model": weak},
        ],
        "gate": {"inner": {"source": "blend", "of": ({"source": "trained", "model": other},)}},
    }
    assert [warning.split()[3] for warning in gate_warnings(blend)] == [weak, other]


def test_without_a_verdict_there_is_no_warning(model, tmp_path):
    assert not gate_warnings({"source": "trained", "model": model("old", None)})
    assert not gate_warnings({"source": "trained", "model": "owner/hub-name"})
    assert not gate_warnings({"source": "length"})
    weak = model("weak", FAILED)
    assert not gate_warnings({"source": "classifier", "model": weak})
    (Path(weak) / "model" / "reward.json").write_text("{")
    assert not gate_warnings({"source": "trained", "model": weak})


def test_a_warning_is_shown_and_is_an_alarm_of_the_run(model, tmp_path, capsys):
    folder = model("weak", FAILED)
    (tmp_path / "run").mkdir()
    run = RunDir(tmp_path / "run")
    with progress("PPO", 1) as shown:
        warn_of_gate({"source": "trained", "model": folder}, Journal(run, 1, shown, None))
    assert "  warning: the reward model" in capsys.readouterr().err
    notice, alarm = run.read_log("events.jsonl")
    assert (notice["kind"], alarm["kind"], alarm["step"], alarm["name"]) == ("notice", "alarm", 0, "reward_gate")
    assert alarm["what"] == gate_warnings({"source": "trained", "model": folder})[0]
    assert "train a better reward model" in alarm["fix"]
