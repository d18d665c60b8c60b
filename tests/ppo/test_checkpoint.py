"""A checkpoint brings back every bit; a damaged one is found out, and a crash while writing leaves the one before."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from appliance.errors import ApplianceError
from appliance.ppo import checkpoint
from appliance.ppo.checkpoint import Interlude, damage, folder_of, found, prune, read, verify, write
from appliance.ppo.feed import Dice
from appliance.ppo.update import Learner, make_learner


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def make(folder_of: Callable[[str], Path], make_policy, ppo_config) -> Callable[..., Learner]:
    """make("lora", steps=2): a learner of the tiny GPT-2 after that many optimizer steps on fixed gradients."""

    def made(train: str = "lora", *, steps: int = 0, model: str = "gpt2") -> Learner:
        folder = folder_of(model)
        learner = make_learner(make_policy(folder, train, top_layers=1), ppo_config(folder))
        for step in range(steps):
            advance(learner, step)
        return learner

    return made


def advance(learner: Learner, seed: int) -> None:
    """One optimizer step; the gradient depends on `seed` alone."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in learner.parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    learner.optimizer.step()


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.parameters.items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def save(folder: Path, learner: Learner, step: int, **more: object) -> Path:
    place = checkpoint.folder_of(folder, step)
    write(place, learner, checkpoint.random_states(Dice(1)), {"step": step} | more, None)
    return place


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
def test_weights_and_optimizer_come_back_to_the_bit_and_go_on_the_same(make, tmp_path, train):
    first = make(train, steps=2)
    place = save(tmp_path, first, 2, note="ü", number=0.1 + 0.2)
    second = make(train)
    assert not same(weights(first), weights(second))
    state, interlude = read(place, second, Dice(1))
    assert (state, interlude) == ({"step": 2, "note": "ü", "number": 0.1 + 0.2}, None)
    assert same(weights(first), weights(second))
    for name, parameter in first.parameters.items():
        assert same(first.optimizer.state[parameter], second.optimizer.state[second.parameters[name]])
    advance(first, 7)
    advance(second, 7)
    assert same(weights(first), weights(second))


def test_only_what_is_trained_is_kept(make, tmp_path):
    learner = make("lora", steps=1)
    kept = load_file(save(tmp_path, learner, 1) / "weights.safetensors")
    assert kept.keys() == learner.parameters.keys()


def test_a_learner_that_took_no_step_yet_comes_back_without_moments(make, tmp_path):
    place = save(tmp_path, make(), 0)
    learner = make(steps=1)
    read(place, learner, Dice(1))
    assert not learner.optimizer.state
    assert same(weights(learner), weights(make()))


def draws(dice: Dice) -> list[object]:
    """The next numbers of every stream: the run's two, torch's, Python's and NumPy's."""
    made = [torch.rand(3, generator=dice.sampling), torch.rand(3, generator=dice.minibatches), torch.rand(3)]
    return [*(t.tolist() for t in made), random.random(), random.gauss(0, 1), np.random.rand(3).tolist()]


def test_every_random_stream_goes_on_where_it_was(make, tmp_path):
    learner, dice = make(), Dice(5)
    dice.plan(8, 4, 1)
    random.gauss(0, 1)  # leaves one number over, which is part of the state
    place = tmp_path / "step-000001"
    write(place, learner, checkpoint.random_states(dice), {}, None)
    expected = draws(dice)
    other = Dice(6)
    assert draws(other) != expected
    read(place, learner, other)
    assert draws(other) == expected


@pytest.mark.parametrize("train", ["lora", "top_layers"])
def test_a_step_under_way_comes_back_with_its_batch(make, tmp_path, sequences, make_batch, train):
    learner = make(train)
    batch = make_batch(learner.policy, *sequences([5, 2, 3], [4, 6, 1]))
    assert (batch.rollout.trunk is not None) == (train == "top_layers")
    plan = torch.tensor([[2, 0, 1]])
    raw, shaped = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3])
    trained = torch.tensor([True, False, True])
    interlude = Interlude(batch, plan, raw, shaped, trained)
    place = checkpoint.folder_of(tmp_path, 4, 3)
    write(place, learner, checkpoint.random_states(Dice(1)), {"step": 4}, interlude)
    state, back = read(place, make(train), Dice(1))
    assert state == {"step": 4}
    for name in ("plan", "raw", "shaped", "trained"):
        assert torch.equal(getattr(back, name), getattr(interlude, name))
        assert getattr(back, name).dtype == getattr(interlude, name).dtype
    for name in ("scores", "rewards", "advantages", "returns", "mask"):
        assert torch.equal(getattr(back.batch, name), getattr(batch, name))
    ours, theirs = batch.rollout, back.batch.rollout
    for name in ("logprobs", "ref_logprobs", "values", "entropy"):
        assert torch.equal(getattr(theirs, name), getattr(ours, name))
    assert (theirs.prompts.texts, theirs.responses.texts) == (ours.prompts.texts, ours.responses.texts)
    for name in ("ids", "lengths", "ended", "engine_logprobs"):
        assert torch.equal(getattr(theirs.responses, name), getattr(ours.responses, name))
    assert torch.equal(theirs.prompts.ids, ours.prompts.ids)
    if ours.trunk is not None:
        assert all(map(torch.equal, theirs.trunk, ours.trunk))
        assert len(theirs.trunk) == len(ours.trunk)


# --- damage

