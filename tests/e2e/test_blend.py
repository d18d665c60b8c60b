"""A blend through the whole command line: normalized once on the starting policy, the same numbers ever after."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

KIND = {"source": "keyword", "positive": [f"w{i}" for i in range(0, 94, 2)], "name": "kind", "gate": {"min": 1}}
WORDS = {"source": "length", "target_words": 3, "name": "words", "weight": 0.5}
BLEND = {"source": "blend", "samples": 20, "sources": [KIND, WORDS]}
OPINION = {"source": "blend", "samples": 8, "sources": [{"source": "length"}]}


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_values: Callable[..., dict[str, Any]], appliance: Callable[..., Any]
) -> tuple[str, Path]:
    """A config's path, and the folder of a run of it that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    config = root / "blend.yaml"
    config.write_text(yaml.safe_dump(tiny_values(reward=BLEND, evaluation={"second_opinion": OPINION})))
    ended = appliance("train", "ppo", "--config", str(config), "--run-dir", str(root / "run"))
    assert ended.code == 0, ended.err
    return str(config), root / "run"


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_scales_are_in_the_run_and_in_its_log(whole):
    kept = json.loads((whole[1] / "reward_normalization.json").read_text())
    assert kept["samples"] == {"reward": 20, "second_opinion": 8}
    assert kept["reward"].keys() == {"kind", "words"}
    assert kept["second_opinion"].keys() == {"length"}
    said = [record["what"] for record in records(whole[1] / "events.jsonl")]
    assert any(what.startswith("reward on 20 responses of the starting policy: kind ") for what in said)


def test_every_part_is_logged_and_the_parts_sum_up(whole):
    metrics = records(whole[1] / "metrics.jsonl")
    for line in metrics[1:]:
        assert line["added/kind"] + line["added/words"] == pytest.approx(line["score_mean"], abs=1e-5)
    assert all(
        {"eval_score/kind", "eval_asked_share/words", "eval_opinion_added/length"} <= line.keys()
        for line in metrics[::2]
    )


def test_a_samples_score_follows_by_hand_from_its_parts_and_the_kept_scales(whole):
    scales = json.loads((whole[1] / "reward_normalization.json").read_text())["reward"]
    samples = records(whole[1] / "samples.jsonl")
    gates = set()
    for sample in samples:
        words, kind = sample["response"].split(), sample["parts"]["kind"]
        assert kind == sum(int(word[1:]) % 2 == 0 for word in words if word[1:].isdigit())
        expected = (kind - scales["kind"]["mean"]) / scales["kind"]["std"]
        gates.add(kind >= 1)
        if kind >= 1:
            assert sample["parts"]["words"] == -abs(len(words) - 3)
            expected += 0.5 * (sample["parts"]["words"] - scales["words"]["mean"]) / scales["words"]["std"]
        else:
            assert sample["parts"]["words"] is None
        assert sample["score"] == pytest.approx(expected, abs=1e-5)
    assert gates == {True, False}  # both ways were taken


def test_score_gives_exactly_what_the_run_logged(whole, appliance):
    run = whole[1]
    ended = appliance("score", "--run", str(run), "--file", str(run / "samples.jsonl"), "--json")
    assert ended.code == 0, ended.err
    found = [json.loads(line) for line in ended.out.splitlines()]
    logged = records(run / "samples.jsonl")
    assert [row["score"] for row in found] == [row["score"] for row in logged]
    for mine, theirs in zip(found, logged, strict=True):
        own = {name: None if part is None else part["score"] for name, part in mine["parts"].items()}
        assert own == theirs["parts"]


def test_the_report_draws_every_part(whole):
    page = (whole[1] / "report" / "report.html").read_text()
    assert "Part of the reward: kind" in page
    assert "Part of the reward: words" in page
    assert "Let through to words" in page
    assert "Let through to kind" not in page  # nothing is ever kept from the first


