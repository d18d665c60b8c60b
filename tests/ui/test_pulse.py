"""What an open page asks for every three seconds."""

import pytest

from appliance.store import runs


@pytest.fixture(scope="module")
def run(site):
    return runs.enqueue(site.store, config_yaml=site.config_yaml, name="watched", stage="ppo", owner_id=None, key=None)


def test_the_strip_and_the_open_tab_are_told_at_once(site, run):
    told = site.client("trainer").get("/pulse", params={"tab": "training", "run": str(run.id)}).json()
    assert 'data-state="worker-missing"' in told["strip"]
    assert 'data-state="queued"' in told["progress"]
    again = site.client("admin").get("/pulse", params={"tab": "training", "run": str(run.id)}).json()
    assert again["mark"] == told["mark"]


@pytest.mark.parametrize("asked", [{}, {"tab": "start"}, {"tab": "../x"}, {"tab": "runs", "run": "1"}])
def test_tabs_that_are_drawn_by_gradio_alone_have_the_strip(site, asked):
    assert site.client("trainer").get("/pulse", params=asked).json().keys() == {"strip"}


@pytest.mark.parametrize("number", ["", "-1", "x", "9" * 40, "1e3"])
def test_a_number_that_is_none_means_the_newest_run(site, run, number):
    told = site.client("trainer").get("/pulse", params={"tab": "training", "run": number}).json()
    assert 'data-state="queued"' in told["progress"]


def test_raters_and_strangers_are_told_nothing(site):
    assert site.client("rater").get("/pulse").status_code == 403
    assert site.client().get("/pulse").status_code == 401
