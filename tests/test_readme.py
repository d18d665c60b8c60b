"""What README.md says is what there is."""

import re
from pathlib import Path

from click.testing import CliRunner

from appliance import parts, settings
from appliance.cli.main import commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_variables_is_the_code_s():
    rows = re.findall(r"^\| `(APPLIANCE_\w+)` \| `(.*)` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(name, variable.default, variable.meaning) for name, variable in settings.TABLE.items()]


def test_every_command_is_in_it_and_every_option_it_shows_exists():
    rows = re.findall(r"^\| (`appliance .*?) \|", README.replace(r"\|", "/"), re.MULTILINE)
    shown = [found for row in rows for found in re.findall(r"`appliance ([\w-]+)(.*?)`", row)]
    assert {name for name, _ in shown} == set(commands.commands)
    for name, rest in shown:
        inner = [word for word in rest.split()[:1] if word in getattr(commands.commands[name], "commands", ())]
        known = CliRunner().invoke(commands, [name, *inner, "--help"]).output
        assert all(option in known for option in re.findall(r"--[a-z-]+", rest))


def test_every_recipe_is_in_it_and_every_file_it_names_exists():
    named = set(re.findall(r"`(configs/[\w.-]+)`", README))
    assert named == {f"configs/{file.name}" for file in (ROOT / "configs").iterdir()}
    for target in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_reward_source_is_in_it():
    assert all(f"`{name}`" in README for name in parts.names("rewards"))
