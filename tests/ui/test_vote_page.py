"""The Vote tab and the raters' page in a real browser: keys, undo, two raters, a second tab, a phone."""

import json
import shutil

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from appliance.store.schema import Run, Vote
from appliance.store.vote_batches import create_batch
from appliance.store.vote_records import rankings, records

ITEMS = [(f"prompt {i}", (f"old answer {i}", f"new answer {i}"), ("before", "after")) for i in range(6)]
FOUR = [("one prompt", ("w", "x", "y", "z"), ("before", "before", "after", "after"))]


@pytest.fixture(scope="module")
def batch(site):
    return create_batch(site.store, name="reviews", mode="pair", items=ITEMS, guideline="Choose the kinder one.")


def judged(site, batch, user):
    return [vote for vote in records(site.store, batch) if vote.user_name == user]


def test_a_rater_votes_with_the_keys_undoes_and_is_thanked(site, browser_page, batch):
    page = browser_page(site, "rater", path="/vote/")
    expect(page.locator("#vote-guideline")).to_contain_text("kinder")
    expect(page.locator("#vote-progress")).to_contain_text("0 of 6")
    first = page.locator("#vote-prompt textarea").input_value()
    page.keyboard.press("2")
    expect(page.locator("#vote-progress")).to_contain_text("1 of 6")
    expect(page.locator("#vote-progress")).to_contain_text("Last saved at")
    page.keyboard.press("u")
    expect(page.locator("#vote-progress")).to_contain_text("0 of 6")
    expect(page.locator("#vote-prompt textarea")).to_have_value(first)
    for number, key in enumerate("1234s1", start=1):
        page.keyboard.press(key)
        expect(page.locator("#vote-progress")).to_contain_text(f"{number} of 6")
    expect(page.locator("#vote-progress")).to_contain_text("All done, thank you")
    assert [vote.choice for vote in judged(site, batch, "rater")] == ["a", "b", "same", "both_bad", "skip", "a"]
    assert len(rankings(records(site.store, batch))) == 5


def test_nothing_on_the_raters_page_says_which_model_wrote_what(site, browser_page):
    page = browser_page(site, "rater", path="/vote/")
    page.wait_for_timeout(500)
    content = page.content()
    assert "before" not in content.split("</head>")[1].lower().replace("before you", "")
    assert "Results so far" not in content


def test_a_reload_and_a_second_tab_show_the_same_pair_and_a_vote_counts_once(site, browser_page, batch):
    one = browser_page(site, "trainer", path="/?tab=vote")
    prompt = one.locator("#vote-prompt textarea")
    expect(prompt).to_be_visible()
    shown = prompt.input_value()
    other = browser_page(site, "trainer", path="/vote/")
    expect(other.locator("#vote-prompt textarea")).to_have_value(shown)
    one.locator("#vote-a").click()
    expect(one.locator("#vote-progress")).to_contain_text("1 of 6")
    other.locator("#vote-b").click()
    expect(other.get_by_text("in another tab")).to_be_visible()
    assert [vote.choice for vote in judged(site, batch, "trainer")] == ["a"]
    one.reload()
    expect(one.locator("#vote-progress")).to_contain_text("1 of 6")


def test_a_double_click_is_one_vote(site, browser_page, batch):
    page = browser_page(site, "admin", path="/vote/")
    page.locator("#vote-a").dblclick()
    expect(page.locator("#vote-progress")).to_contain_text("of 6")
    page.wait_for_timeout(700)
    with site.store.reading() as session:
        keys = list(session.scalars(select(Vote.key)))
    assert len(keys) == len(set(keys))
    seen = [vote.item_id for vote in judged(site, batch, "admin")]
    assert len(seen) == len(set(seen)) <= 2


def test_on_a_phone_long_answers_leave_the_choices_in_sight(site, browser_page):
    answers = ("\n".join(["a line of a long answer"] * 30), "\n".join(["a line of the other"] * 30))
    create_batch(site.store, name="long", mode="pair", items=[("a prompt", answers, ("before", "after"))])
    page = browser_page(site, "rater", width=390, path="/vote/")
    for name in ("a", "b", "same", "both_bad", "skip"):
        expect(page.locator(f"#vote-{name}")).to_be_in_viewport(ratio=1)
    page.locator("#vote-both_bad").click()
    expect(page.locator("#vote-progress")).to_contain_text("1 of 1")


def test_results_are_for_those_who_run_the_voting(site, browser_page, batch):
    page = browser_page(site, "trainer", path="/?tab=vote")
    page.get_by_text("Results so far").click()
    expect(page.locator("#vote-said")).to_contain_text("preferred in")
    expect(page.locator("#vote-raters")).to_contain_text("rater")
    assert site.client("trainer").get("/download/vote/votes.csv").text.count("\r\n") > 6
    assert site.client("rater").get("/download/vote/votes.csv").status_code == 403


def test_four_answers_are_ranked_by_choosing_the_best_first_on_a_phone(site, browser_page):
    four = create_batch(site.store, name="four", mode="best_of_4", items=FOUR, repeat_share=0.0)
    page = browser_page(site, "rater", width=390, path="/vote/")
    expect(page.locator("#vote-pick-3")).to_be_visible()
    box = page.evaluate("document.documentElement.scrollWidth")
    assert box <= 390
    texts = [page.locator(f"#vote-text-{letter} textarea").input_value() for letter in "abcd"]
    for wanted in "zyx":
        page.locator(f"#vote-pick-{texts.index(wanted)}").click()
        page.wait_for_timeout(300)
    expect(page.locator("#vote-progress")).to_contain_text("All done")
    (ranking,) = rankings(records(site.store, four))
    assert dict(zip(ranking.responses, ranking.ranks, strict=True)) == {"z": 1, "y": 2, "x": 3, "w": 4}


def test_a_voting_is_made_from_a_finished_run(site, browser_page, finished_run):
    page = browser_page(site, "trainer", path="/?tab=vote")
    page.get_by_text("New voting").click()
    newest = f"{finished_run.name} (run {finished_run.id})"
    expect(page.locator("#vote-new-run input")).to_have_value(newest)  # chosen by itself
    page.locator("#vote-new-name textarea, #vote-new-name input").fill("from the run")
    page.locator("#vote-new-make").click()
    expect(page.get_by_text("The voting is open")).to_be_visible()
    expect(page.locator("#vote-batch input")).to_have_value("from the run")


@pytest.fixture
def finished_run(site, tmp_path):
    folder = tmp_path / "done"
    (folder / "report").mkdir(parents=True)
    side = {
        "texts": [["a", "b"], ["c", "d"]],
        "scores": [[0.0, 0.0]] * 2,
        "tokens": [[1, 1]] * 2,
        "ended": [[True, True]] * 2,
        "kl": [[0.0, 0.0]] * 2,
        "start_nll": [[1.0, 1.0]] * 2,
        "opinion": None,
    }
    after = side | {"texts": [["A", "b"], ["C", "D"]]}
    content = {"schema": 1, "prompts": ["p", "q"], "before": side, "after": after}
    (folder / "report" / "samples.json").write_text(json.dumps(content))
    with site.store.session() as session:
        run = Run(name="kind", stage="ppo", folder=str(folder), config="", state="done", created=1.0)
        session.add(run)
    yield run
    shutil.rmtree(folder)
