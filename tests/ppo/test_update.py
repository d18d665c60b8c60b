"""The PPO epochs: the gradient is the objective's, whatever the micro-batches, and nothing broken reaches the weights."""

import math
from dataclasses import replace

import pytest
import torch

from appliance.config.base import Optimizer
from appliance.errors import ApplianceError
from appliance.ppo.kl import kl_per_token
from appliance.ppo.update import Interrupted, Progress, _clip, learning_rate_share

FAST = {"learning_rate": 1e-3, "schedule": "constant"}


def same_gradients(found, expected, tolerance=1e-6):
    """The whole gradients differ by less than `tolerance` of their norm."""
    assert found.keys() == expected.keys()
    norm = math.sqrt(sum(float(g.square().sum()) for g in expected.values()))
    gap = math.sqrt(sum(float((found[name] - expected[name]).square().sum()) for name in expected))
    assert norm > 0
    assert gap <= tolerance * norm


def moved(batch, **tables):
    """The batch with these of its rollout's tables changed by a constant."""
    rollout = batch.rollout
    changed = {name: torch.where(batch.mask, getattr(rollout, name) + by, 0.0) for name, by in tables.items()}
    return replace(batch, rollout=replace(rollout, **changed))


def untouched(snapshot, learner, before):
    for found, expected in zip(snapshot(learner), before, strict=True):
        assert torch.equal(found, expected)


# the gradient


@pytest.mark.parametrize("train", ["full", "lora", "top_layers"])
def test_micro_batches_of_one_two_and_three_equal_the_whole(train, make_gpt2_learner, eight, run_update, gradients_of):
    results = []
    for size in (8, 1, 3):
        sections = {"ppo": {"entropy_coef": 0.01}, "kl": {"placement": "loss", "estimator": "k3"}}
        learner = make_gpt2_learner(train, optimizer=FAST | {"max_grad_norm": 1e9}, **sections)
        batch = moved(eight(learner), logprobs=0.1, ref_logprobs=0.2)
        seen = gradients_of(learner)
        results.append((run_update(learner, batch, size=size), seen[0]))
    (whole, gradients), *others = results
    for progress, found in others:
        same_gradients(found, gradients)
        assert progress.state().keys() == whole.state().keys()
        assert progress.sums == pytest.approx(whole.sums, rel=2e-6)
        assert progress.grad_norm == pytest.approx(whole.grad_norm, rel=1e-6)
        assert progress.ratio_max == pytest.approx(whole.ratio_max, rel=1e-6)
        assert (progress.tokens, progress.steps) == (whole.tokens, whole.steps) == (39, 1)


def test_the_order_of_a_minibatch_does_not_matter(make_gpt2_learner, eight, run_update, gradients_of):
    seen = []
    for rows in ([0, 1, 2, 3, 4, 5, 6, 7], [5, 2, 7, 0, 3, 6, 1, 4]):
        learner = make_gpt2_learner(optimizer=FAST)
        watched = gradients_of(learner)
        run_update(learner, eight(learner), torch.tensor([rows]), size=3)
        seen += watched
    same_gradients(seen[1], seen[0])


