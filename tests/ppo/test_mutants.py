"""The tests of the PPO maths notice wrong signs, masks and places: each mutant below must turn the named test red.

A mutant is one replacement in a module's source. The changed source is compiled and its code put into the functions that
are already loaded, so every caller runs it; then the named test is run by a pytest inside this one.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mutant:
    """`old`, which stands in appliance/ppo/<module>.py exactly once, becomes `new`; `test` is file::function."""

    name: str
    module: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "advantages with the sign of the critic flipped",
        "advantages",
        "following = rewards[:, t] + gamma * next_value - values[:, t]",
        "following = rewards[:, t] + gamma * next_value + values[:, t]",
        "test_golden.py::test_advantages_and_returns",
    ),
    Mutant(
        "advantages with the sign of the next value flipped",
        "advantages",
        "rewards[:, t] + gamma * next_value -",
        "rewards[:, t] - gamma * next_value -",
        "test_advantages.py::test_gae_without_lambda_is_the_one_step_error",
    ),
    Mutant(
        "values off by one",
        "advantages",
        "next_value = values[:, t + 1] if t + 1 < values.shape[1]",
        "next_value = values[:, t] if t + 1 < values.shape[1]",
        "test_advantages.py::test_gae_without_lambda_is_the_one_step_error",
    ),
    Mutant(
        "bootstrapping past the end of a padded row",
        "advantages",
        "torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)",
        "torch.where(mask, rewards, 0.0), values",
        "test_advantages.py::test_nothing_is_bootstrapped_past_the_last_kept_token",
    ),
    Mutant(
        "bootstrapping past the last column",
        "advantages",
        "else torch.zeros_like(following)",
        "else values[:, t]",
        "test_advantages.py::test_gae_three_tokens_by_hand",
    ),
    Mutant(
        "rewards of the padding counted in",
        "advantages",
        "rewards, values = torch.where(mask, rewards, 0.0), ",
        "rewards, values = rewards, ",
        "test_golden.py::test_advantages_and_returns",
    ),
    Mutant(
        "no discount between advantages",
        "advantages",
        "+ gamma * lam * following",
        "+ lam * following",
        "test_advantages.py::test_gae_discounts_returns_like_torchtune",
    ),
    Mutant(
        "returns without the values",
        "advantages",
        "torch.where(mask, advantages + values, 0.0)",
        "torch.where(mask, advantages, 0.0)",
        "test_golden.py::test_advantages_and_returns",
    ),
    Mutant(
        "whitening with shift_mean the wrong way round",
        "advantages",
        "if not shift_mean:",
        "if shift_mean:",
        "test_advantages.py::test_whitening_that_keeps_the_mean_nine_points",
    ),
    Mutant(
        "whitening over the padding too",
        "advantages",
        "mean = masked_mean(values, mask)\n",
        "mean = values.mean()\n",
        "test_golden.py::test_whitened_advantages",
    ),
    Mutant(
        "a biased variance",
        "advantages",
        "(mask.sum() - 1).clamp_min(1)",
        "mask.sum().clamp_min(1)",
        "test_golden.py::test_whitened_advantages",
    ),
    Mutant(
        "a KL that is paid out instead of paid",
        "advantages",
        "torch.where(mask, -kl_coef * kl, 0.0)",
        "torch.where(mask, kl_coef * kl, 0.0)",
        "test_golden.py::test_rewards_with_the_kl_folded_in",
    ),
    Mutant(
        "a KL of the padding paid",
        "advantages",
        "torch.where(mask, -kl_coef * kl, 0.0)",
        "-kl_coef * kl",
        "test_advantages.py::test_the_score_stands_on_the_last_kept_token_for_every_length",
    ),
    Mutant(
        "the score on the token before the last",
        "advantages",
        "(mask.sum(dim=1) - 1).clamp_min(0)",
        "(mask.sum(dim=1) - 2).clamp_min(0)",
        "test_advantages.py::test_the_score_stands_on_the_last_kept_token_for_every_length",
    ),
    Mutant(
        "min instead of max in the clipped loss",
        "losses",
        "loss = torch.maximum(plain, bounded)",
        "loss = torch.minimum(plain, bounded)",
        "test_golden.py::test_policy_loss_as_a_token_mean",
    ),
    Mutant(
        "the ratio upside down",
        "losses",
        "torch.where(mask, new_logprobs - logprobs, 0.0)",
        "torch.where(mask, logprobs - new_logprobs, 0.0)",
        "test_losses.py::test_policy_loss_and_gradient_on_every_side_of_the_clip",
    ),
    Mutant(
        "a policy loss that makes bad tokens likelier",
        "losses",
        "plain = -advantages * ratio",
        "plain = advantages * ratio",
        "test_losses.py::test_policy_loss_nemo_rl_numbers",
    ),
    Mutant(
        "dual clip with the wrong sign",
        "losses",
        "torch.minimum(loss, -dual_clip * advantages)",
        "torch.minimum(loss, dual_clip * advantages)",
        "test_losses.py::test_dual_clip_by_hand",
    ),
    Mutant(
        "dual clip on positive advantages",
        "losses",
        "torch.where(advantages < 0, torch.minimum",
        "torch.where(advantages > 0, torch.minimum",
        "test_losses.py::test_dual_clip_leaves_positive_advantages_alone",
    ),
    Mutant(
        "values that are not clipped",
        "losses",
        "error = torch.maximum(error, bounded)",
        "error = torch.maximum(error, error)",
        "test_golden.py::test_value_loss_as_a_token_mean",
    ),
    Mutant(
        "values kept near the new ones",
        "losses",
        "kept_near = old_values + (values - old_values)",
        "kept_near = values + (values - old_values)",
        "test_losses.py::test_value_loss_and_gradient_by_hand",
    ),
    Mutant(
        "the padding in the value loss",
        "losses",
        "0.5 * torch.where(mask, error, 0.0).sum()",
        "0.5 * error.sum()",
        "test_golden.py::test_value_loss_as_a_token_mean",
    ),
    Mutant(
        "k3 with the wrong sign in the exponent",
        "kl",
        "torch.exp(-log_ratio) - 1.0 + log_ratio",
        "torch.exp(log_ratio) - 1.0 - log_ratio",
        "test_kl.py::test_every_estimator_by_hand",
    ),
    Mutant(
        "KL with its sign flipped",
        "kl",
        "(logprobs - ref_logprobs).clamp",
        "(ref_logprobs - logprobs).clamp",
        "test_kl.py::test_trl_0_11_recorded_penalties",
    ),
    Mutant(
        "a controller that steers the wrong way",
        "kl",
        "coef * (1.0 + error",
        "coef * (1.0 - error",
        "test_kl.py::test_the_controller_by_hand",
    ),
    Mutant(
        "a temperature that is left out",
        "logprobs",
        "if temperature != 1.0:\n            scaled = scaled / temperature",
        "if temperature != 1.0:\n            scaled = scaled / 1.0",
        "test_logprobs.py::test_by_hand",
    ),
    Mutant(
        "a temperature that is left out of the gradient",
        "logprobs",
        "grad /= ctx.temperature",
        "grad /= 1.0",
        "test_logprobs.py::test_equals_log_softmax_and_its_gradient",
    ),
    Mutant(
        "an entropy gradient with its sign flipped",
        "logprobs",
        "mul_(grad_entropy[:, None])",
        "mul_(-grad_entropy[:, None])",
        "test_logprobs.py::test_equals_log_softmax_and_its_gradient",
    ),
    Mutant(
        "an entropy bonus that lowers the entropy",
        "objective",
        "loss = loss - ppo.entropy_coef * entropy_sum",
        "loss = loss + ppo.entropy_coef * entropy_sum",
        "test_update.py::test_the_entropy_bonus_raises_the_entropy",
    ),
    Mutant(
        "KL in the loss that drives away from the reference",
        "objective",
        "loss = loss + kl_coef * kl_sum",
        "loss = loss - kl_coef * kl_sum",
        "test_update.py::test_kl_in_the_loss_moves_towards_the_reference",
    ),
    Mutant(
        "means of micro-batches instead of the mean of all tokens",
        "objective",
        "return loss / tokens,",
        "return loss / mask.sum(),",
        "test_update.py::test_micro_batches_of_one_two_and_three_equal_the_whole",
    ),
    Mutant(
        "an update that reads at another temperature than the rollout",
        "update",
        "temperature=config.sampling.temperature",
        "temperature=1.0",
        "test_update.py::test_before_the_first_step_every_ratio_is_one",
    ),
    Mutant(
        "a step taken although its loss is not finite",
        "update",
        "not all(map(math.isfinite, measured)) or ",
        "",
        "test_update.py::test_a_loss_that_is_not_finite_touches_nothing",
    ),
    Mutant(
        "epochs that stop at a sum of approx_kl",
        "update",
        'sums["approx_kl"] / tokens > ppo.stop_kl',
        'sums["approx_kl"] > ppo.stop_kl',
        "test_update.py::test_stop_kl_ends_the_epochs_before_the_step_that_is_too_far",
    ),
    Mutant(
        "a learning rate that begins at zero",
        "update",
        "return (done + 1) / warmup",
        "return done / warmup",
        "test_update.py::test_the_learning_rate_by_hand",
    ),
    Mutant(
        "the penalty for a missing end on the responses that have one",
        "scoring",
        "torch.where(ended, scores, -options.missing_eos_penalty)",
        "torch.where(~ended, scores, -options.missing_eos_penalty)",
        "test_scoring.py::test_what_happens_to_a_response_without_an_end",
    ),
    Mutant(
        "dropped responses trained on",
        "scoring",
        "rollout.responses.mask & shaped.trained.to(device)[:, None]",
        "rollout.responses.mask",
        "test_scoring.py::test_a_dropped_row_changes_nothing_for_the_others",
    ),
    Mutant(
        "KL paid in the reward and in the loss",
        "scoring",
        'kl_coef=kl_coef if kl.placement == "reward" else 0.0',
        "kl_coef=kl_coef",
        "test_scoring.py::test_the_price_is_not_paid_twice_when_it_is_in_the_loss",
    ),
    Mutant(
        "KL per token where KL per response is meant",
        "metrics",
        "torch.where(mask, per_token, 0.0).sum(dim=1).mean()",
        "torch.where(mask, per_token, 0.0).sum() / mask.sum()",
        "test_metrics.py::test_kl_of_a_response_is_the_sum_over_its_tokens",
    ),
    Mutant(
        "a mask that loses the end token",
        "types",
        "[None, :] < lengths[:, None]",
        "[None, :] < lengths[:, None] - 1",
        "test_types.py::test_mask_from_lengths_keeps_the_first_tokens",
    ),
]
BY_NAME = pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])


class Outcomes:
    """A pytest plugin that keeps what each test came to: "passed" or "failed", or None where it never began."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each phase; set-up failures are errors in the mutant, so they are kept apart."""
        if report.when == "call" or report.failed:
            self.of[report.nodeid] = report.outcome if report.when == "call" else f"{report.when} {report.outcome}"


