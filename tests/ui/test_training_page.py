"""The Training tab in a real browser: a run that goes on, its end, stop and continue, again with changes, a phone."""

import time

import pytest
from playwright.sync_api import expect

from appliance.store import metrics, runs, workers
from appliance.store.rundir import RunDir
from appliance.store.schema import Run

CONFIG = """\
stage: ppo
policy: {model: tiny}
reward: {source: length}
prompts: {source: prompts.txt}
batch: {rollout: 8, microbatch: 4}
"""


def point(step):
    return {"step": step, "score_mean": step / 10, "score_std": 0.1, "kl": 0.2, "length_mean": 9.0, "entropy": 1.0,
            "ratio_mean": 1.0, "clip_share": 0.1, "score_length_correlation": 0.0, "saturated_share": 0.0}  # fmt: skip


@pytest.fixture
def enter(site):
    """A run in any state with eight steps done, and its folder."""

    def make(name, state, **more):
        folder = RunDir(site.settings.data / name)
        folder.path.mkdir()
        for step in range(1, 9):
            folder.append("metrics.jsonl", point(step))
            folder.append("timings.jsonl", {"step": step, "seconds": 2.0})
        for step, answer in ((0, "the old answer"), (8, "<img src=x onerror=alert(1)> new")):
            folder.append("samples.jsonl", {"step": step, "prompt": "a prompt", "response": answer, "score": 0.5})
        now = time.time()
        known = {"created": now, "started": now - 30, "last_step_at": now, "step": 8, "steps": 20, "worker_id": "w"}
        with site.store.session() as session:
            row = Run(name=name, stage="ppo", folder=str(folder.path), config=CONFIG, state=state, **known | more)
            session.add(row)
            session.flush()
            number = row.id
        metrics.ingest(site.store, number, folder)
        workers.beat(site.store, "w", host="h", pid=1, device="cpu")
        return number, folder

    return make


def test_it_is_empty_then_shows_the_run_and_follows_it_to_its_end(site, browser_page, enter):
    page = browser_page(site, "trainer", path="/?tab=training")
    expect(page.locator("#training-head")).to_contain_text("No run yet")
    expect(page.locator("#training-start")).to_be_visible()
    number, folder = enter("first", "running")
    expect(page.locator("#training-head")).to_contain_text("Going well: the score rose")
    expect(page.locator("#training-head")).to_contain_text("Close it any time")
    expect(page.locator("#training-progress")).to_contain_text("Step 8 of 20")
    expect(page.locator("#training-chart-3 canvas, #training-chart-3 svg").first).to_be_visible()
    expect(page.locator("#training-chart-4")).to_have_count(0)
    expect(page.locator("#training-samples")).to_contain_text("<img src=x onerror=alert(1)> new")
    expect(page.locator("#training-stop")).to_have_text("Stop and keep progress")
    folder.append("metrics.jsonl", point(9))
    metrics.ingest(site.store, number, folder)
    runs.beat(site.store, number, step=9, last_step_at=time.time())
    expect(page.locator("#training-progress")).to_contain_text("Step 9 of 20")
    result = {"verdict": {"word": "better"}, "prompts": 9, "improved": 8, "worse": 0}
    runs.finish(site.store, number, "done", result=result)
    expect(page.locator("#training-head")).to_contain_text("answers improved on 8 of 9")
    expect(page.locator("#training-stop")).to_be_hidden()
    page.locator("#training-compare").click()
    expect(page.locator("#tab-compare")).to_be_visible()


def test_stop_has_three_states_and_continue_follows(site, browser_page, enter):
    number, folder = enter("second", "running")
    page = browser_page(site, "trainer", path=f"/?tab=training&run={number}")
    page.locator("#training-stop").click()
    expect(page.locator("#training-stop")).to_have_text("Stopping: it saves first")
    expect(page.locator("#training-stop")).to_be_disabled()
    (folder.checkpoints / "step-000008").mkdir(parents=True)
    runs.finish(site.store, number, "stopped", message="stopped by the user")
    expect(page.locator("#training-head")).to_contain_text("Stopped at step 8 of 20")
    page.reload()
    page.locator("#training-go-on").filter(has_text="Continue from step 8").click()
    expect(page.locator("#training-head")).to_contain_text("Waiting: place 1")
    assert runs.get(site.store, number).state == "queued"


def test_a_failure_is_retried_with_its_fix_and_settings_can_be_changed(site, browser_page, enter):
    number, _ = enter(
        "third", "failed", cause="memory", message="CUDA out of memory", fix="take less", ended=time.time()
    )
    page = browser_page(site, "trainer", width=390, path=f"/?tab=training&run={number}")
    expect(page.locator("#training-card")).to_contain_text("2 texts at a time on the device instead of 4")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#training-again").click()
    expect(page.locator("#training-again-name textarea, #training-again-name input")).to_have_value("third")
    page.locator("#training-again-steps input").fill("0")
    page.locator("#training-again-begin").click()
    expect(page.get_by_text("batch.steps is 0")).to_be_visible()
    page.locator("#training-again-steps input").fill("12")
    page.locator("#training-again-begin").click()
    expect(page.locator("#training-again-box")).to_be_hidden()
    expect(page.locator("#training-head")).to_contain_text("Waiting")
    made = runs.list_runs(site.store, limit=1)[0]
    assert (made.parent_id, made.name, made.state) == (number, "third-2", "queued")
    assert "steps: 12" in made.config


def test_the_log_is_shown_and_downloaded_as_an_attachment(site, browser_page, enter):
    number, _ = enter("fourth", "running")
    log = site.settings.data / "logs" / f"{number}.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("a line <script>\n")
    page = browser_page(site, "admin", path=f"/?tab=training&run={number}")
    page.locator("#training-log-box button").first.click()
    expect(page.locator("#training-log textarea")).to_have_value("a line <script>")
    answer = site.client("trainer").get(f"/download/training/{number}/log")
    assert answer.text == "a line <script>\n"
    assert "attachment" in answer.headers["content-disposition"]
    assert site.client("rater").get(f"/download/training/{number}/log").status_code == 403
