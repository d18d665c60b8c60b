"""The whole loop in a real browser against the real page and worker: prompts, training, comparison, votes of two raters,
a scorer taught from them, and a second run with it; with a reload, a second tab, a stop and a continue on the way.

What each tab looks like then is kept in build/pages/.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from appliance.data import films
from appliance.stages import demo_models
from appliance.store import metrics, runs
from appliance.store.vote_records import rankings, records

SLOW = 240_000
VOTES, STEPS = 15, 80
PICTURES = Path(__file__).parents[2] / "build" / "pages"
TEXTS = films.openings(120, 1)


@pytest.fixture(scope="module")
def worker(site):
    """The site's own worker, on the CPU, with two tiny models to begin with."""
    demo_models.make(site.settings.models, [review.text for review in films.reviews(300, 1)], 1)
    with (site.settings.data / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance", "worker", "--device", "cpu"], env=site.environ, stdout=log, stderr=log
        )
    yield process
    process.terminate()
    process.wait(60)


def prepare_by_hand(page, tmp_path):
    """The Start tab up to its last step: an upload, the tiny model, words that count."""
    file = tmp_path / "openings.csv"
    file.write_text("id,question\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)))
    page.locator("#start-prompts-file input[type=file]").set_input_files(file)
    expect(page.locator("#start-prompts-summary")).to_contain_text("120 rows")
    page.locator("#start-next-1").click()
    page.get_by_text("policy ·").click()
    page.get_by_text("Words (keyword)").click()
    page.locator("#start-good-words textarea, #start-good-words input").fill("the, a, and")
    page.locator("#start-next-2").click()
    page.get_by_text("More settings").click()
    page.get_by_text("Quick look").click()
    expect(page.locator("#start-setting-steps input")).to_have_value("10")
    for setting, value in (("steps", str(STEPS)), ("learning_rate", "0.0005")):
        field = page.locator(f"#start-setting-{setting} input")
        field.fill(value)
        field.blur()
    page.locator("#start-next-3").click()


def begin(page):
    expect(page.locator("#start-go")).to_be_enabled(timeout=SLOW)
    page.locator("#start-go").click()
    expect(page.locator("#start-go")).to_be_hidden()


def newest(site):
    return runs.list_runs(site.store)[0]


def open_tab(page, name):
    page.goto(f"/?tab={name}")
    page.locator("#who-name").wait_for()


def keep(page, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def stop_and_continue(site, page, run):
    """In the middle: the run saves and stops, then goes on from there to its end."""
    expect(page.locator("#training-progress")).to_contain_text(re.compile("Step [1-9]"), timeout=SLOW)
    page.locator("#training-stop").click()
    expect(page.locator("#training-head")).to_contain_text("Stopped at step", timeout=SLOW)
    stopped = runs.get(site.store, run.id)
    assert stopped.state == "stopped"
    assert 0 < stopped.step < STEPS
    expect(page.locator("#training-go-on")).to_have_text(f"Continue from step {stopped.step}")
    page.locator("#training-go-on").click()


def test_prompts_training_votes_scorer_and_again(site, worker, browser_page, tmp_path):
    page = browser_page(site, "trainer", path="/?tab=start")
    prepare_by_hand(page, tmp_path)
    expect(page.locator("#start-go")).to_be_enabled(timeout=SLOW)
    keep(page, "start")
    begin(page)
    first = newest(site)

    # training: a reload and a second tab show the same
    open_tab(page, "training")
    page.reload()
    other = browser_page(site, "admin", path=f"/?tab=training&run={first.id}")
    expect(other.locator("#training-run input")).to_have_value(re.compile(first.name))
    stop_and_continue(site, page, first)
    expect(page.locator("#training-head")).to_contain_text("Done", timeout=SLOW)
    expect(other.locator("#training-head")).to_contain_text("Done")
    assert runs.get(site.store, first.id).state == "done"
    steps = [step for step, _ in metrics.points(site.store, first.id, ["score_mean"])["score_mean"]]
    assert steps == list(range(1, STEPS + 1))
    keep(page, "training")

    # compare: the run's own answers
    open_tab(page, "compare")
    expect(page.locator("#compare-said")).to_contain_text("Drift from the starting model")
    expect(page.locator("#compare-where")).to_contain_text("1 of")
    keep(page, "compare")

    # vote: two raters, fifteen each
    open_tab(page, "vote")
    page.get_by_text("New voting").click()
    page.locator("#vote-new-run input").click()
    page.get_by_role("option", name=first.name).first.click()
    page.locator("#vote-new-make").click()
    expect(page.get_by_text("The voting is open")).to_be_visible()
    for rater in (browser_page(site, "rater", path="/vote/"), browser_page(site, "admin", path="/vote/")):
        for number in range(1, VOTES + 1):
            expect(rater.locator("#vote-progress")).to_contain_text(f"{number - 1} of")
            rater.keyboard.press("12"[number % 2])
            expect(rater.locator("#vote-progress")).to_contain_text(f"{number} of")
        keep(rater, "vote")
    cast = records(site.store)
    assert len(cast) == 2 * VOTES

    # teach: a reward model from the votes, and a second run with it
    open_tab(page, "teach")
    expect(page.locator("#teach-usable")).to_contain_text(f"{len(rankings(cast))} usable comparisons")
    expect(page.locator("#teach-start")).to_be_enabled()
    page.locator("#teach-start").click()
    expect(page.get_by_text("is in the queue")).to_be_visible()
    taught = newest(site)
    assert taught.stage == "reward"
    open_tab(page, "teach")
    expect(page.locator("#teach-result")).to_contain_text("comparison", timeout=SLOW)
    keep(page, "teach")
    page.locator("#teach-use").click()
    page.locator("#start-next-2").click()
    page.get_by_text("More settings").click()
    page.get_by_text("Quick look").click()
    expect(page.locator("#start-setting-steps input")).to_have_value("10")
    page.locator("#start-next-3").click()
    begin(page)
    second = newest(site)
    assert second.id > taught.id
    assert taught.folder in second.config
    open_tab(page, "training")
    expect(page.locator("#training-head")).to_contain_text("Done", timeout=SLOW)
    assert runs.get(site.store, second.id).state == "done"
    for user, tab, there in ((page, "runs", taught.name), (other, "system", "Preflight")):
        open_tab(user, tab)
        expect(user.locator(f"#tab-{tab}")).to_contain_text(there)
        keep(user, tab)
