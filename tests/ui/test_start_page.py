"""The Start tab in a real browser: from a broken upload to a run in the queue, and the example."""

import pytest
import yaml
from playwright.sync_api import expect

from appliance.config import parse
from appliance.stages import demo_models
from appliance.store import audit, datasets, runs

TEXTS = [f"The film number {n} by Ada Holm was" for n in range(60)]
CSV = "id,question\n" + "".join(f"{n},{text}\n" for n, text in enumerate(TEXTS)) + "60,\n61," + TEXTS[0] + "\n"


@pytest.fixture(scope="module")
def models(site):
    demo_models.make(site.settings.models, TEXTS, 1)
    bad = site.settings.models / "old"
    bad.mkdir()
    (bad / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}')
    (bad / "pytorch_model.bin").write_text("x")


def upload(page, tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    page.locator("#start-prompts-file input[type=file]").set_input_files(file)


def test_from_an_upload_to_a_run_in_the_queue(site, browser_page, models, tmp_path):
    page = browser_page(site, "trainer", path="/?tab=start")
    expect(page.locator("#start-prompts-summary")).to_contain_text("No prompts yet")
    expect(page.locator("#start-next-1")).to_be_disabled()
    upload(page, tmp_path, "broken.jsonl", '{"prompt": \n')
    expect(page.get_by_text("broken.jsonl line 1")).to_be_visible()
    assert datasets.list_datasets(site.store) == []

    upload(page, tmp_path, "films.csv", CSV)
    expect(page.locator("#start-prompts-summary")).to_contain_text("62 rows")
    expect(page.locator("#start-prompts-column input")).to_have_value("question")
    expect(page.locator("#start-prompts-problems")).to_contain_text("blank")
    page.locator("#start-fix-blank").click()
    expect(page.locator("#start-prompts-summary")).to_contain_text("61 rows")
    # 60 different prompts: an eighth to test on, an eighth for the report
    expect(page.locator("#start-prompts-split")).to_contain_text(
        "46 practice prompts, 7 test prompts, 7 for the report"
    )
    page.locator("#start-next-1").click()

    page.get_by_text("policy ·").click()
    page.get_by_text("Words (keyword)").click()
    page.locator("#start-good-words textarea, #start-good-words input").fill("was, kind")
    page.get_by_text("Try the scorers").click()
    page.locator("#start-try-text textarea").fill("it was kind")
    page.locator("#start-try-score").click()
    expect(page.locator("#start-try-result")).to_contain_text("2")
    page.locator("#start-next-2").click()

    expect(page.locator("#start-takes")).to_contain_text("not measured yet")
    expect(page.locator("#start-takes")).to_contain_text("fits")
    page.get_by_text("More settings").click()
    page.get_by_text("Quick look").click()
    expect(page.locator("#start-setting-steps input")).to_have_value("10")
    page.reload()
    expect(page.locator("#start-setting-steps input")).to_have_count(0)  # folded away; the step is the same
    expect(page.locator("#start-next-3")).to_be_visible()
    # Next right after a size: the numbers on the page are still the other size's, and are not taken for chosen ones.
    page.get_by_label("Normal").click()
    page.get_by_text("More settings").click()
    expect(page.locator("#start-setting-steps input")).to_have_value("40")
    page.get_by_label("Quick look").click()
    page.locator("#start-next-3").click()

    expect(page.locator("#start-checks")).to_contain_text("answers written and scored", timeout=120_000)
    expect(page.locator("#start-answers")).to_contain_text("The film number")
    expect(page.locator("#start-go")).to_be_enabled(timeout=60_000)
    shown = site.client("trainer").get("/download/start/config.yaml")
    page.locator("#start-go").dblclick()
    expect(page.locator("#start-go")).to_be_hidden()
    (run,) = runs.list_runs(site.store)
    assert (run.state, run.stage, run.name) == ("queued", "ppo", "films-cleaned-quick")
    assert shown.text == run.config
    assert parse(yaml.safe_load(run.config), origin="c").batch.steps == 10
    assert [entry.action for entry in audit.entries(site.store)].count("start") == 1

    page.goto("/?tab=start")
    expect(page.locator("#start-said")).to_contain_text("number 1 in the queue")
    page.locator("#start-another").click()
    expect(page.locator("#start-next-1")).to_be_enabled()


def test_the_example_fills_everything_on_a_phone(site, browser_page):
    page = browser_page(site, "admin", width=390, path="/?tab=start")
    page.locator("#start-example").click()
    expect(page.locator("#start-checks")).to_contain_text("936 practice prompts, 64 test prompts, 15 for the report")
    expect(page.locator("#start-checks")).to_contain_text("trained first, about a minute")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#start-go")).to_be_enabled(timeout=60_000)
    page.locator("#start-go").click()
    expect(page.locator("#start-go")).to_be_hidden()
    stages = [run.stage for run in runs.queue(site.store)]
    assert stages[-2:] == ["example", "ppo"]


def test_a_draft_is_its_users_own(site):
    assert site.client("rater").get("/download/start/config.yaml").status_code == 403
    assert site.client().get("/download/start/config.yaml", follow_redirects=False).status_code in (303, 401)