def test_the_gradient_is_that_of_the_objective_written_out(make_gpt2_learner, eight, run_update, gradients_of):
    sections = {
        "ppo": {"entropy_coef": 0.02, "value_coef": 0.3, "dual_clip": 1.1},
        "kl": {"placement": "loss", "estimator": "k2"},
        "sampling": {"temperature": 0.7},
    }
    learner = make_gpt2_learner(optimizer=FAST | {"max_grad_norm": 1e9}, **sections)
    generator = torch.Generator().manual_seed(9)
    noise = 0.3 * torch.randn(8, 9, generator=generator)
    batch = moved(eight(learner), logprobs=noise, ref_logprobs=-0.5, values=noise.flip(0))
    rollout, mask = batch.rollout, batch.mask
    read = learner.policy.read(rollout.prompts, rollout.responses, temperature=0.7, with_entropy=True)
    new, old, a = read.logprobs[mask], rollout.logprobs[mask], batch.advantages[mask]
    ratio = (new - old).exp()
    surrogate = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)
    surrogate = torch.where(a < 0, torch.max(surrogate, 1.1 * a), surrogate)
    v, v_old, r = read.values[mask], rollout.values[mask], batch.returns[mask]
    near = torch.max(torch.min(v, v_old + 0.2), v_old - 0.2)
    critic = 0.5 * torch.max((v - r) ** 2, (near - r) ** 2)
    drift = 0.5 * (new - rollout.ref_logprobs[mask]) ** 2
    objective = (surrogate - 0.3 * critic - 0.1 * drift + 0.02 * read.entropy[mask]).mean()
    (-objective).backward()
    expected = {name: p.grad.clone() for name, p in learner.parameters.items() if p.grad is not None}
    seen = gradients_of(learner)
    progress = run_update(learner, batch, size=3)
    same_gradients(seen[0], expected, 1e-5)
    assert progress.sums["policy_loss"] / 39 == pytest.approx(-float(surrogate.detach().mean()), rel=1e-5)
    assert progress.sums["value_loss"] / 39 == pytest.approx(float(critic.detach().mean()), rel=1e-5)
    assert progress.sums["kl_loss"] / 39 == pytest.approx(float(drift.detach().mean()), rel=1e-5)
    assert progress.sums["entropy"] / 39 == pytest.approx(float(read.entropy[mask].detach().mean()), rel=1e-5)
    assert progress.sums["clipped"] > 0
    assert progress.sums["value_clipped"] > 0


def test_rows_and_padding_that_are_not_trained_on_do_not_matter(make_gpt2_learner, eight, run_update, gradients_of):
    seen = []
    for garbage in (0.0, 1e3):
        learner = make_gpt2_learner(optimizer=FAST)
        batch = eight(learner)
        mask = batch.mask & (torch.arange(8) != 2)[:, None]
        tables = {
            name: torch.where(mask, getattr(batch, name), garbage) for name in ("advantages", "returns", "rewards")
        }
        watched = gradients_of(learner)
        progress = run_update(learner, replace(batch, mask=mask, **tables), size=3)
        assert progress.tokens == 30  # 39 without the nine of row 2
        seen += watched
    same_gradients(seen[1], seen[0])


