"""The JSON API over HTTP: data sets, runs, votes, tokens, and what a config from outside may not name."""

import json
import re
from pathlib import Path

import pytest

from appliance.store import logins, runs
from appliance.store.schema import Point
from appliance.store.vote_batches import create_batch
from appliance.store.votes import cast, next_item

CONFIG = """
stage: ppo
name: tiny
policy: {{model: gpt2}}
reward: {reward}
prompts: {{source: {source}}}
batch: {{rollout: 8, microbatch: 8}}
"""


def config(source="prompts.txt", reward="{source: length}"):
    return CONFIG.format(source=source, reward=reward)


def add_prompts(client, content=b"text\nOne prompt.\nTwo prompts.\nTwo prompts.\n", name="p.csv", **fields):
    return client.post("/api/datasets", files={"file": (name, content)}, data=fields)


def test_an_upload_is_read_counted_and_kept(site):
    trainer = site.client("trainer")
    made = add_prompts(trainer)
    assert made.status_code == 201
    assert made.json()["rows"] == 2
    assert made.json() in trainer.get("/api/datasets").json()
    kept = list((site.settings.data / "uploads" / made.json()["id"]).iterdir())
    assert [file.name for file in kept] == ["p.csv"]
    assert list((site.settings.data / "incoming").iterdir()) == []


def test_uploads_of_others_are_not_listed_but_for_an_admin(site):
    made = add_prompts(site.client("admin")).json()
    assert made not in site.client("trainer").get("/api/datasets").json()
    assert made in site.client("admin").get("/api/datasets").json()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.exe", b"MZ", "not of a type that can be read"),
        ("p.jsonl", b'{"text": "a"}\n{broken\n', "p.jsonl line 2"),
        ("p.csv", b"text\n\n", "p.csv"),
        ("../../p.txt", b"", "p.txt"),
    ],
)
def test_a_broken_upload_is_answered_with_its_place(site, name, content, said):
    answer = add_prompts(site.client("trainer"), content, name)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert answer.json()["fix"]
    assert "incoming" not in answer.text


def test_a_run_is_queued_once_for_a_key_and_stopped_and_continued(site):
    trainer = site.client("trainer")
    new = {"name": "api-run", "config": config(), "key": "abc"}
    one, two = (trainer.post("/api/runs", json=new) for _ in range(2))
    assert one.status_code == 201
    assert one.json()["id"] == two.json()["id"]
    assert one.json()["state"] == "queued"
    number = one.json()["id"]
    got = trainer.get(f"/api/runs/{number}").json()
    assert got["config"] == config()
    assert not {"token", "pid", "folder", "boot_id"} & set(got)
    assert trainer.post(f"/api/runs/{number}/stop").json()["state"] == "stopped"
    assert trainer.post(f"/api/runs/{number}/stop").status_code == 400
    assert trainer.post(f"/api/runs/{number}/continue").json()["state"] == "queued"
    assert [run["id"] for run in trainer.get("/api/runs", params={"state": "queued"}).json()] == [number]
    assert site.client("admin").post("/api/runs", json=new).json()["id"] != number  # a key is its user's


@pytest.mark.parametrize(
    "reward",
    [
        "{source: python, file: /tmp/x.py}",
        "{source: blend, members: [{source: python, file: x.py, weight: 1}]}",
    ],
)
def test_a_reward_that_runs_code_is_refused(site, reward):
    answer = site.client("admin").post("/api/runs", json={"name": "x", "config": config(reward=reward)})
    assert answer.status_code == 400
    assert "runs code from a file" in answer.json()["detail"]


SERVER = "source: http, url: 'http://host:1/score'"


@pytest.mark.parametrize(
    "reward", [f"{{{SERVER}, token_file: x}}", f"{{source: blend, sources: [{{{SERVER}, token_file: x}}]}}"]
)
def test_a_reward_that_would_send_a_file_of_the_machine_is_refused(site, reward):
    answer = site.client("admin").post("/api/runs", json={"name": "x", "config": config(reward=reward)})
    assert answer.status_code == 400
    assert "'token_file' of the reward source 'http' may not be set" in answer.json()["detail"]


@pytest.mark.parametrize("section", ["{source: python, function: 'os:getcwd'}", f"{{{SERVER}, token_file: x}}"])
def test_a_second_opinion_is_held_to_the_same(site, section):
    text = config() + f"evaluation: {{second_opinion: {section}}}\n"
    answer = site.client("admin").post("/api/runs", json={"name": "x", "config": text})
    assert answer.status_code == 400
    assert "page" in answer.json()["detail"]
    fine = text.replace(section, "{source: length}")
    assert site.client("trainer").post("/api/runs", json={"name": "x", "config": fine}).status_code == 201


@pytest.mark.parametrize("text", ["reward: 3", "reward: [{source: [1]}]", "evaluation: no"])
def test_a_reward_section_of_another_shape_is_refused_in_words(site, text):
    answer = site.client("trainer").post("/api/runs", json={"name": "x", "config": f"stage: ppo\n{text}\n"})
    assert answer.status_code == 400
    assert answer.json()["fix"]


