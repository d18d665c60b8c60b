"""Relative paths in a config become absolute where there is something; ids and mistakes stay as they are."""

import pytest

from appliance.config import absolute, parse

VALUES = {
    "stage": "ppo",
    "policy": {"model": "start"},
    "reward": {"source": "classifier", "model": "judge", "label": "POSITIVE"},
    "prompts": {"source": "owner/name"},
    "evaluation": {"report_file": "asked.txt", "second_opinion": {"source": "length"}},
}


@pytest.fixture
def config():
    return parse(VALUES, origin="here")


def test_what_exists_is_made_absolute(tmp_path, monkeypatch, config):
    for name in ("start", "judge", "classifier"):  # the last is the name of a source, not a place
        (tmp_path / name).mkdir()
    (tmp_path / "asked.txt").touch()
    monkeypatch.chdir(tmp_path)
    found = absolute(config)
    assert found.policy.model == str(tmp_path / "start")
    assert found.reward["model"] == str(tmp_path / "judge")
    assert found.evaluation.report_file == str(tmp_path / "asked.txt")
    assert (found.reward["source"], found.prompts.source) == ("classifier", "owner/name")
    assert absolute(found) == found


def test_what_does_not_exist_stays(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    assert absolute(config) == config


def test_the_sources_of_a_blend_and_a_tokens_file_are_made_absolute_too(tmp_path, monkeypatch):
    (tmp_path / "judge").mkdir()
    (tmp_path / "token").touch()
    monkeypatch.chdir(tmp_path)
    judge = {"source": "classifier", "model": "judge", "label": "POSITIVE"}
    server = {"source": "http", "url": "http://host", "token_file": "token"}
    own = {"source": "python", "function": "mine:score"}  # looked for in the folder that it is started from
    blend = {"source": "blend", "sources": [judge, server, own]}
    changed = {"reward": blend, "evaluation": {"second_opinion": blend}}
    found = absolute(parse(VALUES | changed, origin="here"))
    for section in (found.reward, found.evaluation.second_opinion):
        assert section["sources"][0]["model"] == str(tmp_path / "judge")
        assert section["sources"][1]["token_file"] == str(tmp_path / "token")
        assert section["sources"][2]["folder"] == str(tmp_path)
    assert absolute(found) == found
