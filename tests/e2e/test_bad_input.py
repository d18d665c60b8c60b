"""What a user can get wrong: exit code 1, one message with its fix, no traceback, and nothing lost or half written."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification

from appliance.ppo import checkpoint
from appliance.store import files

Refused = Callable[..., str]


@pytest.fixture
def refused(command: Callable[..., Any], write_config: Callable[..., str], tmp_path: Path) -> Refused:
    """refused(values, "--set", ...): the message of a PPO run that must not begin; nothing of it may be left to use."""

    def run(values: dict[str, Any], *argv: str) -> str:
        folder = tmp_path / "run"
        ended = command("train", "ppo", "--config", write_config(values), "--run-dir", str(folder), *argv)
        assert ended.code == 1
        assert ended.err.count("error: ") == ended.err.count("\n  fix: ") == 1
        assert "Traceback" not in ended.err
        assert ended.out == ""
        for name in ("model", "report", "checkpoints", "metrics.jsonl"):
            assert not (folder / name).exists()
        if folder.exists():
            status = json.loads((folder / "status.json").read_text())
            assert status["state"] == "failed"
            assert status["message"] in ended.err
        return ended.err

    return run


@pytest.fixture
def model_copy(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model folder that may be spoiled."""
    return Path(shutil.copytree(folder_of("gpt2"), tmp_path / "model-copy"))


def test_an_unknown_key_is_answered_with_the_nearest(refused, tiny_values):
    values = tiny_values()
    values["kl"]["coeff"] = 0.1
    assert "kl.coeff is an unknown key; did you mean kl.coef?" in refused(values)


def test_an_unknown_key_of_set_is_answered_with_the_nearest(refused, tiny_values):
    message = refused(tiny_values(), "--set", "batch.rolout=8")
    assert "batch.rolout is an unknown key; did you mean batch.rollout?" in message


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"rollout": 8, "minibatch": 3}, "minibatch 3 does not divide rollout 8. Use 2 or 4"),
        ({"minibatch": 4, "microbatch": 3}, "microbatch 3 does not divide minibatch 4. Use 2 or 4"),
    ],
)
def test_batch_sizes_that_do_not_divide_are_answered_with_some_that_do(sizes, message, refused, tiny_values):
    assert message in refused(tiny_values(batch=sizes))


def test_a_model_folder_without_weights(refused, tiny_values, model_copy):
    (model_copy / "model.safetensors").unlink()
    message = refused(tiny_values(policy={"model": str(model_copy)}))
    assert str(model_copy) in message
    assert "safetensors" in message


def test_a_model_folder_with_pickled_weights_only(refused, tiny_values, model_copy):
    (model_copy / "model.safetensors").rename(model_copy / "pytorch_model.bin")
    message = refused(tiny_values(policy={"model": str(model_copy)}))
    assert "pytorch_model.bin" in message
    assert "safetensors" in message


def test_a_model_folder_without_tokenizer(refused, tiny_values, model_copy):
    for file in model_copy.glob("*token*"):
        file.unlink()
    assert f"{model_copy} holds no tokenizer" in refused(tiny_values(policy={"model": str(model_copy)}))


def test_a_model_folder_that_is_not_there(refused, tiny_values, tmp_path):
    message = refused(tiny_values(policy={"model": str(tmp_path / "none")}))
    assert f"there is no model folder {tmp_path / 'none'}" in message


def test_a_reward_label_that_does_not_exist(refused, tiny_values, model_copy):
    config = AutoConfig.from_pretrained(model_copy, id2label={0: "NEGATIVE", 1: "POSITIVE"})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(model_copy)
    message = refused(tiny_values(reward={"source": "classifier", "model": str(model_copy), "label": "GOOD"}))
    assert "has no label 'GOOD'; its labels are 0: NEGATIVE, 1: POSITIVE" in message