def test_a_minibatch_without_trained_tokens_is_passed_over(make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST)
    before, batch = snapshot(learner), eight(learner)
    progress = run_update(learner, replace(batch, mask=torch.zeros_like(batch.mask)))
    assert (progress.minibatch, progress.steps, progress.skipped, progress.tokens) == (1, 0, 0, 0)
    untouched(snapshot, learner, before)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_before_the_first_step_every_ratio_is_one(temperature, make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(optimizer=FAST, sampling={"temperature": temperature})
    progress = run_update(learner, eight(learner))
    assert progress.sums["ratio"] / 39 == pytest.approx(1.0, abs=1e-5)
    assert progress.ratio_max == pytest.approx(1.0, abs=1e-4)
    assert progress.sums["approx_kl"] == pytest.approx(0.0, abs=1e-8)
    assert progress.sums["clipped"] == 0


def test_gradients_are_clipped_to_the_norm_asked_for(make_gpt2_learner, eight, run_update, gradients_of):
    learner = make_gpt2_learner(optimizer=FAST | {"max_grad_norm": 0.05})
    seen = gradients_of(learner)
    progress = run_update(learner, eight(learner))
    assert progress.grad_norm > 0.05  # what is reported is the norm before the clip
    assert math.sqrt(sum(float(g.square().sum()) for g in seen[0].values())) == pytest.approx(0.05, rel=1e-4)


# where it moves


def test_tokens_of_positive_advantage_become_likelier(make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(optimizer=FAST, ppo={"value_coef": 0.0})
    batch = eight(learner)
    run_update(learner, batch)
    rollout = batch.rollout
    with torch.no_grad():
        new = learner.policy.read(rollout.prompts, rollout.responses, temperature=1.0).logprobs
    assert float((batch.advantages * (new - rollout.logprobs))[batch.mask].sum()) > 0


def test_the_critic_learns_the_returns(make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(optimizer=FAST, ppo={"value_coef": 1.0, "value_clip": None})
    batch = eight(learner)
    batch = replace(batch, advantages=torch.zeros_like(batch.advantages))
    errors = [run_update(learner, batch).sums["value_loss"] for _ in range(4)]
    assert errors == sorted(errors, reverse=True)


def test_the_entropy_bonus_raises_the_entropy(make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(optimizer=FAST, ppo={"entropy_coef": 1.0, "value_coef": 0.0})
    batch = eight(learner)
    batch = replace(batch, advantages=torch.zeros_like(batch.advantages))
    entropies = [run_update(learner, batch).sums["entropy"] for _ in range(4)]
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 0.1
    assert entropies[0] == pytest.approx(float(batch.rollout.entropy.sum()), rel=1e-5)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_in_the_loss_moves_towards_the_reference(estimator, make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(
        optimizer=FAST | {"learning_rate": 2e-4},
        ppo={"value_coef": 0.0},
        kl={"placement": "loss", "estimator": estimator},
    )
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            if name.startswith("policy."):
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = eight(learner)
    rollout = batch.rollout
    drift = float(kl_per_token(rollout.logprobs, rollout.ref_logprobs, estimator=estimator)[batch.mask].sum())
    batch = replace(batch, advantages=torch.zeros_like(batch.advantages))
    drifts = [run_update(learner, batch, kl_coef=1.0).sums["kl_loss"] for _ in range(4)]
    assert drifts[0] == pytest.approx(drift, rel=1e-4)
    assert drifts == sorted(drifts, reverse=True)


def test_dual_clip_bounds_the_loss_of_tokens_with_negative_advantage(make_gpt2_learner, eight, run_update):
    losses = {}
    for dual_clip in (None, 3.0):
        learner = make_gpt2_learner(optimizer=FAST, ppo={"dual_clip": dual_clip})
        batch = moved(eight(learner), logprobs=-math.log(5.0))  # every ratio is 5
        batch = replace(batch, advantages=torch.where(batch.mask, -1.0, 0.0))
        losses[dual_clip] = run_update(learner, batch).sums["policy_loss"] / 39
    assert losses[None] == pytest.approx(5.0, rel=1e-4)
    assert losses[3.0] == pytest.approx(3.0, rel=1e-4)


# guards


@pytest.mark.parametrize("field", ["advantages", "returns"])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_touches_nothing(field, broken, make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST)
    batch = eight(learner)
    run_update(learner, batch)  # so that the optimizer has moments to lose
    before = snapshot(learner)
    table = getattr(batch, field).clone()
    table[3, 0] = broken
    progress = run_update(learner, replace(batch, **{field: table}), size=2)
    assert (progress.skipped, progress.steps, progress.minibatch, progress.tokens) == (1, 0, 1, 0)
    assert all(map(math.isfinite, progress.sums.values()))
    untouched(snapshot, learner, before)
    assert all(p.grad is None for p in learner.parameters.values())


def test_a_gradient_that_is_not_finite_touches_nothing(make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST)
    batch, before = eight(learner), snapshot(learner)
    name, parameter = next(iter(learner.parameters.items()))
    handle = parameter.register_hook(lambda gradient: gradient * math.inf)
    progress = run_update(learner, batch)
    assert (progress.skipped, progress.steps) == (1, 0), name
    untouched(snapshot, learner, before)
    handle.remove()
    assert run_update(learner, batch).steps == 1


def test_a_mean_ratio_over_the_limit_skips_the_step(make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST, ppo={"max_ratio": 10.0})
    batch, before = eight(learner), snapshot(learner)
    progress = run_update(learner, moved(batch, logprobs=-3.0))  # e^3 = 20.1
    assert (progress.skipped, progress.steps) == (1, 0)
    untouched(snapshot, learner, before)
    assert run_update(learner, moved(batch, logprobs=-2.0)).steps == 1  # e^2 = 7.4


def test_stop_kl_ends_the_epochs_before_the_step_that_is_too_far(make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST, ppo={"stop_kl": 0.1}, batch={"steps": 1, "rollout": 8, "minibatch": 4})
    batch, before = eight(learner), snapshot(learner)
    plan = torch.arange(8).view(2, 4)
    progress = run_update(learner, moved(batch, logprobs=-0.5), plan)  # .5^2 / 2 = .125 > .1
    assert progress.stopped_early
    assert (progress.steps, progress.skipped, progress.minibatch) == (0, 0, 1)
    assert progress.sums["approx_kl"] / progress.tokens == pytest.approx(0.125, rel=1e-3)
    untouched(snapshot, learner, before)
    progress = run_update(learner, moved(batch, logprobs=-0.4), plan[:1])  # .08
    assert (progress.stopped_early, progress.steps) == (False, 1)


# interruptions and memory


def test_a_stop_between_micro_batches_leaves_the_minibatch_to_be_done_again(
    make_gpt2_learner, eight, run_update, snapshot
):
    sections = {"optimizer": FAST, "batch": {"steps": 1, "rollout": 8, "minibatch": 4}}
    plan = torch.arange(8).view(2, 4)
    learner = make_gpt2_learner(**sections)
    batch, progress, asked = eight(learner), Progress(), []
    first = make_gpt2_learner(**sections)
    run_update(first, batch, plan[:1])

    def stop():
        asked.append(len(asked))
        return len(asked) == 4  # two micro-batches per minibatch: in the middle of the second

    with pytest.raises(Interrupted):
        run_update(learner, batch, plan, size=2, progress=progress, stop=stop)
    assert (progress.minibatch, progress.steps) == (1, 1)
    for found, expected in zip(snapshot(learner), snapshot(first), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert all(p.grad is None for p in learner.parameters.values())
    again = Progress(**progress.state())
    run_update(learner, batch, plan, size=2, progress=again)
    whole = make_gpt2_learner(**sections)
    expected = run_update(whole, batch, plan, size=2)
    assert again == expected
    untouched(snapshot, learner, snapshot(whole))


def test_a_stop_in_the_first_minibatch_leaves_progress_as_it_was(make_gpt2_learner, eight, run_update, snapshot):
    learner = make_gpt2_learner(optimizer=FAST)
    batch, before, progress = eight(learner), snapshot(learner), Progress()
    with pytest.raises(Interrupted):
        run_update(learner, batch, progress=progress, stop=lambda: True)
    assert progress == Progress()
    untouched(snapshot, learner, before)


def starved(monkeypatch, policy, rows_that_fit):
    """policy.read runs out of memory when it is given more rows than that, after having begun."""
    read = policy.read

    def limited(prompts, responses, **options):
        done = read(prompts, responses, **options)
        if len(prompts) > rows_that_fit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB")
        return done

    monkeypatch.setattr(policy, "read", limited)


def test_running_out_of_memory_halves_and_changes_nothing_else(
    monkeypatch, make_gpt2_learner, eight, run_update, gradients_of, chunk
):
    results, heard = [], []
    for rows_that_fit in (8, 3):
        learner = make_gpt2_learner(optimizer=FAST)
        batch, seen = eight(learner), gradients_of(learner)
        starved(monkeypatch, learner.policy, rows_that_fit)
        used = chunk(8, heard.append)
        results.append((run_update(learner, batch, chunk=used), seen[0], used.size))
    (plenty, expected, _), (short, found, size) = results
    assert size == 2  # 8 -> 4 -> 2
    assert heard == [
        "out of memory in the test with 8 sequences at a time: going on with 4",
        "out of memory in the test with 4 sequences at a time: going on with 2",
    ]
    same_gradients(found, expected)
    assert short.sums == pytest.approx(plenty.sums, rel=2e-6, abs=1e-9)
    assert (short.steps, short.tokens) == (1, 39)


def test_running_out_with_one_sequence_is_an_error_that_touches_nothing(
    monkeypatch, make_gpt2_learner, eight, run_update, snapshot
):
    learner = make_gpt2_learner(optimizer=FAST)
    batch, before, progress = eight(learner), snapshot(learner), Progress()
    starved(monkeypatch, learner.policy, 0)
    with pytest.raises(ApplianceError, match="the test with one sequence at a time") as failure:
        run_update(learner, batch, size=2, progress=progress)
    assert "LoRA" in failure.value.fix
    assert (progress.minibatch, progress.steps) == (0, 0)
    untouched(snapshot, learner, before)
    assert all(p.grad is None for p in learner.parameters.values())


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch, make_gpt2_learner, eight, run_update):
    learner = make_gpt2_learner(optimizer=FAST)
    batch = eight(learner)

    def broken(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(learner.policy, "read", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_update(learner, batch)


# the optimizer


@pytest.mark.parametrize(
    ("options", "done", "share"),
    [
        ({"schedule": "constant"}, 99, 1.0),
        ({"schedule": "linear"}, 0, 1.0),
        ({"schedule": "linear"}, 25, 0.75),
        ({"schedule": "linear"}, 99, 0.01),  # the last of 100 still moves a little
        ({"schedule": "linear", "final_share": 0.2}, 50, 0.6),  # .2 + .8 * .5
        ({"schedule": "cosine"}, 50, 0.5),
        ({"schedule": "cosine"}, 25, 0.8535534),  # (1 + cos(pi / 4)) / 2
        ({"schedule": "cosine", "final_share": 0.1}, 50, 0.55),
        ({"warmup_share": 0.1}, 0, 0.1),  # ten warm-up steps: 1/10, 2/10 ... 10/10
        ({"warmup_share": 0.1}, 9, 1.0),
        ({"warmup_share": 0.1}, 10, 1.0),
        ({"warmup_share": 0.1}, 55, 0.5),  # 45 of 90
        ({"warmup_share": 1.0}, 99, 1.0),
        ({"warmup_share": 0.1, "schedule": "constant"}, 4, 0.5),
    ],
)
def test_the_learning_rate_by_hand(options, done, share):
    assert learning_rate_share(Optimizer(**options), done, 100) == pytest.approx(share, abs=1e-6)


def test_the_learning_rate_falls_over_the_optimizer_steps_of_the_whole_run(make_gpt2_learner, eight, run_update):
    # 5 rollouts of 2 minibatches: 10 optimizer steps; step 2's second is number 5: 1 - 5 / 10
    learner = make_gpt2_learner(
        batch={"steps": 5, "rollout": 8, "minibatch": 4}, optimizer={"learning_rate": 2e-4, "schedule": "linear"}
    )
    progress = run_update(learner, eight(learner), torch.arange(8).view(2, 4), step=2)
    assert progress.learning_rate == pytest.approx(1e-4)
    assert progress.steps == 2


def test_the_critic_may_have_a_learning_rate_of_its_own_and_vectors_do_not_decay(make_gpt2_learner):
    learner = make_gpt2_learner(optimizer=FAST | {"weight_decay": 0.1}, critic={"learning_rate": 5e-3})
    names = {id(p): name for name, p in learner.parameters.items()}
    found = {}
    for group in learner.optimizer.param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (group["peak"], group["weight_decay"])
    assert found.keys() == learner.parameters.keys()
    for name, (peak, decay) in found.items():
        assert peak == (5e-3 if name.startswith("critic.") else 1e-3)
        assert decay == (0.1 if learner.parameters[name].ndim >= 2 else 0.0)


@pytest.mark.parametrize("largest", [0.5, 1e3])
def test_a_gradient_is_scaled_down_as_torch_does_it_and_left_alone_where_it_is_short(largest):
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,))]
    mine, theirs = ([torch.nn.Parameter(torch.zeros_like(g)) for g in gradients] for _ in range(2))
    for parameters in (mine, theirs):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
    norm = _clip(mine, largest)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(theirs, largest))
    for parameter, other, gradient in zip(mine, theirs, gradients, strict=True):
        assert torch.equal(parameter.grad, other.grad)
        assert torch.equal(parameter.grad, gradient) == (largest > norm)
