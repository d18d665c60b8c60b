"""The environment is read through one table, and a value that is no choice is refused."""

import ast
import re
from pathlib import Path

import pytest

from appliance import settings
from appliance.errors import ConfigError

PACKAGE = Path(settings.__file__).parent
ROOT = PACKAGE.parent


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


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_the_size_of_an_upload_is_a_whole_number_above_0(value):
    with pytest.raises(ConfigError, match="APPLIANCE_UPLOAD_MIB"):
        settings.read({"APPLIANCE_UPLOAD_MIB": value})


def test_the_store_is_a_file_in_the_data_folder_or_the_database_that_is_named(tmp_path):
    assert settings.read({"APPLIANCE_DATA": "/d"}).database == "sqlite:////d/appliance.db"
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    named = {"APPLIANCE_DATABASE": "postgresql://me@host/store", "APPLIANCE_DATABASE_PASSWORD_FILE": str(secret)}
    assert settings.read(named).database == "postgresql://me:p%40ss%2Fword@host/store"
    assert settings.read(named).database_password_file == secret
    assert settings.read({}).database_password_file is None


def test_a_password_file_that_cannot_be_used_is_named_without_its_content(tmp_path):
    url = "postgresql://me@host/store"
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.read({"APPLIANCE_DATABASE": url, "APPLIANCE_DATABASE_PASSWORD_FILE": str(tmp_path / "none")})
    secret = tmp_path / "password"
    secret.write_text("secret")
    named = {"APPLIANCE_DATABASE": "postgresql://host/store", "APPLIANCE_DATABASE_PASSWORD_FILE": str(secret)}
    with pytest.raises(ConfigError, match="a URL with a user") as caught:
        settings.read(named)
    assert "secret" not in str(caught.value)


def test_the_example_of_an_env_file_is_the_table():
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings.example()


def test_compose_files_use_the_variables_of_the_table_and_their_defaults():
    known = settings.TABLE | settings.COMPOSE
    used = {}
    for file in sorted(ROOT.glob("compose*.yaml")):
        for name, default in re.findall(r"\$\{([A-Z_]+)(?::-([^}]*))?\}", file.read_text(encoding="utf-8")):
            used[name] = default
            if file.name == "compose.yaml":
                assert default == known[name].default, name
    others = {"APPLIANCE_CDI_DEVICE", "APPLIANCE_TLS_LISTEN", "APPLIANCE_TLS_PORT", "CADDY_IMAGE", "POSTGRES_IMAGE"}
    of_compose = {"COMPOSE_FILE"}  # read by Compose itself
    assert set(used) == (set(settings.COMPOSE) - of_compose) | set(settings.IN_CONTAINER) | others


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
