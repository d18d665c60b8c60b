"""The environment is read through one table, and a value that is no choice is refused."""

import ast
from pathlib import Path

import pytest

from appliance import settings
from appliance.errors import ConfigError

PACKAGE = Path(settings.__file__).parent


def test_without_variables_the_table_s_defaults_hold():
    read = settings.read({})
    assert (read.data, read.offline, read.progress) == (Path("appliance-data"), False, "auto")


def test_variables_are_read():
    environ = {"APPLIANCE_DATA": "/data/runs", "APPLIANCE_OFFLINE": "1", "APPLIANCE_PROGRESS": "off", "OTHER": "x"}
    read = settings.read(environ)
    assert (read.data, read.offline, read.progress) == (Path("/data/runs"), True, "off")


def test_the_process_s_own_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("APPLIANCE_DATA", "elsewhere")
    assert settings.read().data == Path("elsewhere")


@pytest.mark.parametrize(
    ("name", "value", "choices"), [("APPLIANCE_OFFLINE", "yes", "0, 1"), ("APPLIANCE_PROGRESS", "", "auto, on, off")]
)
def test_a_value_that_is_no_choice_is_refused_with_the_choices(name, value, choices):
    with pytest.raises(ConfigError) as caught:
        settings.read({name: value})
    assert caught.value.what == f"environment: {name} is {value!r}"
    assert caught.value.fix == f"set it to one of {choices}"


def reads_of_the_environment(tree: ast.Module) -> list[str]:
    """Lookups in os.environ; setting a default for a library is none."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Subscript)]
    loads = [ast.unparse(node) for node in found if isinstance(node.ctx, ast.Load)]
    return [text for text in loads if text.startswith(("os.environ[", "os.getenv", "os.environ.get"))]


def test_no_other_module_reads_the_environment():
    found = {
        path.name: reads
        for path in PACKAGE.rglob("*.py")
        if path.name != "settings.py" and (reads := reads_of_the_environment(ast.parse(path.read_text("utf-8"))))
    }
    assert not found


@pytest.mark.parametrize("source", ["os.environ['A']", "os.environ.get('A')", "os.getenv('A')"])
def test_a_read_of_the_environment_is_found(source):
    assert reads_of_the_environment(ast.parse(source))
    assert not reads_of_the_environment(ast.parse("os.environ.setdefault('A', '1')\nos.environ['A'] = '1'"))


def test_every_variable_has_a_meaning_and_the_package_s_prefix():
    assert all(name.startswith("APPLIANCE_") and variable.meaning for name, variable in settings.TABLE.items())
