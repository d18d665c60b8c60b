"""The Runs tab in a real browser: the list, one run and its files, and several beside each other."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from appliance.evaluate.records import Answers, Comparison
from appliance.store import audit, metrics, runs
from appliance.store.rundir import RunDir
from appliance.store.schema import Run


def side(word, score):
    texts, shape = [[f"{word} one"], [f"{word} two"]], [[0.0], [0.0]]
    return Answers(texts, [[score], [score]], [[3], [3]], [[True], [True]], shape, shape)


def finished(site, name, owner, hot=1.0, state="done"):
    """A run as the worker leaves it, with the files that a training writes."""
    text = f"{site.config_yaml}sampling: {{temperature: {hot}}}\n"
    run = runs.enqueue(site.store, config_yaml=text, name=name, stage="ppo", owner_id=site.user(owner).id, key=None)
    folder = Path(run.folder)
    both = Comparison(["first prompt", "second prompt"], side("old", 0.0), side(f"{name} says", hot))
    lines = [{"step": step, "score_mean": step * hot, "kl": 0.1} for step in range(5)]
    files = {
        "config.yaml": text,
        "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "report/report.json": "{}",
        "report/samples.json": json.dumps(both.to_json()),
        "model/config.json": "{}",
        "model/model.safetensors": "x" * 3_000_000,
        "model/README.md": "# card",
    }
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(content, encoding="utf-8")
    verdict = {"word": "better", "sentence": "better: 2 of 2 prompts improved"}
    with site.store.session() as session:
        row = session.get(Run, run.id)
        row.state, row.result = state, {"difference": 0.5, "kl": 1.6, "seconds": 40.0, "verdict": verdict}
    metrics.ingest(site.store, run.id, RunDir(folder))
    return run.id


@pytest.fixture(scope="module")
def made(site):
    """Numbers of two finished runs, of the trainer and of the admin, and of one at work."""
    return [
        finished(site, "support-one", "trainer", 1.0),
        finished(site, "support-two", "admin", 0.5),
        finished(site, "at-work", "trainer", 1.0, state="running"),
    ]


def choose(page, name):
    page.locator("#runs-run input").click()
    page.get_by_role("option", name=name).click()
    expect(page.locator("#runs-about h3")).to_have_text(name)


def test_the_list_is_searched_and_a_row_opens_its_run(site, browser_page, made):
    page = browser_page(site, "trainer", path="/?tab=runs")
    table = page.locator("#runs-table")
    expect(table).to_contain_text("support-one")
    expect(table).to_contain_text("+0.50 better")
    page.locator("#runs-search input, #runs-search textarea").fill("SUPPORT-o")
    expect(page.locator("#runs-said")).to_contain_text("1 of 3 runs fit")
    expect(table).not_to_contain_text("support-two")
    table.locator("[data-testid^=cell-]", has_text="support-one").first.click()
    expect(page.locator("#runs-about")).to_contain_text("started by trainer")
    expect(page).to_have_url(f"{site.url}/?tab=runs&run={made[0]}")


def test_name_star_and_note_are_kept(site, browser_page, made):
    page = browser_page(site, "trainer", path=f"/?tab=runs&run={made[1]}")
    expect(page.locator("#runs-about h3")).to_have_text("support-two")
    page.locator("#runs-name input, #runs-name textarea").fill("second-try")
    page.locator("#runs-note textarea").fill("kinder answers")
    page.locator("#runs-star input").check()
    page.locator("#runs-save").click()
    expect(page.locator("#runs-table")).to_contain_text("★ second-try")
    page.reload()
    expect(page.locator("#runs-about h3")).to_have_text("second-try")
    expect(page.locator("#runs-note textarea")).to_have_value("kinder answers")
    row = runs.get(site.store, made[1])
    assert (row.name, row.note, row.starred) == ("second-try", "kinder answers", True)


def test_a_run_is_sent_as_a_zip_with_checksums(site, browser_page, made):
    page = browser_page(site, "trainer", path=f"/?tab=runs&run={made[0]}")
    expect(page.locator("#runs-download")).to_contain_text("about 3 MB")
    page.locator("#runs-parts").get_by_label("Report").uncheck()
    expect(page.locator("#runs-download")).not_to_have_attribute("href", "report")
    with page.expect_download() as started:
        page.locator("#runs-download").click()
    assert started.value.suggested_filename == "support-one.zip"
    client = site.client("trainer")
    with client.stream("GET", f"/download/runs/{made[0]}.zip", params={"parts": "model,config"}) as answer:
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "content-length" not in answer.headers
        content = b"".join(answer.iter_bytes())
    archive = zipfile.ZipFile(io.BytesIO(content))
    told = dict(line.split("  ")[::-1] for line in archive.read("support-one/SHA256SUMS").decode().splitlines())
    assert sorted(told) == ["config.yaml", "model/README.md", "model/config.json", "model/model.safetensors"]
    for name, digest in told.items():
        assert hashlib.sha256(archive.read(f"support-one/{name}")).hexdigest() == digest
    exported = audit.entries(site.store, action="run exported")
    assert exported[0].detail == {"run": made[0], "parts": ["model", "config"]}
    assert client.get(f"/download/runs/{made[0]}.zip", params={"parts": "../x"}).status_code == 400
    assert site.client("rater").get(f"/download/runs/{made[0]}.zip").status_code == 403


def test_two_runs_are_compared(site, browser_page, made):
    page = browser_page(site, "trainer", path="/?tab=runs", width=390)
    box = page.locator("#runs-several input")
    for number in made[:2]:
        box.click()
        page.get_by_role("option", name=f"({number})").click()
    page.keyboard.press("Escape")
    expect(page.locator("#runs-several-said")).to_have_text("1 setting differs.")
    expect(page.locator("#runs-settings")).to_contain_text("sampling.temperature")
    expect(page.locator("#runs-chart-score svg.marks")).to_be_visible()
    expect(page.locator("#runs-chart-loss")).to_have_count(0)
    expect(page.locator("#runs-same-1 textarea")).to_have_value("support-one says one")
    page.locator("#runs-same-next").click()
    expect(page.locator("#runs-same-prompt textarea")).to_have_value("second prompt")
    expect(page.locator("#runs-same-2 textarea")).to_have_value("support-two says two")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_deleting_asks_first_and_is_for_owners_and_admins(site, browser_page, made):
    page = browser_page(site, "trainer", path=f"/?tab=runs&run={made[1]}")
    expect(page.locator("#runs-why-not")).to_contain_text("Only its owner or an admin")
    expect(page.locator("#runs-delete")).to_be_disabled()
    choose(page, "at-work")
    expect(page.locator("#runs-why-not")).to_contain_text("Stop it first")
    choose(page, "support-one")
    page.locator("#runs-delete").click()
    expect(page.locator("#runs-question")).to_contain_text("3 MB are free again")
    page.locator("#runs-delete-no").click()
    expect(page.locator("#runs-delete-sure")).to_be_hidden()
    page.locator("#runs-delete").click()
    page.locator("#runs-delete-sure").click()
    expect(page.locator("#runs-table")).not_to_contain_text("support-one")
    assert not (site.settings.data / "support-one").exists()
    entry = audit.entries(site.store, action="run deleted")[0]
    assert (entry.user_name, entry.subject) == ("trainer", "support-one")


def test_with_no_run_it_says_what_will_be_here(make_site, browser_page):
    page = browser_page(make_site(), "admin", path="/?tab=runs")
    expect(page.locator("#runs-said")).to_contain_text("There is no run yet")
    expect(page.locator("#runs-one")).to_have_count(0)
