"""The page in a browser: signing in, heading, strip, widths, light and dark, accessibility, and no other host."""

import json
import shutil
import subprocess
import tarfile
import time

import pytest
from playwright.sync_api import expect

from appliance.store import runs, workers
from appliance.store.schema import Run

AXE = "axe-core@4.11.0"
"""The accessibility rules, fetched for these tests and not kept."""


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The text of axe.min.js."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not here to fetch axe-core")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    packed = list(folder.glob("*.tgz"))
    if done.returncode or not packed:
        pytest.skip(f"axe-core could not be fetched: {done.stderr[-200:]}")
    with tarfile.open(packed[0]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def serious(page, axe):
    """What axe finds wrong in a serious way: rule, and where."""
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_signing_in_shows_the_page(site, browser_page):
    page = browser_page(site, None, path="/?tab=system")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Name").fill("Admin")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#who-name")).to_have_text("admin (admin)")
    expect(page.get_by_role("tab", name="System")).to_have_attribute("aria-selected", "true")
    page.wait_for_url("**/?tab=system")


def test_signing_out_ends_at_the_sign_in_page_in_every_tab(site, browser_page):
    page = browser_page(site, "trainer")
    other = page.context.new_page()
    other.goto("/")
    other.locator("#who-name").wait_for()
    page.locator("#who-out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    other.bring_to_front()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()  # at its next tick


@pytest.mark.parametrize(("role", "sees"), [("admin", True), ("trainer", False)])
def test_the_admins_tab_is_shown_to_admins(site, browser_page, role, sees):
    page = browser_page(site, role, path="/?tab=system")
    expect(page.locator("#who-name")).to_contain_text(role)
    page.get_by_role("tab").first.wait_for()
    assert page.get_by_role("tab", name="System").count() == int(sees)


def test_a_rater_sees_the_vote_page_alone(site, browser_page):
    page = browser_page(site, "rater")
    assert page.url.endswith("/vote/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Vote")
    assert page.get_by_role("tab").count() == 0
    assert page.locator("#who").get_by_text("All tabs").count() == 0


def test_the_strip_follows_a_run_without_a_reload(site, browser_page):
    page = browser_page(site, "trainer")
    strip = page.locator("#strip .strip")
    expect(page.get_by_role("heading", level=1)).to_have_text("RLHF appliance")
    expect(strip).to_have_attribute("data-state", "worker-missing")
    store = site.store
    workers.beat(store, "w", host="here", pid=1, device="cpu")
    expect(strip).to_have_attribute("data-state", "idle")
    queued = runs.enqueue(store, config_yaml=site.config_yaml, name="support", stage="ppo", owner_id=None, key=None)
    expect(strip).to_have_attribute("data-state", "queued")
    expect(strip).to_contain_text("1 in the queue")
    runs.claim(store, "w")
    runs.beat(store, queued.id, phase="loading the policy")
    expect(strip).to_contain_text("Starting: loading the policy")
    runs.beat(store, queued.id, running=True, step=25, steps=100, last_step_at=time.time())
    expect(strip).to_contain_text("support")
    expect(strip).to_contain_text("25%")
    expect(strip).to_contain_text("last step")
    page.locator("#strip-stop").click()
    expect(page.get_by_text("finishes its step, saves, and stops")).to_be_visible()
    expect(strip).to_have_attribute("data-state", "stopping")
    expect(page.locator("#strip-stop")).to_have_count(0)
    runs.finish(store, queued.id, "stopped")
    expect(strip).to_contain_text("Stopped, progress kept")
    with store.session() as session:
        session.delete(session.get(Run, queued.id))


def test_a_server_that_is_gone_is_said_and_comes_back(make_site, browser_page):
    site = make_site()
    page = browser_page(site, "trainer")
    site.stop(kill=True)
    expect(page.locator("#no-server")).to_contain_text("Training goes on without this page")
    site.start()
    expect(page.locator("#no-server")).to_be_hidden()
    expect(page.locator("#who-name")).to_have_text("trainer (trainer)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing_serious(site, browser_page, axe, width, dark):
    page = browser_page(site, "admin", width=width, dark=dark)
    expect(page.locator("#strip .strip")).not_to_have_attribute("data-state", "loading")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious(page, axe) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(json.loads("[" + background.partition("(")[2].rstrip(")") + "]")[:3])
    assert (lightness < 200) == dark, background


@pytest.mark.parametrize("path", ["/login", "/own/help", "/account", "/vote/"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_other_pages_are_readable_too(site, browser_page, axe, path, dark):
    page = browser_page(site, "rater", width=390, dark=dark, path=path, ready=False)
    page.get_by_role("heading", level=1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(page, axe) == []