FILES = ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_changed_file_is_named(make, tmp_path, name):
    learner = make(steps=1)
    place = save(tmp_path, learner, 1)
    assert damage(place) is None
    whole = (place / name).read_bytes()
    for broken in (whole[:-1], whole + b" ", bytes([whole[0] ^ 1]) + whole[1:], b""):
        (place / name).write_bytes(broken)
        assert damage(place) == f"{place / name} is damaged"
    (place / name).unlink()
    assert damage(place) == f"{place / name} is missing"
    before = weights(learner)
    with pytest.raises(ApplianceError) as caught:
        read(place, learner, Dice(1))
    assert caught.value.what == f"{place / name} is missing"
    assert caught.value.fix == f"remove {place}; --resume takes the one before it"
    assert same(weights(learner), before)  # nothing was loaded
    (place / name).write_bytes(whole)
    verify(place)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state.json": "0"}', b"\xff"])
def test_a_damaged_manifest_is_named(make, tmp_path, text):
    place = save(tmp_path, make(), 1)
    (place / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert damage(place) == f"{place / 'manifest.json'} is damaged"
    (place / "manifest.json").unlink()
    assert damage(place) == f"{place / 'manifest.json'} is missing"


@pytest.mark.parametrize(("train", "model"), [("full", "gpt2"), ("lora", "llama")])
def test_a_checkpoint_of_another_model_is_refused(make, tmp_path, train, model):
    place = save(tmp_path, make(), 1)
    learner = make(train, model=model)
    before = weights(learner)
    with pytest.raises(ApplianceError) as caught:
        read(place, learner, Dice(1))
    assert caught.value.what.startswith(f"{place} holds other weights than the model has, first policy.")
    assert same(weights(learner), before)


# --- which are there, and which stay


def test_checkpoints_are_found_oldest_first_and_leftovers_are_not(tmp_path):
    assert found(tmp_path / "absent") == []
    for name in ("step-000010", "step-000002", "step-000010+3", "step-1000000", ".step-000011.tmp", ".step-000003.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    assert [(c.step, c.minibatch) for c in found(tmp_path)] == [(2, 0), (10, 0), (10, 3), (1000000, 0)]
    for one in found(tmp_path):
        assert folder_of(tmp_path, one.step, one.minibatch) == one.folder


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (1, None, ["step-000006+2"]),
        (2, 2, ["step-000002", "step-000006", "step-000006+2"]),
        (2, 6, ["step-000006", "step-000006+2"]),
        (1, 4, ["step-000004", "step-000006+2"]),
        (9, None, ["step-000002", "step-000004", "step-000004+1", "step-000006", "step-000006+2"]),
    ],
)
def test_the_newest_and_the_best_stay(tmp_path, keep, best, left):
    for step, minibatch in ((2, 0), (4, 0), (4, 1), (6, 0), (6, 2)):
        folder_of(tmp_path, step, minibatch).mkdir()
    prune(tmp_path, keep=keep, best=best)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == left


# --- crashes and full disks

POINTS = [(checkpoint, "save_file"), (Path, "write_text"), (os, "fsync"), (Path, "rename"), (Path, "mkdir")]


@pytest.mark.parametrize(("owner", "name"), POINTS)
@pytest.mark.parametrize("overwrites", [False, True])
def test_a_crash_while_writing_leaves_the_checkpoint_before_it_usable(
    make, tmp_path, monkeypatch, owner, name, overwrites
):
    """Each call in turn ends the process, until one write gets through; `overwrites`: the same step is written again."""
    real = getattr(owner, name)
    learner, reader = make(steps=1), make()
    crashes = 0
    for nth in range(1, 20):
        folder, calls = tmp_path / str(nth), [0]
        folder.mkdir()
        before = weights(learner)
        save(folder, learner, 1)
        advance(learner, nth)

        def broken(*args: object, last: int = nth, calls: list[int] = calls, **more: object) -> object:
            calls[0] += 1
            if calls[0] == last:
                raise Crash
            return real(*args, **more)

        monkeypatch.setattr(owner, name, broken)
        try:
            save(folder, learner, 1 if overwrites else 2)
            crashed = False
        except Crash:
            crashed = True
        monkeypatch.undo()
        newest = found(folder)[-1].folder
        assert damage(newest) is None
        read(newest, reader, Dice(1))
        after_it = same(weights(reader), weights(learner))
        assert after_it or same(weights(reader), before)
        if not crashed:
            assert after_it
            break
        crashes += 1
    assert crashes == nth - 1 > 0


def test_a_full_disk_is_explained_and_leaves_the_older_checkpoint(make, tmp_path, monkeypatch):
    learner = make(steps=1)
    save(tmp_path, learner, 1)
    for error in (OSError(28, "No space left on device"), RuntimeError("I/O error: No space left (os error 28)")):

        def full(*_: object, failure: Exception = error, **__: object) -> None:
            raise failure

        monkeypatch.setattr(checkpoint, "save_file", full)
        with pytest.raises(ApplianceError, match=r"the disk is full: .*step-000002 could not be written, .* GiB free"):
            save(tmp_path, learner, 2)
        monkeypatch.undo()
    assert [c.step for c in found(tmp_path)] == [1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000001"]
    assert damage(found(tmp_path)[0].folder) is None


def test_pruning_removes_what_a_killed_write_left(make, tmp_path):
    learner = make()
    save(tmp_path, learner, 1)
    (tmp_path / ".step-000002.tmp").mkdir()
    (tmp_path / ".step-000002.tmp" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / "mine.tmp").mkdir()
    prune(tmp_path, keep=3, best=None)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["mine.tmp", "step-000001"]
