"""`appliance data`: what a person reads, the same as JSON, and the exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.cli import main


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """command("check", "a.txt"): `appliance data check a.txt` in this process; exit code, output, errors."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["appliance", "data", *argv])
        with pytest.raises(SystemExit) as end:
            main.main()
        return (end.value.code, *capsys.readouterr())  # type: ignore[return-value]

    return run


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": " good", "rejected": " bad" if i else " good"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_check_says_what_was_understood(command, pairs):
    code, out, err = command("check", pairs)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{pairs}: 3 rows, UTF-8",
        "kind: preferences (it has the columns prompt, chosen, rejected)",
        "format: pairs (it has the columns prompt, chosen, rejected)",
        "columns:",
        "  prompt: text, 100.0% filled",
        "  chosen: text, 100.0% filled",
        "  rejected: text, 100.0% filled",
        "length in characters (min, median, 95 %, max):",
        "  prompt: 2, 2, 2, 2",
        "  response: 4, 4, 5, 5",
        "problems:",
        "  pairs with two equal sides dropped: 1 (pairs.jsonl line 1)",
        "example 1:",
        '  prompt: "p1"',
        '  best: " good"',
        '  worst: " bad"',
        "example 2:",
        '  prompt: "p2"',
        '  best: " good"',
        '  worst: " bad"',
        "2 usable; in a config:",
        "data:",
        f"  source: {pairs}",
        "  format: pairs",
    ]


def test_check_as_json_holds_everything(command, pairs):
    code, out, _ = command("check", pairs, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["usable"] is True
    assert found["problems"][0]["numbers"] == [1]
    assert len(found["preview"]) == 3


def test_check_of_an_unusable_file_ends_with_1_and_a_fix(command, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text"\n')
    code, out, err = command("check", str(path))
    assert code == 1
    assert "lines that cannot be read: 1 (a.jsonl line 2)" in out
    assert "error: a.jsonl line 2: not JSON" in err
    assert "fix: write one whole JSON object on each line" in err
    code, out, _ = command("check", str(path), "--json")
    assert code == 1
    assert json.loads(out)["error"][1].startswith("write one whole JSON object")


def test_a_template_may_hold_line_ends_as_a_shell_passes_them(command, tmp_path):
    (tmp_path / "a.txt").write_text("x\n")
    _, out, _ = command("check", str(tmp_path / "a.txt"), "--template", r"Say:\n{text}")
    assert r'  prompt: "Say:\nx"' in out


def test_convert_writes_and_says_what_it_did(command, pairs, tmp_path):
    out = tmp_path / "hh.jsonl"
    code, _, err = command("convert", pairs, "--to", "hh", "--out", str(out))
    assert code == 1
    assert "hh holds dialogues: 2 of 2 prompts" in err
    options = ("--to", "hh", "--out", str(out), "--template", r"\n\nHuman: {prompt}\n\nAssistant:")
    code, said, _ = command("convert", pairs, *options)
    assert code == 0
    assert said.splitlines()[-1] == f"2 rows written to {out}"
    assert json.loads(out.read_text().splitlines()[0])["chosen"] == "\n\nHuman: p1\n\nAssistant: good"
    code, _, err = command("convert", pairs, *options)
    assert code == 1
    assert "exists already" in err
    assert command("convert", pairs, *options, "--force")[0] == 0


def test_help_names_the_choices(command):
    assert "[prompts|demonstrations|preferences]" in command("check", "--help")[1]
    shown = command("convert", "--help")[1]
    assert all(name in shown for name in ("pairs-chat", "nemo", "ranked", "parquet"))
