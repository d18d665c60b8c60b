"""`appliance config`: what it prints, writes and refuses."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from appliance.cli import main
from appliance.config import load

CLASSIC = "ppo_epochs: 3\ninit_kl_coef: 0.1\ntracker_kwargs: {wandb: {api_key: notarealkey}}\ncliprnage: 0.3\n"


class Ended(NamedTuple):
    """Exit code and output."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """command("config", ...): the command line in this process."""
    monkeypatch.setattr(main, "quiet_libraries", lambda environ, *, offline: None)

    def run(*argv: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["appliance", *argv])
        with pytest.raises(SystemExit) as end:
            main.main()
        return Ended(end.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A config of the classic TRL with a secret and a mistake."""
    file = tmp_path / "trl.yaml"
    file.write_text(CLASSIC)
    return file


def test_the_config_goes_to_the_screen_and_what_is_left_behind_beside_it(command, theirs):
    ended = command("config", "import", "--from", "trl", str(theirs))
    assert ended.code == 0
    assert "  epochs: 3  # ppo_epochs\n" in ended.out
    assert "  coef: 0.1  # init_kl_coef\n" in ended.out
    assert "  clip: 0.2  # cliprange (not given)\n" in ended.out
    assert "settings taken over from TRL 0.11" in ended.err
    for told in (ended.out, ended.err):
        assert "cliprnage: unknown to TRL 0.11, the classic PPOConfig; did you mean cliprange?" in told
        assert "tracker_kwargs.wandb.api_key: a secret: never copied" in told
        assert "notarealkey" not in told


def test_the_config_goes_into_a_new_file_that_validates(command, theirs, tmp_path):
    out = tmp_path / "ours.yaml"
    ended = command("config", "import", "--from", "trl", str(theirs), "--out", str(out))
    assert (ended.code, ended.out) == (0, "")
    assert load(out).kl.coef == 0.1  # type: ignore[attr-defined]
    assert command("validate", str(out)).code == 0
    again = command("config", "import", "--from", "trl", str(theirs), "--out", str(out))
    assert again.code == 1
    assert "exists already" in again.err


def test_what_the_file_does_not_say_is_asked_for(command, tmp_path):
    file = tmp_path / "trlx.yml"
    file.write_text("method: {name: PPOConfig}\nmodel: {model_path: gpt2}\n")
    ended = command("config", "import", "--from", "trlx", str(file))
    assert ended.code == 0
    assert "still to write: prompts.source (trlX takes the prompts from the script)" in ended.err
    assert "# CHOOSE: trlX takes the prompts from the script" in ended.out


def test_a_file_of_another_framework_is_refused_in_a_sentence(command, theirs):
    ended = command("config", "import", "--from", "nemo", str(theirs))
    assert ended.code == 1
    assert ended.err.startswith("error: this is no PPO actor of NeMo")
    assert "fix: check --from and the file" in ended.err
    assert command("config", "import", "--from", "verl", str(theirs)).code == 2


def test_the_table_of_a_framework_is_printed(command):
    ended = command("config", "keys", "trl")
    assert "| `init_kl_coef` | `kl.coef` |  |" in ended.out
    assert "| `kl_coef` | `kl.coef` |  |" in ended.out  # of the later PPOConfig