def run(*tests: str) -> dict[str, str]:
    """What each of these tests came to, by its full name, run by a pytest inside this one."""
    outcomes = Outcomes()
    left_out = (
        "cacheprovider",
        "terminal",
        "faulthandler",
        "unraisableexception",
        "threadexception",
    )  # slow, or the outer's
    quiet = ["-s", "--assert=plain", "--disable-plugin-autoload", "-o", "addopts="]
    quiet += [word for name in left_out for word in ("-p", f"no:{name}")]
    pytest.main([*quiet, *(str(HERE / test) for test in tests)], plugins=[outcomes])
    return outcomes.of


def put_in(monkeypatch: pytest.MonkeyPatch, module: ModuleType, source: str) -> int:
    """The functions and methods of `module` run the code of `source` until the test ends; returns how many changed."""
    mark = f"{module.__file__} (mutant)"
    twin: dict[str, object] = {"__name__": module.__name__}
    exec(compile(source, mark, "exec"), twin)
    changed = 0
    owners = [(vars(module), twin)]
    owners += [
        (dict(vars(mine)), dict(vars(twin[name])))
        for name, mine in vars(module).items()
        if isinstance(mine, type) and mine.__module__ == module.__name__
    ]
    for mine, others in owners:
        for function, mutated in _pairs(mine, others, mark):
            changed += not _alike(function.__code__, mutated)
            monkeypatch.setattr(function, "__code__", mutated)
    return changed


