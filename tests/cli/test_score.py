"""`appliance score`: one number for a text, with what a blend is made of, and every wrong question answered."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from appliance.cli import main

LENGTH = {"source": "length", "per_word": 2.0}
BLEND = {
    "source": "blend",
    "sources": [
        {"source": "length", "name": "words", "mean": 1.0, "std": 4.0, "gate": {"min": 2}},
        {"source": "keyword", "positive": ["good"], "name": "kind", "weight": 3.0, "normalize": False},
    ],
}


@pytest.fixture
def score(monkeypatch, capsys) -> Callable[..., Any]:
    """score("--text", "a"): the exit code and what was said."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)

    def run(*argv: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["appliance", "score", *argv])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code, out=out, err=err)

    return run


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    """write(reward, scores={...}): a PPO config with it; without sections, a file with the reward alone."""

    def to_file(reward: dict[str, Any], **sections: Any) -> str:
        values: dict[str, Any] = {"reward": reward}
        if sections:
            values |= {"stage": "ppo", "policy": {"model": "m"}, "prompts": {"source": "p.txt"}} | sections
        (tmp_path / "reward.yaml").write_text(yaml.safe_dump(values))
        return str(tmp_path / "reward.yaml")

    return to_file


def test_each_text_has_its_number_and_the_text_beside_it(score, write):
    found = score("--reward", write(LENGTH), "--text", "a b c", "--text", "")
    assert (found.code, found.out) == (0, "6  'a b c'\n0  ''\n")


def test_a_blend_shows_its_parts_and_what_a_gate_kept_back(score, write):
    # words 3: (3 - 1) / 4 = .5; good: 3 * 1. One word does not pass: 0, and good is not looked for
    found = score("--reward", write(BLEND), "--text", "a good b", "--text", "good")
    assert found.out.splitlines() == [
        "3.5  'a good b'",
        "  words: 3, normalized 0.5, adds 0.5",
        "  kind: 1, normalized 1, adds 3",
        "0  'good'",
        "  words: 1, normalized 0, adds 0",
        "  kind: not asked, an earlier gate kept the text back",
    ]


def test_the_clip_is_shown_where_it_changes_the_number(score, write):
    found = score("--reward", write(LENGTH, scores={"clip": 5.0}), "--text", "a b c", "--text", "a")
    assert found.out.splitlines() == ["6  'a b c'", "  5 after scores.clip", "2  'a'"]


def test_a_running_scale_is_told_and_not_guessed(score, write):
    found = score("--reward", write(LENGTH, scores={"scale": "running", "clip": 1.0}), "--text", "a b c")
    assert found.out == "6  'a b c'\n"
    assert "running deviation" in found.err


def test_a_file_and_json(score, write, tmp_path):
    rows = [{"prompt": "p", "response": "a b"}, {"prompt": "q", "response": "c"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score("--reward", write(LENGTH), "--file", str(tmp_path / "rows.jsonl"), "--json")
    expected = [row | {"score": score, "shaped": None} for row, score in zip(rows, (4.0, 2.0), strict=True)]
    assert [json.loads(line) for line in found.out.splitlines()] == expected


def test_a_file_of_lines_answers_the_prompt(score, write, tmp_path):
    (tmp_path / "lines.txt").write_text("a b\nc\n")
    found = score("--reward", write(LENGTH), "--file", str(tmp_path / "lines.txt"), "--prompt", "p", "--json")
    assert [json.loads(line)["prompt"] for line in found.out.splitlines()] == ["p", "p"]


def test_wrong_questions_are_answered(score, write, tmp_path):
    assert "Give --reward or --run" in score("--text", "a").err
    assert "Give --text or --file" in score("--reward", write(LENGTH)).err
    unscaled = {"source": "blend", "sources": [{"source": "length"}]}
    found = score("--reward", write(unscaled), "--text", "a")
    assert found.code == 1
    assert "--run RUN_DIR" in found.err
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "answer": "a"}\n')
    found = score("--reward", write(LENGTH), "--file", str(tmp_path / "rows.jsonl"))
    assert "no column holds responses; the columns are: prompt, answer" in found.err
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "response": "a"}\n{"prompt": 1, "response": "a"}\n')
    found = score("--reward", write(LENGTH), "--file", str(tmp_path / "rows.jsonl"))
    assert "rows.jsonl line 2: prompt is not a text" in found.err
    Path(tmp_path / "sft.yaml").write_text("stage: sft\n")
    assert (
        "neither a PPO config nor a reward section" in score("--reward", str(tmp_path / "sft.yaml"), "--text", "a").err
    )
    wrong = score("--reward", write({"source": "length", "per_wrod": 1}), "--text", "a").err
    assert "reward.yaml: reward: per_wrod is an unknown key; did you mean per_word?" in wrong
