"""What must hold before the first optimizer step; a breach means wrong numbers, so it stops the run and names its cause."""

import torch
from torch import nn

from appliance.config import PpoConfig
from appliance.errors import ApplianceError
from appliance.models.attention import CannotPack
from appliance.models.policy import Policy
from appliance.ppo.advantages import gae, masked_mean, masked_var
from appliance.ppo.losses import policy_loss
from appliance.ppo.memory import is_out_of_memory
from appliance.ppo.types import Batch, Generation, Prompts


class InvariantError(ApplianceError):
    """The engine's numbers contradict each other at the start of a run."""


def packing_problem(policy: Policy, prompts: Prompts, response_tokens: int) -> str | None:
    """Why the packed path cannot be trusted with this model, or None: it is compared with the model's own forward.

    Up to four prompts of different lengths get responses of different lengths, so that padding stands on both sides.
    """
    rows = prompts.lengths.argsort(descending=True)
    rows = rows[torch.linspace(0, len(rows) - 1, min(4, len(rows))).long()]
    some = prompts.rows(rows).to(policy.device)
    count, width = len(some), min(response_tokens, 8)
    lengths = torch.tensor([max(1, width - 2 * i) for i in range(count)], device=policy.device)
    spread = torch.arange(count * width, device=policy.device).view(count, width)
    ids = (spread * 7919 + 11) % policy.model.vocabulary
    ended = torch.zeros(count, dtype=torch.bool, device=policy.device)
    made = Generation(ids, lengths, ended, torch.zeros(count, width, device=policy.device))
    with torch.no_grad(), policy.precision.active():
        try:
            policy.read(some.rows(torch.arange(1)), _longest(policy, response_tokens), temperature=1.0)
            packed = policy.read(some, made, temperature=1.0).logprobs
        except CannotPack as reason:
            return str(reason)
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            return f"its layers do not take it ({type(error).__name__}: {error})"
        policy.model.packs = False
        try:
            padded = policy.read(some, made, temperature=1.0).logprobs
        finally:
            policy.model.packs = True
    gap = float((packed - padded).abs().max())
    return None if gap <= policy.precision.tolerance else f"its log-probabilities differ by {gap:.2g} nats"


def settle_reading(policy: Policy, prompts: Prompts, response_tokens: int) -> str | None:
    """`packing_problem`; where there is one, the policy is read with padding from now on. Encoder-decoders always are."""
    if policy.seq2seq:
        return None
    problem = packing_problem(policy, prompts, response_tokens)
    if problem is not None:
        policy.use_padding()
    return problem


def _longest(policy: Policy, tokens: int) -> Generation:
    """One response of `tokens` tokens: a model with a sliding window may refuse it where it takes shorter ones."""
    ids = torch.full((1, tokens), 11 % policy.model.vocabulary, device=policy.device)
    lengths = torch.tensor([tokens], device=policy.device)
    return Generation(ids, lengths, lengths < 0, torch.zeros(1, tokens, device=policy.device))


def check_start(policy: Policy, batch: Batch, config: PpoConfig, *, at_reference: bool, rows: int) -> None:
    """Raises InvariantError unless ratio = 1, clip share = 0, advantages are white and, at the start, KL = 0.

    `at_reference` says that no optimizer step was taken yet; `rows` bounds how many sequences are read again.
    Source: the checks that peers' users had to make by hand (trl#454, trlx#107, LlamaFactory#6805).
    """
    tolerance = policy.precision.tolerance
    rollout = batch.rollout
    mask = rollout.responses.mask
    part = batch.rows(torch.arange(min(rows, len(mask))))
    with policy.precision.active():
        again = policy.read(
            part.rollout.prompts,
            part.rollout.responses,
            temperature=config.sampling.temperature,
            trunk=part.rollout.trunk,
        ).logprobs.detach()
    gap = float((again - part.rollout.logprobs).abs().max())
    if not gap <= tolerance:  # NaN is a breach too
        raise InvariantError(
            f"the probability ratio is not 1 before any update: log-probabilities differ by {gap:.3g} nats "
            f"(tolerance {tolerance:g}) between two readings of the same weights",
            _ratio_cause(policy),
        )
    kept = part.mask
    clipped = policy_loss(again, part.rollout.logprobs, part.advantages, kept, clip=config.ppo.clip).clipped
    if int(clipped):
        raise InvariantError(f"{int(clipped)} ratios are clipped before any update", _ratio_cause(policy))
    drift = float((rollout.logprobs - rollout.ref_logprobs).abs().max())
    if at_reference and not drift <= tolerance:
        raise InvariantError(
            f"KL to the reference is not 0 at the start: log-probabilities differ by up to {drift:.3g} nats",
            "the reference is not the starting policy: give the merged SFT model as policy.model, so that the adapter "
            "begins empty",
        )
    engine_gap = float(masked_mean((rollout.responses.engine_logprobs - rollout.logprobs).abs(), mask))
    if not engine_gap <= max(tolerance, 1e-3):
        raise InvariantError(
            f"the generation engine's log-probabilities are {engine_gap:.3g} nats per token off the trainer's",
            "the temperatures differ, or the engine runs older weights: try sampling.engine: plain",
        )
    if config.ppo.whiten_advantages and int(batch.mask.sum()) > 2:
        mean, spread = float(masked_mean(batch.advantages, batch.mask)), float(masked_var(batch.advantages, batch.mask))
        raw, _ = gae(batch.rewards, rollout.values, batch.mask, gamma=config.ppo.gamma, lam=config.ppo.lam)
        variance = float(masked_var(raw.double(), batch.mask))
        expected = variance / (variance + 1e-8)  # what `whiten` leaves where rewards are tiny
        constant = spread < 1e-6
        if not abs(mean) <= 1e-3 or not (abs(spread - expected) <= 1e-2 or constant):
            raise InvariantError(
                f"whitened advantages have mean {mean:.3g} and variance {spread:.3g} instead of 0 and {expected:.3g}",
                "padding is counted in, or a value is not finite: report this as a bug",
            )


def _ratio_cause(policy: Policy) -> str:
    training = [name for name, module in policy.model.lm.named_modules() if module.training]
    dropping = [n for n, m in policy.model.lm.named_modules() if isinstance(m, nn.Dropout) and m.training and m.p > 0]
    if dropping or training:
        return f"dropout is on: {(dropping or training)[0]} is in training mode"
    if policy.precision.compute == "bf16":
        return "bf16 is too coarse for this model: set compute: fp32"
    return "the model is not deterministic, or its position ids depend on padding: try sampling.engine: plain"
