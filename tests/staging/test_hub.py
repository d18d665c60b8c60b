"""Staging from a hub through the real client: what is taken, what is refused, what is resumed, and no token anywhere."""

import hashlib
import json

import pytest

from appliance.errors import ModelError
from appliance.staging import manifest as manifests
from appliance.staging.fetching import stage_bundle, stage_here
from appliance.staging.folders import find
from appliance.staging.hub import Hub
from appliance.staging.names import Asked, parse

SECRET = "hf_secretsecretsecret"  # the one that the hub of these tests takes


def test_a_model_lies_under_its_commit_and_is_found_by_its_hub_id(repositories, model, tmp_path):
    commit = repositories.add("owner/small", model())
    (fetched,) = stage_here([Asked("owner/small")], "model", tmp_path / "models", repositories.hub)
    folder = tmp_path / "models/owner/small" / commit
    assert fetched.folder == folder == find("owner/small") == find("owner/small", "main") == find("owner/small", commit)
    assert find("owner/small", commit[:8]) == folder
    assert (
        find("owner/small", "v2")
        is find("owner/other")
        is find("../small")
        is find("owner/small", kind="dataset")
        is None
    )
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != manifests.NAME} == model()
    said = json.loads((folder / manifests.NAME).read_text())
    assert (said["repo"], said["commit"], said["revisions"], said["licence"]) == (
        "owner/small",
        commit,
        ["main"],
        "mit",
    )
    weights = model()["model.safetensors"]
    assert said["files"]["model.safetensors"] == {"sha256": hashlib.sha256(weights).hexdigest(), "size": len(weights)}
    assert said["total_bytes"] == sum(map(len, model().values()))
    assert [entry.name for entry in (tmp_path / "models/.staging").iterdir()] == ["lock"]


def test_only_what_is_allowed_is_fetched(repositories, model, tmp_path):
    more = {"pytorch_model.bin": b"x", "modeling.py": b"x", "onnx/model.safetensors": b"x", ".gitattributes": b"x"}
    more |= {"consolidated.safetensors": b"x", "a.msgpack": b"x", "LICENSE": b"MIT", "chat_template.jinja": b"x"}
    repositories.add("owner/small", model() | more)
    (fetched,) = stage_here([Asked("owner/small")], "model", tmp_path / "models", repositories.hub)
    assert set(fetched.manifest.files) == set(model()) | {"LICENSE", "chat_template.jinja"}
    assert {name for name, _ in repositories.downloads()} == set(fetched.manifest.files)


def test_revisions_lie_side_by_side_and_none_given_means_main(repositories, model, tmp_path):
    old, new = repositories.add("o/m", model(1), revision="v1"), repositories.add("o/m", model(2))
    pull = repositories.add("o/m", model(3), revision="refs/pr/1")
    models = tmp_path / "models"
    stage_here([parse("o/m"), parse("o/m@v1"), parse("o/m@refs/pr/1")], "model", models, repositories.hub)
    found = {revision: find("o/m", revision).name for revision in (None, "main", "v1", "refs/pr/1")}
    assert found == {None: new, "main": new, "v1": old, "refs/pr/1": pull}


def test_a_commit_keeps_every_name_that_it_was_asked_by(repositories, model, tmp_path):
    commit = repositories.add("o/m", model())
    repositories.add("o/m", model(), revision="v1")
    stage_here([parse("o/m"), parse("o/m@v1")], "model", tmp_path / "models", repositories.hub)
    repositories.add("o/m", model(), revision="v2")
    repositories.asked.clear()
    (again,) = stage_here([parse("o/m@v2")], "model", tmp_path / "models", repositories.hub)
    assert not repositories.downloads(), "it is here and whole"
    assert any("already" in note for note in again.notes)
    assert find("o/m", "v1") == find("o/m", "v2") == tmp_path / "models/o/m" / commit


def test_a_data_set_lies_apart_from_models(repositories, tmp_path):
    rows = {
        "data/train-00000-of-00001.parquet": b"PAR1",
        "data/test.jsonl.gz": b"x",
        "README.md": b"x",
        "load.py": b"x",
    }
    commit = repositories.add("owner/rows", rows, kind="dataset")
    stage_here([Asked("owner/rows")], "dataset", tmp_path / "models", repositories.hub)
    folder = find("owner/rows", kind="dataset")
    assert folder == tmp_path / "models/datasets/owner/rows" / commit
    assert find("owner/rows") is None
    assert not (folder / "load.py").exists()
    assert (folder / "data/test.jsonl.gz").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("files", "kind", "says", "fix"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "model", "only as pickle", "refs/pr/1"),
        ({"train.parquet": b"x"}, "model", "has no weights", "--dataset"),
        ({"model.safetensors": b"x"}, "model", "no config.json", "name"),
        ({"rows.py": b"x", "README.md": b"x"}, "dataset", "script of its own", "refs/convert/parquet"),
        ({"config.json": b"{}", "model.safetensors": b"x"}, "model", "", ""),
        ({"model.safetensors": b"x"}, "dataset", "no files of rows", "leave --dataset out"),
        (
            {
                "config.json": b'{"model_type": "mine", "auto_map": {"AutoModel": "modeling.M"}}',
                "modeling.py": b"x",
                "model.safetensors": b"x",
            },
            "model",
            "code of its own",
            "architecture",
        ),
    ],
)
def test_what_could_run_code_or_cannot_be_used_is_refused(repositories, tmp_path, files, kind, says, fix):
    repositories.add("o/m", files, kind=kind)
    if not says:  # the one that is fine: the others are refused for what they say
        stage_here([Asked("o/m")], kind, tmp_path / "models", repositories.hub)
        return
    with pytest.raises(ModelError, match=says) as caught:
        stage_here([Asked("o/m")], kind, tmp_path / "models", repositories.hub)
    assert fix in caught.value.fix
    assert find("o/m", kind=kind) is None


