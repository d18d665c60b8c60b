"""The recipes' twins: tiny models and data for all of them, and a recipe run with other places and sizes."""

import importlib.util
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
CONFIGS = TESTS.parent / "configs"


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all that the recipes take from a hub (tests/bench/twin_models.py)."""
    spec = importlib.util.spec_from_file_location("twin_models", TESTS / "bench" / "twin_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("hub")
    module.make(root)
    return root


@pytest.fixture
def twin(command: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """twin("ppo-hh-2b", batch__steps=2, ...): runs the recipe with `--set` for each, and returns its run's folder."""

    def run(recipe: str, **changes: Any) -> Path:
        folder = tmp_path / recipe
        sets = [part for key, value in changes.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
        stage = recipe.partition("-")[0]
        argv = ["train", stage, "--config", str(CONFIGS / f"{recipe}.yaml"), "--run-dir", str(folder)]
        ended = command(*argv, *sets, "--set", "device=cpu")
        assert ended.code == 0, f"{shlex.join([*argv, *sets])}\n{ended.err}"
        return folder

    return run
