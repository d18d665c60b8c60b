"""The diagnostics bundle: what helps is in it, and no secret is, wherever it was planted."""

import io
import json
import zipfile

import pytest

from appliance.settings import read
from appliance.store import logins, metrics, runs, users
from appliance.store.db import Store
from appliance.ui import diagnostics

PASSWORD = "correct horse battery"
PLANTED = {
    "environment": "env-Secret-123",
    "file": "from-the-file-9",
    "database": "dbpass77",
    "header": "Zm9vOmJhcg-token-value",
    "hub": "hf_abcdefghijklmnop1234",
    "own": "rlhf_AbCdEf0123456789",
    "json": "jsonSECRET55",
    "link": "Kq3_xT9vLm2NpR7sWy4zAb6cDe8fGh1jUi5oP0qQrSt",
}


@pytest.fixture
def bundle(tmp_path, monkeypatch, config_yaml):
    """The files of a bundle of an appliance in whose every corner a secret stands."""
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    (tmp_path / "admin").write_text(PLANTED["file"] + "\n")
    monkeypatch.setenv("HF_TOKEN", PLANTED["environment"])
    monkeypatch.setenv("APPLIANCE_DATA", str(data))
    monkeypatch.setenv("APPLIANCE_ADMIN_PASSWORD_FILE", str(tmp_path / "admin"))
    store = Store(f"sqlite:///{data / 'appliance.db'}", data)
    store.migrate()
    users.add(store, "anna", PASSWORD, "admin")
    cookie, token = logins.sign_in(store, "anna", PASSWORD), logins.make_api_token(store, 1)
    run = runs.enqueue(store, config_yaml=config_yaml, name="customer-names", stage="ppo", owner_id=1, key=None)
    with store.session() as session:
        session.get(type(run), run.id).message = f"no answer from https://me:{PLANTED['database']}@host/x"
    metrics.add_event(store, run.id, f"reward server refused password={PLANTED['environment']}")
    (data / "logs" / f"{run.id}.log").write_text(
        "first line\n" * 20_000
        + f"Authorization: Bearer {PLANTED['header']}\n"
        + f"asked with {PLANTED['hub']} and {PLANTED['own']}\n"
        + f'{{"api_key": "{PLANTED["json"]}", "step": 7}}\n'
        + f"join?token={PLANTED['link']}\nthe admin chose {PLANTED['file']}\ncookie appliance_session={cookie} {token}\n"
        + "loss 0.25 at step 12 in /data/some-run-with-a-long-name-2026-11-21/checkpoints/step-000012\n"
    )
    url = f"postgresql://me:{PLANTED['database']}@host/db"
    admin = str(tmp_path / "admin")
    settings = read({"APPLIANCE_DATA": str(data), "APPLIANCE_DATABASE": url, "APPLIANCE_ADMIN_PASSWORD_FILE": admin})
    content = diagnostics.bundle(settings, store, preflight=lambda: {"verdict": "pass"})
    with store.engine.connect() as connection:
        hashed = list(connection.exec_driver_sql("SELECT password_hash FROM users").scalars())
    store.close()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    return files, [*PLANTED.values(), PASSWORD, cookie, token, *hashed]


def test_no_planted_secret_is_in_the_bundle(bundle):
    files, secrets = bundle
    for name, content in files.items():
        for secret in secrets:
            assert secret not in content, f"{secret} in {name}"


def test_no_name_of_a_person_or_a_run_is_in_it(bundle):
    files, _ = bundle
    for word in ("anna", "customer-names"):
        assert not [name for name, content in files.items() if word in content]


def test_what_helps_is_in_it(bundle):
    files, _ = bundle
    assert json.loads(files["preflight.json"]) == {"verdict": "pass"}
    assert json.loads(files["versions.json"])["gradio"]
    assert json.loads(files["store.json"])["rows"]["users"] == 1
    assert json.loads(files["store.json"])["schema"]
    assert json.loads(files["runs.json"])[0]["state"] == "queued"
    assert json.loads(files["settings.json"])["in force"]["database"] == "postgresql://me:(hidden)@host/db"
    assert json.loads(files["disk.json"])["file systems"]["data"]["free_bytes"] > 0
    log = files["logs/1.log"]
    assert "loss 0.25 at step 12 in /data/some-run-with-a-long-name-2026-11-21/checkpoints/step-000012" in log
    assert '"step": 7' in log
    assert len(log) < 70_000


def test_a_part_that_fails_says_so_and_the_rest_is_there(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'appliance.db'}", tmp_path)  # no schema: its counts fail
    content = diagnostics.bundle(read({"APPLIANCE_DATA": str(tmp_path)}), store, preflight=lambda: 1 / 0)
    store.close()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert json.loads(archive.read("preflight.json"))["failed"].startswith("ZeroDivisionError")
        assert "failed" in json.loads(archive.read("store.json"))
        assert json.loads(archive.read("versions.json"))["appliance"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("password=abc next", "password=(hidden) next"),
        ("DB_PASSWORD: 'a b'", "DB_PASSWORD: (hidden)"),
        ("?token=abc&run=3", "?token=(hidden)&run=3"),
        ("postgresql://u:p@h/d", "postgresql://u:(hidden)@h/d"),
        ("Authorization: Basic Zm9vOmJhcg==", "Authorization: (hidden)"),
        ("reward_mean 0.5 kl 1.2", "reward_mean 0.5 kl 1.2"),
        ("length_tokens: 24, tokenizers=0.22", "length_tokens: 24, tokenizers=0.22"),
        ("prompts of 24 tokens", "prompts of 24 tokens"),
        ("see http://127.0.0.1:7860/?run=3", "see http://127.0.0.1:7860/?run=3"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(before, after):
    assert diagnostics.masked(before) == after