def _pairs(mine: dict, others: dict, mark: str) -> Iterator[tuple[FunctionType, CodeType]]:
    """Each function of `mine` that `others` defines anew in the file called `mark`, with its new code."""
    for name, member in list(mine.items()):
        own, new = (getattr(x, "fget", None) or getattr(x, "__func__", x) for x in (member, others.get(name)))
        if isinstance(own, FunctionType) and isinstance(new, FunctionType) and new.__code__.co_filename == mark:
            yield own, new.__code__


def _alike(a: CodeType, b: CodeType) -> bool:
    return (a.co_code, a.co_names) == (b.co_code, b.co_names) and all(
        _alike(x, y) if isinstance(x, CodeType) and isinstance(y, CodeType) else x == y
        for x, y in zip(a.co_consts, b.co_consts, strict=False)
    )


def test_all_the_named_tests_are_green_without_a_mutant():
    named = {mutant.test for mutant in MUTANTS}
    outcomes = run(*sorted(named))
    assert set(outcomes.values()) == {"passed"}, outcomes
    begun = {name.split("/")[-1].split("[")[0] for name in outcomes}
    assert begun == named


@BY_NAME
def test_the_mutant_turns_its_test_red(mutant, monkeypatch):
    module = importlib.import_module(f"appliance.ppo.{mutant.module}")
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.old!r} stands {source.count(mutant.old)} times in {module.__file__}"
    assert put_in(monkeypatch, module, source.replace(mutant.old, mutant.new)) == 1
    outcomes = run(mutant.test)
    monkeypatch.undo()
    assert "failed" in outcomes.values(), f"nobody noticed: {outcomes}"
    assert set(outcomes.values()) <= {"passed", "failed"}, outcomes


def test_the_code_is_whole_again_after_a_mutant(monkeypatch):
    # an unchanged source changes nothing, and undoing a change brings the first code back
    module = importlib.import_module("appliance.ppo.kl")
    source = Path(module.__file__).read_text(encoding="utf-8")
    before = module.kl_per_token.__code__
    assert put_in(monkeypatch, module, source) == 0
    monkeypatch.undo()
    assert module.kl_per_token.__code__ is before