def test_an_unknown_reward_source_is_answered_with_the_choices(refused, tiny_values):
    message = refused(tiny_values(reward={"source": "keywords", "positive": ["w1"]}))
    assert "did you mean 'keyword'?" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n  \n\n", "no prompt is left; "),
        (b"w1 w2\nw3 \x81\n", "line 2: byte 4 is 0x81, which is not UTF-8"),
        ((" ".join(["w1"] * 60) + "\nw2\n").encode(), "the longest with 60 tokens"),  # 60 and 6 are over 64
        (b"w1\nw2\nw3\n", "3 distinct prompts, but 12 are held out"),
    ],
)
def test_a_prompts_file_that_cannot_be_used(content, message, refused, tiny_values, tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes(content)
    assert message in refused(tiny_values(prompts={"source": str(file)}))


def test_a_prompts_file_that_is_not_there(refused, tiny_values, tmp_path):
    assert "there is no file or folder" in refused(tiny_values(prompts={"source": str(tmp_path / "none.txt")}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_asked_for_and_not_there_is_no_silent_cpu_run(refused, tiny_values):
    message = refused(tiny_values(device="cuda"))
    assert "device: cpu" in message
    assert "cuda" in message


# --- the run folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder; the lock is not one of them."""
    found = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


@pytest.fixture
def short_run(command: Callable[..., Any], write_config: Callable[..., str], tiny_values: Any, tmp_path: Path) -> Path:
    """A finished run of one step."""
    folder = tmp_path / "run"
    config = write_config(tiny_values(batch={"steps": 1}))
    assert command("train", "ppo", "--config", config, "--run-dir", str(folder)).code == 0
    return folder


def test_a_run_folder_that_exists_is_left_as_it_is(short_run, command, write_config, tiny_values):
    before = contents(short_run)
    ended = command("train", "ppo", "--config", write_config(tiny_values()), "--run-dir", str(short_run))
    assert ended.code == 1
    assert f"error: {short_run} holds a run\n  fix: continue it with --resume, or choose another --run-dir" in ended.err
    assert contents(short_run) == before


def test_a_folder_with_other_files_is_left_as_it_is(command, write_config, tiny_values, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    for more in ([], ["--resume"]):
        ended = command(
            "train", "ppo", "--config", write_config(tiny_values()), "--run-dir", str(tmp_path / "mine"), *more
        )
        assert ended.code == 1
        assert "exists and is not empty" in ended.err
    assert list(contents(tmp_path / "mine")) == ["letter.txt"]


def test_a_run_that_belongs_to_another_config_is_left_as_it_is(short_run, command, write_config, tiny_values):
    before = contents(short_run)
    config = write_config(tiny_values(batch={"steps": 1}, kl={"coef": 0.3}))
    ended = command("train", "ppo", "--config", config, "--run-dir", str(short_run), "--resume")
    assert ended.code == 1
    assert f"{short_run} belongs to another config: kl.coef was 0.05, is 0.3" in ended.err
    assert "Traceback" not in ended.err
    assert contents(short_run) == before


def test_a_run_folder_that_is_not_writable(command, write_config, tiny_values, tmp_path, monkeypatch):
    config, plain = write_config(tiny_values()), Path.mkdir

    def refuse(self: Path, *args: Any, **options: Any) -> None:
        if self == tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        plain(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    ended = command("train", "ppo", "--config", config, "--run-dir", str(tmp_path / "closed"))
    assert ended.code == 1
    assert f"error: {tmp_path / 'closed'} is not writable: " in ended.err
    assert "fix: choose a folder that you may write to" in ended.err
    assert "Traceback" not in ended.err


def test_a_run_folder_in_which_another_process_trains(short_run, command):
    """The other one is held inside this test: flock belongs to the open file, so a second open is refused."""
    before = contents(short_run)
    with (short_run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = command("train", "ppo", "--run-dir", str(short_run), "--resume")
    assert ended.code == 1
    assert f"error: another process trains in {short_run}" in ended.err
    assert contents(short_run) == before


# --- a full disk


def full_at(call: int, plain: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`plain`, until its `call`-th call fails."""
    calls = 0

    def write(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return plain(*args, **options)

    return write


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
NO_SPACE_FOR_TENSORS = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("owner", "name", "call", "error"),
    [
        (checkpoint, "save_file", 8, NO_SPACE_FOR_TENSORS),  # the second of the third checkpoint's three
        (files, "_sync", 14, NO_SPACE),  # the second of the third checkpoint's six
    ],
)
def test_a_disk_that_is_full_while_checkpointing_costs_nothing(
    owner, name, call, error, command, write_config, tiny_values, tmp_path, monkeypatch
):
    config, whole, folder = write_config(tiny_values()), tmp_path / "whole", tmp_path / "run"
    assert command("train", "ppo", "--config", config, "--run-dir", str(whole)).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full_at(call, getattr(owner, name), error))
        ended = command("train", "ppo", "--config", config, "--run-dir", str(folder))
    assert ended.code == 1
    assert "error: the disk is full: " in ended.err
    assert "GiB free\n  fix: free some room, then go on with --resume" in ended.err
    assert "Traceback" not in ended.err
    assert sorted(place.name for place in (folder / "checkpoints").iterdir()) == ["step-000001", "step-000002"]
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"

    assert command("train", "ppo", "--run-dir", str(folder), "--resume").code == 0
    for file in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()
