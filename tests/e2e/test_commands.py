"""What can be done with a finished run from the command line: look, compare, generate, evaluate again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.store import rundir


@pytest.fixture(scope="module")
def two_runs(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Any], tiny_values: Callable[..., dict[str, Any]]
) -> Path:
    """A data folder with two finished runs of one step, first and second, whose kl.coef differs."""
    from appliance.stages import ppo

    root = tmp_path_factory.mktemp("data")
    for name, coef in (("first", 0.05), ("second", 0.3)):
        config = tiny(name=name, batch={"steps": 1}, kl={"coef": coef})
        ppo.run(config, rundir.create(root / name, config))
    (root / "tiny.yaml").write_text(yaml.safe_dump(tiny_values()))
    return root


@pytest.fixture
def ask(two_runs: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`command`, with the two runs as its data."""
    monkeypatch.setenv("APPLIANCE_DATA", str(two_runs))
    return command


def test_runs_are_listed_oldest_first(ask):
    ended = ask("runs", "list")
    assert ended.code == 0
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["run", "stage", "state", "step", "verdict"]
    assert [line[:3] for line in lines[1:]] == [["first", "ppo", "done"], ["second", "ppo", "done"]]
    assert all("step 1 of 1" in " ".join(line) for line in lines[1:])
    rows = [json.loads(line) for line in ask("runs", "list", "--json").out.splitlines()]
    assert [row["run"] for row in rows] == ["first", "second"]


def test_a_run_is_shown_by_name_and_by_folder(ask, two_runs):
    for name in ("first", str(two_runs / "first")):
        ended = ask("runs", "show", name)
        assert ended.code == 0
        assert f"{two_runs / 'first'}: done (step 1 of 1)" in ended.out
        report = json.loads((two_runs / "first" / "report" / "report.json").read_text())
        assert report["verdict"]["sentence"] in ended.out
        assert "score_mean" in ended.out


def test_two_runs_are_compared_in_what_differs(ask):
    lines = [line.split() for line in ask("runs", "compare", "first", "second").out.splitlines()]
    assert ["kl.coef", "0.05", "0.3"] in lines
    assert ["name", "first", "second"] in lines
    assert not [line for line in lines if line[0].startswith("batch.")]
    assert [line for line in lines if line[:2] == ["mean", "reward"]]


def test_a_run_that_is_not_there(ask):
    for argv in (("runs", "show", "third"), ("runs", "compare", "first", "third")):
        ended = ask(*argv)
        assert ended.code == 1
        assert "error: there is no run third\n  fix: see `appliance runs list`" in ended.err


@pytest.mark.parametrize("kind", ["run", "run's model", "model"])
def test_the_same_seed_writes_the_same_text(kind, ask, two_runs, folder_of):
    place = {"run": two_runs / "first", "run's model": two_runs / "first" / "model", "model": folder_of("gpt2")}[kind]

    def write(*more: str) -> str:
        ended = ask("generate", str(place), "--prompt", "w1 w2", "--max-tokens", "12", *more)
        assert ended.code == 0, ended.err
        return ended.out

    first = write("--seed", "3")
    assert first.startswith("w1 w2 w")
    assert first == write("--seed", "3")
    assert first != write("--seed", "4")
    several = write("--seed", "3", "--samples", "3").splitlines()
    assert len(several) == len(set(several)) == 3


def test_a_run_writes_as_long_as_its_config_says_and_a_model_64_tokens_at_most(ask, two_runs, folder_of):
    words = [
        len(ask("generate", str(two_runs / "first"), "--prompt", "w1", "--seed", str(s)).out.split()) for s in "123"
    ]
    assert max(words) == 1 + 6  # response_tokens: [3, 6]
    ended = ask("generate", str(folder_of("gpt2")), "--prompt", "w1")  # 1 + 64 is more than its 64 positions
    assert ended.code == 1
    assert "--prompt: 1 of 1 prompts are too long" in ended.err


