"""The benchmark runs and says what it should, with this engine alone; its statistics by hand."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the benchmark; its neighbours can be imported meanwhile."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location(f"bench_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs below make the smallest models; the first of them does."""
    return tmp_path_factory.mktemp("bench")


def run(models: Path, *arguments: str) -> tuple[str, dict]:
    """What the benchmark prints, and what it writes to --json."""
    record = models / "record.json"
    script = [sys.executable, str(HERE / "run.py"), "--sizes", "test", "--only", "ours", "--threads", "1"]
    places = ["--python", sys.executable, "--models", str(models), "--json", str(record)]
    done = subprocess.run([*script, *places, *arguments], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(record.read_text(encoding="utf-8"))


def test_speed_is_measured_over_whole_iterations(models: Path):
    printed, found = run(models, "--rounds", "2")
    rounds = found["speed"]["test"]["rounds"]["ours"]
    assert len(rounds) == 2
    for answer in rounds:
        assert set(answer["phases"]) == {"generate", "score", "evaluate", "update", "other"}
        assert all(seconds > 0 for seconds in answer["phases"].values())
        assert sum(answer["phases"].values()) == pytest.approx(answer["seconds"], rel=1e-9)
        assert 8 * 16 <= answer["response_tokens"] <= 8 * 24
        assert answer["peak_gib"] > 0
    assert "| ours |" in printed
    assert "AMX bf16: " in printed
    assert set(found["versions"]["ours"]) >= {"torch", "transformers"}


def test_a_curve_starts_without_drift_and_has_a_point_per_step(models: Path):
    printed, found = run(models, "--curve", "--steps", "2", "--learning-rates", "0.001")
    (curve,) = found["curves"]
    assert [point["iteration"] for point in curve["points"]] == [0, 1, 2]
    assert curve["points"][0]["eval_kl"] == pytest.approx(0.0, abs=1e-4)
    assert curve["points"][2]["eval_kl"] != curve["points"][0]["eval_kl"]
    assert curve["failure"] is None
    assert "learning rate 0.001" in printed


def test_a_contender_that_ends_is_reported_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    contenders = load("contenders", monkeypatch)
    (tmp_path / "dies.py").write_text("import sys\ninput()\nsys.exit('no more memory')\n", encoding="utf-8")
    monkeypatch.setattr(contenders, "HERE", tmp_path)
    child = contenders.Child(sys.executable, "dies.py", [])
    with pytest.raises(contenders.ContenderFailed, match=r"(?s)status 1.*no more memory"):
        child.ask("step")
    child.close()


def test_a_ratio_compares_the_same_round(monkeypatch: pytest.MonkeyPatch):
    table, setting = load("table", monkeypatch), load("setting", monkeypatch)

    def answers(*seconds: float) -> list[dict]:
        phases = dict.fromkeys(setting.PHASES, 0.1)
        return [
            {"seconds": s, "cpu_seconds": s, "phases": phases, "peak_gib": 1.0, "response_tokens": 9} for s in seconds
        ]

    # rounds 1 to 3: 2/1 = 2, 9/3 = 3, 8/2 = 4; the ratio of the medians would be 8/2 = 4
    made = table.summary({"ours": answers(1, 3, 2), "theirs": answers(2, 9, 8)}, setting.Setting(rollout=12))
    assert made["theirs"]["ratios"]["ours"] == {"median": 3, "min": 2, "max": 4}
    assert made["ours"]["ratios"] == {}
    assert made["theirs"]["sequences_per_s"] == 1.5  # 12 / 8


def test_the_torch_of_every_contender_is_the_makefile_s(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCH", raising=False)
    assert load("contenders", monkeypatch).torch_pin().startswith("torch==")
