"""What the Runs tab lists, compares and sends, without a browser."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, ConfigError
from appliance.evaluate.records import Answers, Comparison
from appliance.store import metrics, run_names, runs, users, vote_batches, votes
from appliance.store.rundir import RunDir
from appliance.store.schema import Run
from appliance.store.users import Member
from appliance.ui import run_list, run_list_compare, run_list_export


@pytest.fixture
def config(config_yaml):
    return f"{config_yaml}sampling: {{response_tokens: [16, 24], temperature: 0.7}}\n"


@pytest.fixture
def add(store, config):
    def make(name, *, owner=None, config=config, **values):
        run = runs.enqueue(store, config_yaml=config, name=name, stage="ppo", owner_id=owner, key=None)
        with store.session() as session:
            row = session.get(Run, run.id)
            for column, value in values.items():
                setattr(row, column, value)
        Path(run.folder).mkdir()
        return runs.get(store, run.id)

    return make


def side(texts, score):
    shape = [[0.0] for _ in texts]
    scores, tokens, ended = ([[value] for _ in texts] for value in (score, 3, True))
    return Answers([[text] for text in texts], scores, tokens, ended, shape, shape)


def report(run, prompts, word):
    folder = Path(run.folder) / "report"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    both = Comparison(
        list(prompts), side([f"old {p}" for p in prompts], 0.0), side([f"{word} {p}" for p in prompts], 1.5)
    )
    (folder / "samples.json").write_text(json.dumps(both.to_json()))


def line(run, who="anna", votes=None):
    return run_list.Line(run, who, votes)


def test_a_line_says_the_outcome_with_words_and_units(add):
    done = {"difference": 0.825, "kl": 1.607, "seconds": 200.0, "verdict": {"word": "better", "sentence": "better: 15"}}
    cells = line(add("support", state="done", created=1_700_000_000.0, starred=True, result=done)).cells()
    told = ["★ support", "training", "2023-11-14 22:13", "anna", "done", "+0.82 better", "-", "1.61", "3 min 20 s"]
    assert cells[1:] == told
    assert len(cells) == len(run_list.COLUMNS) == len(run_list.WIDTHS)
    waiting = line(add("other")).cells()
    assert waiting[5:] == ["queued", "-", "-", "-", "-"]


def test_search_looks_in_name_person_state_and_note(add):
    found = [
        line(add("support-v2", note="the Kind one", starred=True), "anna"),
        line(add("films", state="failed"), "bo"),
    ]
    names = [
        [one.run.name for one in run_list.search(found, text)] for text in ("", "KIND", "bo failed", "anna failed")
    ]
    assert names == [["support-v2", "films"], ["support-v2"], ["films"], []]
    assert [one.run.name for one in run_list.search(found, "", starred=True)] == ["support-v2"]


def test_win_rates_come_from_the_votes_on_a_runs_batches(store, add):
    run, rater = add("one"), users.add(store, "rater", "correct horse battery", "rater")
    items = [(f"p{i}", ("old", "new"), ("before", "after")) for i in range(2)]
    batch = vote_batches.create_batch(store, name="b", mode="pair", items=items, run_id=run.id)
    assert run_list.win_rates(store) == {}
    before = run_list.votes_mark(store)
    for wanted in ("new", "old"):
        shown = votes.next_item(store, batch, rater.id)
        votes.cast(
            store, shown.assignment_id, rater.id, key=wanted, choice="ab"[shown.texts.index(wanted)], seconds=1.0
        )
    found = run_list.win_rates(store)
    assert {number: (rate.wins, rate.losses, rate.rate) for number, rate in found.items()} == {run.id: (1, 1, 0.5)}
    assert run_list.votes_mark(store) != before
    assert line(run, votes=found[run.id]).cells()[7] == "50% of 2"


def test_only_the_owner_and_admins_may_delete_and_nobody_a_run_at_work(add):
    owner, other, admin = (
        Member(i, "x", role, 0.0, False, 0.0) for i, role in ((1, "trainer"), (2, "trainer"), (3, "admin"))
    )
    run = Run(owner_id=1, state="done")
    assert run_list.may_delete(run, owner) is None is run_list.may_delete(run, admin)
    assert "owner or an admin" in run_list.may_delete(run, other)
    assert "owner or an admin" in run_list.may_delete(Run(owner_id=None, state="done"), owner)
    assert "at work" in run_list.may_delete(Run(owner_id=1, state="running"), owner)


def test_what_people_wrote_means_nothing_in_markdown(add):
    run = add("a_b", state="failed", message="bad <b>[x](y)", fix="none")
    text = run_list.about(line(run), 1_240_000_000)
    assert "### a\\_b" in text
    assert "\\<b\\>\\[x\\](y)" in text
    assert "1.24 GB on disk" in text


def test_a_run_gets_another_name_that_no_other_has(store, add):
    one, other = add("one"), add("other")
    assert run_names.rename(store, one.id, " first-try ") == "first-try"
    assert runs.get(store, one.id).folder == one.folder
    for name in ("other", "a b", "../x", ""):
        with pytest.raises(ConfigError):
            run_names.rename(store, one.id, name)
    with pytest.raises(ApplianceError, match="no run number 99"):
        run_names.rename(store, 99, "x")
    assert runs.get(store, other.id).name == "other"


def test_curves_of_all_runs_stand_in_one_frame_with_few_points(store, add):
    one, other = add("one"), add("other")
    for run, steps in ((one, 1000), (other, 3)):
        folder = RunDir(Path(run.folder))
        rows = [{"step": step, "score_mean": step / 10, "kl": None} for step in range(steps)]
        (folder.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        metrics.ingest(store, run.id, folder)
    found = run_list_compare.curves(store, [one, other])
    assert list(found) == ["score"]  # nothing of the others was written
    frame = found["score"]
    counted = frame.groupby("run").size().to_dict()
    assert counted[f"other ({other.id})"] == 3
    assert 300 < counted[f"one ({one.id})"] <= 401
    assert [str(kind) for kind in frame.dtypes[:2]] == ["float64", "float64"]
    assert frame["value"].max() == pytest.approx(99.9)


def test_only_settings_that_differ_are_listed(add, config):
    other = config.replace("temperature: 0.7", "temperature: 0.9").replace("name: tiny", "name: other")
    rows = run_list_compare.differences([add("one"), add("two", config=other), add("three")])
    assert rows == [["sampling.temperature", "0.7", "0.9", "0.7"]]
    damaged = Run(config="{", name="x", id=9)
    assert ["stage", "ppo", "-"] in run_list_compare.differences([add("four"), damaged])


def test_answers_to_the_prompts_that_reports_share(add):
    one, other, third = add("one"), add("other"), add("third")
    report(one, ["p", "q", "r"], "new")
    report(other, ["r", "p"], "newer")
    found = run_list_compare.together([one, other, third])
    assert found.prompts == ["p", "r"]
    assert [text for text, _ in found.answers[1]] == ["new r", "newer r", ""]
    assert found.missing == [f"third ({third.id})"]
    line_of = run_list_compare.together_line(found, 1)
    assert line_of == "Prompt 2 of 2 that they share. Scores, in this order: 1.50 · 1.50 · no report."
    alone = run_list_compare.together([one, third])
    assert alone.prompts == []
    assert "No report yet: third" in run_list_compare.together_line(alone, 0)


@pytest.fixture
def finished(add, config):
    run = add("support", state="done")
    files = {
        "model/model.safetensors": bytes(range(256)) * 20_000,
        "model/README.md": b"# card\n",
        "model/config.json": b'{"is_encoder_decoder": false}',
        "metrics.jsonl": b'{"step": 1}\n' * 1000,
        "config.yaml": config.encode(),
        "model/.cache.tmp/half": b"x",
        "checkpoints/step-000001/weights.safetensors": b"x",
    }
    for name, content in files.items():
        file = Path(run.folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (Path(run.folder) / "model" / "secret").symlink_to("/etc/passwd")
    return run


def test_the_zip_has_the_chosen_parts_and_their_checksums(finished, tmp_path):
    pieces = list(run_list_export.stream(finished, ["model", "config", "card"]))
    assert max(len(piece) for piece in pieces) < 3 << 20  # never the whole model at once
    archive = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    assert archive.testzip() is None
    names = [name.removeprefix("support/") for name in archive.namelist()]
    assert names == ["model/README.md", "model/config.json", "model/model.safetensors", "config.yaml", "SHA256SUMS"]
    assert archive.getinfo("support/model/model.safetensors").compress_type == zipfile.ZIP_STORED
    for told in archive.read("support/SHA256SUMS").decode().splitlines():
        digest, _, name = told.partition("  ")
        assert hashlib.sha256((Path(finished.folder) / name).read_bytes()).hexdigest() == digest
        assert hashlib.sha256(archive.read(f"support/{name}")).hexdigest() == digest


def test_parts_are_what_the_run_has(finished, add):
    assert [part.name for part in run_list_export.parts(finished)] == ["model", "config", "metrics", "card"]
    assert run_list_export.chosen_parts("model,card") == ["model", "card"]
    assert run_list_export.chosen_parts(None) == list(run_list_export.PARTS)
    with pytest.raises(ApplianceError, match="no part of a run"):
        run_list_export.chosen_parts("../../etc")
    with pytest.raises(ApplianceError, match="no such files"):
        run_list_export.stream(add("fresh"), ["model"])


@pytest.mark.parametrize(
    ("model", "stage", "name"),
    [
        ("{}", "ppo", "AutoModelForCausalLM"),
        ('{"is_encoder_decoder": true}', "ppo", "AutoModelForSeq2SeqLM"),
        ("{}", "reward", "AutoModelForSequenceClassification"),
    ],
)
def test_the_snippet_is_python_for_the_models_kind(finished, model, stage, name):
    (Path(finished.folder) / "model" / "config.json").write_text(model)
    finished.stage = stage
    text = run_list_export.snippet(finished)
    compile(text, "snippet", "exec")
    assert name in text
    if stage == "ppo":
        assert "max_new_tokens=24, do_sample=True, temperature=0.7" in text


def test_without_a_model_there_is_no_snippet(add):
    assert run_list_export.snippet(add("one")) is None
