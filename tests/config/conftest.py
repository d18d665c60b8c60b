"""A reward source that exists only here, and config files written from text."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
from pydantic import BaseModel, ConfigDict, Field

from appliance import parts
from appliance.errors import ConfigError


class Options(BaseModel):
    """Options of the reward source `fake`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[str, ...] = Field(("good",), description="words that are wanted")
    weight: float = Field(1.0, gt=0, description="points for each")


@pytest.fixture(autouse=True)
def fake_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rewards` holds the one source `fake`; `engines` holds what it holds."""
    names, load = parts.names, parts.load

    def load_fake(folder: str, name: str) -> object:
        if folder != "rewards":
            return load(folder, name)
        if name != "fake":
            raise ConfigError(f"there is no {name!r} in rewards", "choose one of: fake")
        return SimpleNamespace(Options=Options)

    monkeypatch.setattr(parts, "names", lambda folder: ["fake"] if folder == "rewards" else names(folder))
    monkeypatch.setattr(parts, "load", load_fake)


PPO = """
stage: ppo
policy:
  model: gpt2
reward:
  source: fake
prompts:
  source: prompts.txt
"""
SFT = """
stage: sft
policy:
  model: gpt2
data:
  source: texts.txt
"""
REWARD = """
stage: reward
model:
  model: gpt2
data:
  source: pairs.jsonl
"""


@pytest.fixture
def minimal() -> dict[str, str]:
    """The shortest config of each stage, as YAML."""
    return {"ppo": PPO, "sft": SFT, "reward": REWARD}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """write(text): the file c.yaml with it."""

    def to_file(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return to_file
