"""`appliance models` as an admin types it: what it says, its exit codes, and no secret in it."""

import json
import shutil
from pathlib import Path

import pytest

from appliance.staging.folders import find

SECRET = "hf_secretsecretsecret"  # the one that the hub of these tests takes


def test_from_the_hub_through_a_bundle_to_another_machine_and_away(
    repositories, model, appliance, tmp_path, monkeypatch
):
    commit = repositories.add("owner/small", model())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mine.yaml").write_text("policy:\n  model: owner/small   # the policy\n")
    (tmp_path / "configs/other.yaml").write_text("policy:\n  model: owner/small-2\n")
    assert "nothing is staged" in appliance("models", "list").out
    staged = appliance("models", "stage", "owner/small", "--out", "b.tar")
    assert (staged.code, find("owner/small")) == (0, None)
    assert f"owner/small@{commit} (model, " in staged.out
    assert "licence: mit" in staged.out
    command = staged.out.strip().splitlines()[-1].split("then: appliance ")[1].split()
    imported = appliance(*command)
    assert imported.code == 0
    assert f"imported: owner/small@{commit[:12]}" in imported.out
    listed = appliance("models", "list").out.splitlines()[1].split()
    assert listed[:4] == ["owner/small", commit[:12], "(main)", "model"]
    assert (listed[6], listed[-1]) == ("mit", "mine")
    assert appliance("models", "verify").out == f"owner/small@{commit[:12]}: whole\n"
    (line,) = appliance("models", "list", "--json").out.splitlines()
    assert json.loads(line)["commit"] == commit
    removed = appliance("models", "remove", f"owner/small@{commit[:9]}", "--yes")
    assert removed.out.endswith("deleted\n")
    assert sorted(path.name for path in (tmp_path / "models").rglob("*")) == [".staging", "lock"]
    assert "is not staged" in appliance("models", "remove", "owner/small", "--yes").err


def test_damage_is_found_and_said_file_by_file(repositories, model, appliance):
    repositories.add("o/m", model())
    appliance("models", "stage", "o/m")
    folder = find("o/m")
    (folder / "model.safetensors").write_bytes(b"\0" + model()["model.safetensors"][1:])
    (folder / "tokenizer.json").unlink()
    (folder / "more.json").write_text("{}")
    found = appliance("models", "verify", "o/m")
    assert found.code == 1
    for line in (
        "model.safetensors: its SHA-256 is another",
        "tokenizer.json: missing",
        "more.json: not in the manifest",
    ):
        assert f"  {line}\n" in found.out
    assert "1 of 1" in found.err
    (folder / ".manifest.json").write_text("{")
    assert "damaged" in appliance("models", "list").out
    assert "its manifest is missing or cannot be read" in appliance("models", "verify").out
    assert find("o/m") is None
    assert appliance("models", "stage", "o/m").code == 0
    assert appliance("models", "verify").code == 0


def test_removing_asks_first(repositories, model, appliance, monkeypatch):
    repositories.add("o/m", model())
    appliance("models", "stage", "o/m")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "n")
    assert appliance("models", "remove", "o/m").code == 130
    assert find("o/m")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "y")
    assert appliance("models", "remove", "o/m").code == 0
    assert find("o/m") is None


def test_a_read_only_models_folder_can_be_listed_and_verified(repositories, model, appliance, monkeypatch):
    repositories.add("o/m", model())
    appliance("models", "stage", "o/m")

    def read_only(*args: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "rename", "replace", "chmod", "unlink", "write_text"):
        monkeypatch.setattr(Path, name, read_only)
    assert "o/m" in appliance("models", "list").out
    assert appliance("models", "verify").code == 0
    removed = appliance("models", "remove", "o/m", "--yes")
    assert "Read-only file system" in removed.err
    assert find("o/m")