def test_code_beside_an_architecture_that_transformers_has_is_left_out(repositories, model, tmp_path):
    config = b'{"model_type": "gpt2", "auto_map": {"AutoModel": "modeling.M"}}'
    repositories.add("o/m", model(config__json=config, modeling__py=b"x"))
    (fetched,) = stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert "modeling.py" not in fetched.manifest.files


def test_an_adapter_names_the_base_that_it_needs(repositories, tmp_path):
    adapter = {"adapter_config.json": b'{"base_model_name_or_path": "o/base"}', "adapter_model.safetensors": b"x"}
    repositories.add("o/adapter", adapter)
    (fetched,) = stage_here([Asked("o/adapter")], "model", tmp_path / "models", repositories.hub)
    assert fetched.notes == ["it is an adapter: its base o/base must be staged too"]


def test_a_file_that_was_left_half_goes_on_from_there(repositories, model, tmp_path):
    commit = repositories.add("o/m", model(*range(200)))
    left = tmp_path / f"models/.staging/downloads/model--o--m--{commit}"
    left.mkdir(parents=True)
    (left / "model.safetensors.part").write_bytes(model(*range(200))["model.safetensors"][:100])
    stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert ("model.safetensors", "bytes=100-") in repositories.downloads()
    assert (find("o/m") / "model.safetensors").read_bytes() == model(*range(200))["model.safetensors"]


def test_a_connection_that_breaks_is_taken_up_again(repositories, model, tmp_path):
    repositories.add("o/m", model(*range(200)))
    repositories.cut = 2
    stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert not manifests.damage(find("o/m"), manifests.read(find("o/m")))


def test_a_connection_that_stays_broken_is_said_and_nothing_is_visible(repositories, model, tmp_path):
    repositories.add("o/m", model(*range(200)))
    repositories.cut = 99
    with pytest.raises(ModelError, match="connection to the hub failed") as caught:
        stage_bundle([Asked("o/m")], "model", tmp_path / "b.tar", repositories.hub)
    assert "what came is kept" in caught.value.fix
    assert not (tmp_path / "b.tar").exists()
    repositories.cut = 0
    stage_bundle([Asked("o/m")], "model", tmp_path / "b.tar", repositories.hub)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b.tar"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_content_that_is_not_the_hubs_is_refused(repositories, model, tmp_path, name):
    repositories.add("o/m", model())
    repositories.swap[name] = model()[name][:-1] + b"!"
    with pytest.raises(ModelError, match="another content than the hub lists"):
        stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert find("o/m") is None
    repositories.swap.clear()
    stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)


def test_what_the_hub_does_not_have_is_told_apart(repositories, model, tmp_path):
    repositories.add("o/m", model())
    for text, says in {"o/none": "no o/none", "o/m@v9": "no revision v9"}.items():
        with pytest.raises(ModelError, match=says):
            stage_here([parse(text)], "model", tmp_path / "models", repositories.hub)


def test_a_gated_model_needs_a_token_which_is_written_nowhere(repositories, model, tmp_path):
    repositories.add("o/m", model())
    repositories.private.add("o/m")
    with pytest.raises(ModelError, match="gated") as caught:
        stage_here([Asked("o/m")], "model", tmp_path / "models", Hub(repositories.hub.endpoint, "hf_wrong"))
    assert "hf_wrong" not in str(caught.value)
    stage_here([Asked("o/m")], "model", tmp_path / "models", Hub(repositories.hub.endpoint, SECRET))
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    assert not [file for file in written if SECRET.encode() in file.read_bytes()]


def test_offline_never_asks(repositories, model, tmp_path, monkeypatch):
    repositories.add("o/m", model())
    monkeypatch.setenv("APPLIANCE_OFFLINE", "1")
    with pytest.raises(ModelError, match="APPLIANCE_OFFLINE is 1"):
        stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert not repositories.asked


def test_too_little_room_is_said_before_anything_is_fetched(repositories, model, tmp_path, monkeypatch):
    repositories.add("o/m", model())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ModelError, match="1 kB are free"):
        stage_here([Asked("o/m")], "model", tmp_path / "models", repositories.hub)
    assert not repositories.downloads()


@pytest.mark.parametrize(
    "text", ["", "a/b/c", "../x", "o/m@", "o/m@../x", "datasets/x", "o/..", "/o/m", "o\\m", "o/m@a b"]
)
def test_names_that_are_none_are_refused(text):
    with pytest.raises(ModelError, match="no name of a repository"):
        parse(text)


def test_a_model_that_was_copied_by_hand_is_found_too(tmp_path):
    folder = tmp_path / "o/m"
    folder.mkdir(parents=True)
    assert find("o/m", models=tmp_path) is None
    (folder / "config.json").write_text("{}")
    assert find("o/m", models=tmp_path) == folder
    assert find("o/m", "v1", models=tmp_path) is None, "nobody knows its revision"
