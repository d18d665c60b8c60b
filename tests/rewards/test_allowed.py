"""What the page may use: nothing that runs code by its name or reads a file of the machine, however deep it stands."""

import pytest

from appliance import parts
from appliance.config.load import part_options
from appliance.errors import ConfigError
from appliance.rewards._allowed import page_may_use

PYTHON = {"source": "python", "function": "os:getcwd"}
SERVER = {"source": "http", "url": "http://host:1/score"}
SECRET = SERVER | {"token_file": "/etc/passwd"}


def blend(*sources):
    return part_options("rewards", {"source": "blend", "sources": [{"source": "length"}, *sources]}, where="reward")


@pytest.mark.parametrize("section", [PYTHON, blend(PYTHON)], ids=["alone", "in a blend"])
def test_a_function_is_refused(section):
    with pytest.raises(ConfigError, match="'python' may not be chosen from the page"):
        page_may_use(section)


@pytest.mark.parametrize("section", [SECRET, blend(SECRET)], ids=["alone", "in a blend"])
def test_a_file_that_would_be_sent_is_refused(section):
    with pytest.raises(ConfigError, match="'token_file' of the reward source 'http' may not be set"):
        page_may_use(section)


def test_everything_else_may_be_used():
    page_may_use(SERVER)
    page_may_use(blend(SERVER))
    for name in set(parts.names("rewards")) - {"python"}:
        page_may_use({"source": name})


def test_an_unknown_source_is_refused():
    with pytest.raises(ConfigError, match="there is no 'pyton' in rewards"):
        page_may_use({"source": "pyton"})