@pytest.mark.parametrize("way", ["--token-file", "HF_TOKEN", "HF_TOKEN_PATH"])
def test_a_token_is_used_and_never_said(repositories, model, appliance, tmp_path, monkeypatch, way):
    repositories.add("o/m", model())
    repositories.private.add("o/m")
    assert "give a token" in appliance("models", "stage", "o/m").err
    (tmp_path / "token").write_text(f"{SECRET}\n")
    options = ["--token-file", tmp_path / "token"] if way == "--token-file" else []
    if way == "HF_TOKEN":
        monkeypatch.setenv(way, SECRET)
    elif way == "HF_TOKEN_PATH":  # read when the client is imported
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    done = appliance("models", "stage", "o/m", "--out", tmp_path / "b.tar", *options)
    assert done.code == 0, done.err
    assert SECRET not in done.out + done.err
    assert SECRET.encode() not in (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("content", ["", "two words", "ключ"])
def test_a_token_file_without_a_token_is_said(appliance, tmp_path, content):
    (tmp_path / "token").write_text(content)
    said = appliance("models", "stage", "o/m", "--token-file", tmp_path / "token")
    assert "holds no token" in said.err
    assert not content or content not in said.err


def test_an_existing_bundle_is_not_overwritten(repositories, model, appliance, tmp_path):
    repositories.add("o/m", model())
    (tmp_path / "b.tar").write_text("mine")
    assert "is there already" in appliance("models", "stage", "o/m", "--out", tmp_path / "b.tar").err
    assert (tmp_path / "b.tar").read_text() == "mine"


def test_recipes_find_what_is_staged_by_hub_id_without_a_hub(repositories, folder_of, appliance, tmp_path, monkeypatch):
    files = {file.name: file.read_bytes() for file in folder_of("gpt2").iterdir()}
    commit = repositories.add("owner/tiny", files)
    rows = "".join(json.dumps({"text": f"w{i} w{i + 1} w3"}) + "\n" for i in range(20)).encode()
    repositories.add("owner/rows", {"data/train.jsonl": rows, "other/test.jsonl": rows}, kind="dataset")
    assert appliance("models", "stage", "owner/tiny", "--out", tmp_path / "m.tar").code == 0
    assert appliance("models", "stage", "owner/rows", "--dataset", "--out", tmp_path / "d.tar").code == 0
    monkeypatch.setenv("APPLIANCE_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("m.tar", "d.tar"):
        assert appliance("models", "import", tmp_path / name).code == 0
    repositories.asked.clear()
    recipe = tmp_path / "ppo.yaml"
    recipe.write_text(
        "stage: ppo\ndevice: cpu\npolicy: {model: owner/tiny}\nreward: {source: length, per_word: 1.0}\n"
        "prompts: {source: owner/rows, column: text, length_tokens: [2, 3]}\nsampling: {response_tokens: [2, 3]}\n"
        "batch: {steps: 1, rollout: 4, minibatch: 4, microbatch: 4}\n"
        "evaluation: {every_steps: 1, prompts: 4, report_prompts: 4, report_samples: 1}\n"
    )
    planned = appliance("plan", "--config", recipe)
    assert "measured on disk" in planned.out
    checked = appliance("preflight", "--config", recipe, "--only", "weights.staged")
    assert (checked.code, "1 staged and whole" in checked.out) == (0, True)
    trained = appliance("train", "ppo", "--config", recipe, "--run-dir", tmp_path / "run")
    assert trained.code == 0, trained.err
    assert (tmp_path / "run/model/config.json").exists()
    pinned = appliance("plan", "--config", recipe, "--set", f"policy.revision={commit}")
    assert "measured on disk" in pinned.out
    other = appliance("plan", "--config", recipe, "--set", "policy.revision=v9")
    assert "stage the model" in other.out
    shutil.rmtree(tmp_path / "models")
    missing = appliance("train", "ppo", "--config", recipe, "--run-dir", tmp_path / "run2")
    assert missing.code == 1
    assert "appliance models" in missing.err
    assert not repositories.asked


def test_the_page_offers_staged_models_by_name_and_commit_and_no_data_set(repositories, model, appliance, monkeypatch):
    from appliance import settings
    from appliance.ui import catalogue

    commit = repositories.add("owner/small", model())
    repositories.add("rows", {"config.json": b"{}", "train.csv": b"a\n1\n"}, kind="dataset")
    appliance("models", "stage", "owner/small")
    appliance("models", "stage", "rows", "--dataset")
    monkeypatch.setattr("appliance.store.runs.list_runs", lambda store, states: [])
    (card,) = catalogue.catalogue(settings.read(), store=None)
    assert (card.name, card.licence, card.problem) == (f"owner/small@{commit[:8]}", "mit", None)
    assert card.model == str(find("owner/small"))