def test_generating_from_what_cannot_write(ask, tmp_path, two_runs):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text((two_runs / "first" / "config.yaml").read_text())
    for place, message in ((tmp_path / "new", "has no result yet"), (tmp_path / "none", "there is no model folder")):
        ended = ask("generate", str(place), "--prompt", "w1")
        assert ended.code == 1
        assert message in ended.err
        assert "Traceback" not in ended.err
    ended = ask("generate", str(two_runs / "first"), "--prompt", "")
    assert ended.code == 1
    assert "the prompt has no tokens" in ended.err


def test_a_run_of_another_stage_is_told_apart(ask, tmp_path):
    for stage, section in (("reward", "model"), ("sft", "policy")):
        (tmp_path / stage).mkdir()
        values = {"stage": stage, section: {"model": "m"}, "data": {"source": "d.jsonl"}}
        (tmp_path / stage / "config.yaml").write_text(yaml.safe_dump(values))
        ended = ask("evaluate", str(tmp_path / stage))
        assert ended.code == 1
        assert f"{tmp_path / stage} is a run of {stage}\n  fix: give the folder of a PPO run" in ended.err
    ended = ask("generate", str(tmp_path / "reward"), "--prompt", "w1")
    assert ended.code == 1
    assert "is a reward model: it scores texts and writes none" in ended.err


def test_a_run_is_evaluated_again_in_a_folder_of_its_own(ask, two_runs, tmp_path):
    before = {file: file.read_bytes() for file in (two_runs / "first" / "report").iterdir()}
    card = (two_runs / "first" / "model" / "README.md").read_bytes()
    asked = tmp_path / "asked.txt"
    asked.write_text("".join(f"w{i} w{i + 1}\n" for i in range(10)))
    ended = ask("evaluate", str(two_runs / "first"), "--prompts", str(asked), "--samples", "3")
    assert ended.code == 0, ended.err
    folder = two_runs / "first" / "evaluation"
    assert ended.out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    report = json.loads((folder / "report.json").read_text())
    assert (report["prompts"], report["samples"]) == (10, 3)
    samples = json.loads((folder / "samples.json").read_text())
    assert samples["prompts"] == asked.read_text().splitlines()
    assert (folder / "report.html").exists()

    assert ask("evaluate", str(two_runs / "first")).code == 0  # its own prompts and samples: the same numbers again
    again = json.loads((two_runs / "first" / "evaluation-2" / "report.json").read_text())
    own = json.loads((two_runs / "first" / "report" / "report.json").read_text())
    for name in ("prompts", "samples", "mean_reward", "difference_ci95", "kl", "perplexity", "per_prompt"):
        assert again[name] == own[name]
    assert before == {file: file.read_bytes() for file in (two_runs / "first" / "report").iterdir()}
    assert (two_runs / "first" / "model" / "README.md").read_bytes() == card


def test_an_evaluation_that_cannot_be_made(ask, two_runs, tmp_path):
    (tmp_path / "empty").mkdir()
    long = tmp_path / "long.txt"
    long.write_text(" ".join(["w1"] * 60) + "\n")
    cases = (
        ((str(tmp_path / "empty"),), "is not a run folder"),
        ((str(two_runs / "second"), "--prompts", str(tmp_path / "none.txt")), "there is no file"),
        ((str(two_runs / "second"), "--prompts", str(long)), "1 of 1 prompts are too long"),
    )
    for argv, message in cases:
        ended = ask("evaluate", *argv)
        assert ended.code == 1
        assert message in ended.err
        assert "Traceback" not in ended.err
    assert not (two_runs / "second" / "evaluation").exists()


def test_without_a_run_dir_each_run_gets_a_new_folder_by_the_config_s_name(ask, two_runs, monkeypatch, tmp_path):
    monkeypatch.setenv("APPLIANCE_DATA", str(tmp_path / "data"))
    for name in ("tiny", "tiny-2"):
        ended = ask("train", "ppo", "--config", str(two_runs / "tiny.yaml"), "--set", "batch.steps=1")
        assert ended.code == 0, ended.err
        assert f"model: {tmp_path / 'data' / name / 'model'}" in ended.out
