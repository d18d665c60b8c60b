"""The demo from end to end with a fiftieth of its data and a few steps: every stage, every file, five lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import PpoConfig, RewardConfig, SftConfig, load, to_yaml
from appliance.data import films
from appliance.stages import demo, demo_ppo

SMALL = {
    "sft": {"training": {"max_steps": 4}},
    "reward": {"training": {"max_steps": 4}},
    "ppo": {
        "batch": {"steps": 2, "rollout": 16, "minibatch": 8, "microbatch": 8},
        "evaluation": {"prompts": 8, "report_samples": 2},
    },
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that takes seconds."""
    monkeypatch.setattr(demo, "REVIEWS", 240)
    monkeypatch.setattr(demo, "PAIRS", 160)
    monkeypatch.setattr(demo, "PROMPTS", 120)
    plain = demo.stage_configs

    def shortened(folder: Path, seed: int) -> dict[str, Any]:
        made = plain(folder, seed)
        return {
            stage: config.model_copy(
                update={name: getattr(config, name).model_copy(update=change) for name, change in SMALL[stage].items()}
            )
            for stage, config in made.items()
        }

    monkeypatch.setattr(demo, "stage_configs", shortened)


def test_the_demo_goes_through_every_stage_and_tells_it_in_five_lines(small, command, tmp_path):
    out = tmp_path / "out"
    ended = command("demo", "--out", str(out), "--seed", "2")
    assert ended.code == 0, ended.err
    lines = ended.out.strip().splitlines()
    assert len(lines) == 6  # five, and where the report is
    assert lines[5] == f"report: {out / 'report.html'} (and report.json)"
    assert "held-out accuracy" in ended.err
    assert "held-out loss" in ended.err
    report = json.loads((out / "report.json").read_text())
    assert report["prompts"] == 15
    assert {"data", "sft", "reward", "ppo", "report", "total"} <= report["seconds"].keys()
    assert report["second_opinion"] is not None
    for stage in ("sft", "reward", "ppo"):
        assert json.loads((out / stage / "status.json").read_text())["state"] == "done"
        assert load(out / stage / "config.yaml").name == f"demo-{stage}"
    assert (out / "report.html").read_bytes() == (out / "ppo" / "report" / "report.html").read_bytes()

    again = command("demo", "--out", str(out))
    assert again.code == 1
    assert f"error: {out} is not empty" in again.err


def test_no_text_that_is_trained_on_begins_like_a_prompt_of_the_report(tmp_path, small):
    demo.write_data(tmp_path, 1)
    asked = (tmp_path / "report-prompts.txt").read_text().splitlines()
    assert len(set(asked)) == 15
    reviews = (tmp_path / "reviews.txt").read_text().splitlines()
    prompts = (tmp_path / "prompts.txt").read_text().splitlines()
    pairs = [json.loads(line) for line in (tmp_path / "preferences.jsonl").read_text().splitlines()]
    assert (len(reviews), len(prompts), len(pairs)) == (240, 120, 160)
    for text in (*reviews, *prompts, *(pair["prompt"] for pair in pairs)):
        assert not text.startswith(tuple(asked)), text


def test_the_report_s_prompts_are_the_same_whatever_the_seed_and_the_rest_is_not(tmp_path, small):
    for seed in (1, 2):
        demo.write_data(tmp_path / str(seed), seed)
    files = {
        name: [(tmp_path / seed / name).read_bytes() for seed in "12"] for name in ("report-prompts.txt", "reviews.txt")
    }
    assert files["report-prompts.txt"][0] == files["report-prompts.txt"][1]
    assert files["reviews.txt"][0] != files["reviews.txt"][1]


def test_a_tenth_of_the_raters_choices_is_wrong_and_nothing_else_changes():
    pairs = films.preference_pairs(1000, 3)
    rated = demo.some_wrong(pairs, 3)
    exchanged = [(a, b) for a, b in zip(pairs, rated, strict=True) if a != b]
    assert 70 <= len(exchanged) <= 130  # 100 expected, three standard deviations of 9.5 on either side
    assert all((a["chosen"], a["rejected"]) == (b["rejected"], b["chosen"]) for a, b in exchanged)
    assert demo.some_wrong(pairs, 3) == rated


def test_the_demo_s_configs_are_what_the_command_line_would_take(tmp_path):
    made = demo.stage_configs(tmp_path, 1)
    assert [type(config) for config in made.values()] == [SftConfig, RewardConfig, PpoConfig]
    for stage, config in made.items():
        file = tmp_path / f"{stage}.yaml"
        file.write_text(to_yaml(config))
        assert load(file, stage=stage) == config


def test_the_demo_has_at_least_four_thousand_reviews_and_fifteen_prompts_with_eight_answers():
    assert demo.REVIEWS >= 4000
    assert (demo_ppo.REPORT_PROMPTS, demo_ppo.REPORT_SAMPLES) == (15, 8)


def test_without_out_each_demo_gets_a_new_folder(small, command, tmp_path, monkeypatch):
    begun: list[Path] = []

    def stop(folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        begun.append(folder.parent)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_data", stop)
    run: Callable[..., Any] = command
    assert [run("demo").code, run("demo").code] == [130, 130]
    assert begun == [tmp_path / "appliance-data" / "demo", tmp_path / "appliance-data" / "demo-2"]


def test_the_models_alone_are_made_once_and_ppo_is_left_to_another(small, command, tmp_path):
    out = tmp_path / "example"
    ended = command("demo", "--models-only", "--out", str(out), "--seed", "2")
    assert ended.code == 0, ended.err
    assert not (out / "ppo").exists()
    assert json.loads((out / "status.json").read_text())["state"] == "done"
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    assert {"start", "sft", "reward"} <= {file.relative_to(out).parts[0] for file in before}
    assert command("demo", "--models-only", "--out", str(out), "--seed", "2").code == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == before
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