def test_an_evaluation_later_uses_the_same_scales(whole, appliance):
    run = whole[1]
    before = (run / "reward_normalization.json").read_bytes()
    ended = appliance("evaluate", str(run))
    assert ended.code == 0, ended.err
    first = json.loads((run / "report" / "report.json").read_text())
    again = json.loads((run / "evaluation" / "report.json").read_text())
    assert again["mean_reward"] == first["mean_reward"]
    assert (run / "reward_normalization.json").read_bytes() == before


@pytest.mark.parametrize(
    ("function", "when", "call"),
    [
        ("appliance.stages.normalization:write_json", "before", 1),
        ("appliance.stages.normalization:write_json", "after", 1),
        ("appliance.ppo.checkpoint:write", "before", 1),
        ("appliance.ppo.update:_step", "after", 6),
    ],
)
def test_a_killed_run_goes_on_with_the_same_scales_to_the_same_bytes(whole, appliance, tmp_path, function, when, call):
    config, finished = whole
    run = tmp_path / "run"
    at = {"function": function, "when": when, "call": call, "signals": ["SIGKILL"]}
    assert appliance("train", "ppo", "--config", config, "--run-dir", str(run), at=at).code == -9
    ended = appliance("train", "ppo", "--run-dir", str(run), "--resume")
    assert ended.code == 0, ended.err
    for file in ("reward_normalization.json", "metrics.jsonl", "samples.jsonl", "model/model.safetensors"):
        assert (run / file).read_bytes() == (finished / file).read_bytes(), file


def test_a_run_stopped_in_the_middle_of_a_step_has_the_same_parts(whole, appliance, tmp_path):
    config, finished = whole
    run = tmp_path / "run"
    at = {"function": "appliance.ppo.update:_microbatch", "when": "after", "call": 12, "signals": ["SIGTERM"]}
    assert appliance("train", "ppo", "--config", config, "--run-dir", str(run), at=at).code == 130
    assert appliance("train", "ppo", "--run-dir", str(run), "--resume").code == 0
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_the_blend_of_a_run_that_took_a_folder_over_is_measured_anew(appliance, tiny_values, write_config, tmp_path):
    """The first run ended before its first number; the corrected one has another blend and the same folder."""
    run = tmp_path / "run"
    at = {"function": "appliance.stages.normalization:write_json", "when": "after", "call": 1, "signals": ["SIGKILL"]}
    first = write_config(tiny_values(reward=BLEND))
    assert appliance("train", "ppo", "--config", first, "--run-dir", str(run), at=at).code == -9
    before = json.loads((run / "reward_normalization.json").read_text())["reward"]["words"]
    other = BLEND | {"sources": [KIND, WORDS | {"target_words": 1}]}
    ended = appliance("train", "ppo", "--config", write_config(tiny_values(reward=other)), "--run-dir", str(run))
    assert ended.code == 0, ended.err
    assert json.loads((run / "reward_normalization.json").read_text())["reward"]["words"] != before


def test_a_source_that_never_varies_on_the_start_is_refused(appliance, tiny_values, write_config, tmp_path):
    never = {"source": "keyword", "positive": ["unheard"], "name": "never"}
    config = write_config(tiny_values(reward={"source": "blend", "samples": 6, "sources": [never]}))
    ended = appliance("train", "ppo", "--config", config, "--run-dir", str(tmp_path / "run"))
    assert ended.code == 1
    assert "the source 'never' gave 0 for each of 6 responses of the starting policy" in ended.err
    assert "set mean and std of 'never' in the blend, or normalize: false" in ended.err


def test_the_wrong_key_of_a_source_is_named_before_anything_runs(appliance, tiny_values, write_config):
    values = tiny_values(reward={"source": "blend", "sources": [KIND, WORDS | {"wieght": 1}]})
    ended = appliance("validate", write_config(values))
    assert ended.code == 1
    assert "number 2 (length): wieght is an unknown key; did you mean weight?" in ended.err


def test_more_samples_than_prompts_ask_some_again(finish, tiny):
    run, _ = finish(tiny(reward=BLEND | {"samples": 100}, batch={"steps": 1, "rollout": 4, "minibatch": 4}))
    scales = json.loads((run.path / "reward_normalization.json").read_text())["reward"]
    assert all(math.isfinite(scale["mean"]) and scale["std"] > 0 for scale in scales.values())