@pytest.mark.parametrize(
    "where", ["/etc/passwd", "{data}/appliance.db", "{data}/uploads", "{data}/../x.txt", "~/x.txt", "../x.txt"]
)
def test_a_config_that_names_a_file_of_the_machine_is_refused(site, where):
    source = where.format(data=site.settings.data)
    answer = site.client("trainer").post("/api/runs", json={"name": "x", "config": config(source)})
    assert answer.status_code == 400
    assert "prompts.source" in answer.json()["detail"]


def test_a_config_may_name_ones_own_upload_and_not_anothers(site):
    def start(client, made):
        (file,) = (site.settings.data / "uploads" / made["id"]).iterdir()
        return client.post("/api/runs", json={"name": "x", "config": config(str(file)), "dataset_id": made["id"]})

    trainer, admin = site.client("trainer"), site.client("admin")
    assert start(trainer, add_prompts(trainer).json()).status_code == 201
    assert start(trainer, add_prompts(admin).json()).status_code == 400


def test_what_is_wrong_with_a_config_is_listed(site):
    answer = site.client("trainer").post("/api/runs", json={"name": "x", "config": config() + "stepz: 3\n"})
    assert answer.status_code == 400
    assert "stepz" in answer.json()["detail"]
    for text in ("[", "- a", "a: b: c", ""):
        assert site.client("trainer").post("/api/runs", json={"name": "x", "config": text}).status_code == 400


def test_points_and_report_of_a_run(site):
    trainer = site.client("trainer")
    number = trainer.post("/api/runs", json={"name": "charted", "config": config()}).json()["id"]
    with site.store.session() as session:
        session.add_all(Point(run_id=number, step=step, values={"kl": step / 10, "loss": 1.0}) for step in (1, 2))
    assert trainer.get(f"/api/runs/{number}/points", params={"name": "kl"}).json() == {"kl": [[1, 0.1], [2, 0.2]]}
    assert set(trainer.get(f"/api/runs/{number}/points").json()) == {"kl", "loss"}
    assert "no report yet" in trainer.get(f"/api/runs/{number}/report").json()["detail"]
    report = Path(runs.get(site.store, number).folder) / "report"
    report.mkdir(parents=True)
    (report / "report.json").write_text('{"verdict": "better"}')
    assert trainer.get(f"/api/runs/{number}/report").json() == {"verdict": "better"}
    assert trainer.get("/api/runs/999999").status_code == 400


def test_votes_are_listed_and_exported_as_preferences(site):
    items = [("p", ("old", "new"), ("before", "after"))]
    batch = create_batch(site.store, name="b", mode="pair", items=items)
    rater = site.user("rater").id
    shown = next_item(site.store, batch, rater)
    choice = "a" if shown.texts[0] == "new" else "b"
    cast(site.store, shown.assignment_id, rater, choice=choice, key="k1", seconds=2.0)
    trainer = site.client("trainer")
    assert trainer.get("/api/votes/batches").json()[0]["name"] == "b"
    assert trainer.get("/api/votes", params={"batch": batch}).json()[0]["user_name"] == "rater"
    exported = trainer.get("/api/votes/export.jsonl", params={"batch": batch})
    assert [json.loads(line) for line in exported.text.splitlines()] == [
        {"prompt": "p", "chosen": "new", "rejected": "old"}
    ]
    assert exported.headers["content-disposition"].startswith("attachment")


def test_an_api_token_opens_the_api_and_nothing_else(site):
    token = logins.make_api_token(site.store, site.user("trainer").id)
    client = site.client(headers={"authorization": f"Bearer {token}"})
    assert client.get("/api/runs").status_code == 200
    assert add_prompts(client).status_code == 201
    for path in ("/", "/config", "/gradio_api/info", "/account"):
        assert client.get(path).status_code == 401, path
    client.cookies["appliance_session"] = token
    assert client.get("/account").status_code == 401
    wrong = site.client(headers={"authorization": "Bearer rlhf_made_up"})
    assert wrong.get("/api/runs").status_code == 401


def test_every_route_stands_in_the_description_and_in_the_docs(site):
    described = site.client("admin").get("/api/openapi.json").json()["paths"]
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for path, methods in described.items():
        for method in methods:
            assert re.search(rf"`{method.upper()} {re.escape(path)}`", text), f"{method} {path}"
    assert len(described) > 10


def test_a_config_may_name_a_run_of_this_machine_as_its_reward_model(site):
    taught = site.settings.data / "taught"
    taught.mkdir()
    trainer = site.client("trainer")
    new = {"name": "with-it", "config": config(reward=f"{{source: trained, model: {taught}}}")}
    assert trainer.post("/api/runs", json=new).status_code == 400  # a folder that is no run
    (taught / "config.yaml").write_text("stage: reward\n")
    assert trainer.post("/api/runs", json=new).status_code == 201
