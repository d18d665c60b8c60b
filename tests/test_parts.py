"""The files of a folder are the choices; an underscore hides one, and listing imports nothing."""

import sys
from pathlib import Path

import pytest

from appliance import parts
from appliance.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with the parts alpha and beta; importing alpha would fail."""
    made = tmp_path / "things"
    made.mkdir()
    (made / "__init__.py").touch()
    (made / "alpha.py").write_text("raise RuntimeError('imported')\n")
    (made / "beta.py").write_text("VALUE = 3\n")
    (made / "_hidden.py").touch()
    (made / "note.txt").touch()
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    return "things"


def test_names_are_the_files_without_importing_any(folder):
    assert parts.names(folder) == ["alpha", "beta"]


def test_a_folder_that_does_not_exist_has_no_parts():
    assert parts.names("no such folder") == []


def test_engines_are_found_in_the_package_and_helpers_hidden():
    names = parts.names("engines")
    assert {"plain", "eager"} <= set(names)
    assert not [name for name in names if name.startswith("_")]


def test_load_imports_the_one_asked_for():
    assert parts.load("engines", "plain").__name__ == "appliance.engines.plain"
    assert "appliance.engines.plain" in sys.modules


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("alhpa", "did you mean 'alpha'? choose one of: alpha, beta"),
        ("zzz", "choose one of: alpha, beta"),
        ("_hidden", "choose one of: alpha, beta"),
        ("../beta", "did you mean 'beta'? choose one of: alpha, beta"),
    ],
)
def test_an_unknown_part_is_refused_with_the_choices(folder, name, fix):
    with pytest.raises(ConfigError) as caught:
        parts.load(folder, name)
    assert caught.value.what == f"there is no {name!r} in things"
    assert caught.value.fix == fix
