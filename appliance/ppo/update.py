"""The PPO epochs over one batch: one optimizer step per minibatch, its gradient summed over micro-batches.

Everything that a stop in the middle must keep stands in `Progress`, so that an interrupted step goes on where it was.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from appliance.config import PpoConfig
from appliance.config.base import Optimizer
from appliance.models.policy import Policy
from appliance.ppo.memory import ChunkSize, is_out_of_memory
from appliance.ppo.objective import SUMS, Objective
from appliance.ppo.types import Batch


@dataclass
class Progress:
    """How far the epochs of one step are: the next minibatch, and what was measured so far."""

    minibatch: int = 0
    steps: int = 0
    skipped: int = 0
    stopped_early: bool = False
    tokens: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    ratio_max: float = 0.0
    grad_norm: float = 0.0
    learning_rate: float = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `Progress(**state)` restores it."""
        return asdict(self)


class Interrupted(Exception):
    """A stop was asked for between two micro-batches; the minibatch that was under way is to be done again."""


@dataclass(frozen=True)
class Learner:
    """The policy with what moves it. `parameters` are the policy's trainable ones, by name."""

    policy: Policy
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    config: PpoConfig
    objective: Objective


def make_learner(policy: Policy, config: PpoConfig) -> Learner:
    """AdamW over the trainable parameters; the critic's may have a learning rate of their own. No decay on vectors."""
    options = config.optimizer
    parameters = policy.trainable()
    groups = []
    for prefix, peak in (
        ("policy.", options.learning_rate),
        ("critic.", config.critic.learning_rate or options.learning_rate),
    ):
        mine = [p for name, p in parameters.items() if name.startswith(prefix)]
        for chosen, decay in (
            ([p for p in mine if p.ndim >= 2], options.weight_decay),
            ([p for p in mine if p.ndim < 2], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": peak, "peak": peak})
    optimizer = torch.optim.AdamW(groups, betas=options.betas, eps=options.eps, fused=True)
    return Learner(policy, parameters, optimizer, config, Objective(config, compiled=policy.compiled))


def learning_rate_share(options: Optimizer, done: int, total: int) -> float:
    """The learning rate of optimizer step `done` (0-based) of `total`, as a share of its peak."""
    warmup = round(options.warmup_share * total)
    if done < warmup:
        return (done + 1) / warmup
    if options.schedule == "constant":
        return 1.0
    rest = (done - warmup) / max(1, total - warmup)
    falling = 1.0 - rest if options.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * rest))
    return options.final_share + (1.0 - options.final_share) * falling


def update(
    learner: Learner,
    batch: Batch,
    plan: Tensor,
    progress: Progress,
    *,
    step: int,
    kl_coef: float,
    chunk: ChunkSize,
    stop: Callable[[], bool],
) -> None:
    """Do the minibatches of `plan` [n, b] from `progress.minibatch` on; `progress` is brought up to date after each.

    An optimizer step whose loss or gradient is not finite, or whose mean ratio is over ppo.max_ratio, is skipped before
    it touches the weights. The epochs end early when approx_kl passes ppo.stop_kl. Raises Interrupted when `stop` says so.
    """
    config = learner.config
    while progress.minibatch < len(plan) and not progress.stopped_early:
        rows = plan[progress.minibatch]
        tokens = int(batch.mask[rows.to(batch.mask.device)].sum())
        if tokens:
            share = learning_rate_share(
                config.optimizer, step * len(plan) + progress.minibatch, config.batch.steps * len(plan)
            )
            for group in learner.optimizer.param_groups:
                group["lr"] = group["peak"] * share
            measured = accumulate(learner, batch, rows, tokens, kl_coef=kl_coef, chunk=chunk, stop=stop)
            progress.learning_rate = learner.optimizer.param_groups[0]["lr"]
            _step(learner, progress, measured, tokens)
        progress.minibatch += 1


def accumulate(
    learner: Learner,
    batch: Batch,
    rows: Tensor,
    tokens: int,
    *,
    kl_coef: float,
    chunk: ChunkSize,
    stop: Callable[[], bool],
) -> list[float]:
    """Gradients of a minibatch, whatever its micro-batches; returns SUMS, the largest ratio and the gradient's norm."""
    by_length = (batch.rollout.prompts.lengths + batch.rollout.responses.lengths)[rows.to(batch.mask.device)]
    rows = rows[by_length.argsort(descending=True, stable=True).cpu()]
    while True:
        learner.optimizer.zero_grad(set_to_none=True)
        try:
            parts = []
            for micro in rows.split(chunk.size):
                if stop():
                    learner.optimizer.zero_grad(set_to_none=True)
                    raise Interrupted
                parts.append(_microbatch(learner, batch.rows(micro), tokens, kl_coef=kl_coef))
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)
        learner.optimizer.zero_grad(set_to_none=True)
        chunk.halve(failure)
    norm = _clip(list(learner.parameters.values()), learner.config.optimizer.max_grad_norm)
    sums, largest = torch.stack([part[0] for part in parts]).sum(0), torch.stack([part[1] for part in parts]).amax()
    return torch.cat([sums, largest[None], norm[None].to(sums)]).tolist()


def _clip(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """The norm of the gradient, which is scaled down to `largest` where it is longer; torch would also scale it by 1."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not norm <= largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def _microbatch(learner: Learner, part: Batch, tokens: int, *, kl_coef: float) -> tuple[Tensor, Tensor]:
    """Adds the gradient of these sequences' share of the minibatch's loss; returns SUMS [8] and the largest ratio."""
    config, rollout = learner.config, part.rollout
    with learner.policy.computing():
        read = learner.policy.read(
            rollout.prompts,
            rollout.responses,
            temperature=config.sampling.temperature,
            with_entropy=config.ppo.entropy_coef > 0,
            trunk=rollout.trunk,
        )
        loss, sums, ratio_max = learner.objective(read, part, tokens, kl_coef=kl_coef)
        loss.backward()
    return sums, ratio_max


def _step(learner: Learner, progress: Progress, measured: list[float], tokens: int) -> None:
    """Take the optimizer step, or leave it, and enter the minibatch's measurements into `progress`."""
    ppo = learner.config.ppo
    sums = dict(zip(SUMS, measured[: len(SUMS)], strict=True))
    ratio_max, norm = measured[len(SUMS) :]
    if not all(map(math.isfinite, measured)) or sums["ratio"] / tokens > ppo.max_ratio:
        progress.skipped += 1
        learner.optimizer.zero_grad(set_to_none=True)
        return
    progress.tokens += tokens
    progress.sums = {name: progress.sums[name] + sums[name] for name in SUMS}
    progress.ratio_max = max(progress.ratio_max, ratio_max)
    progress.grad_norm = max(progress.grad_norm, norm)
    if ppo.stop_kl is not None and sums["approx_kl"] / tokens > ppo.stop_kl:
        progress.stopped_early = True
    else:
        learner.optimizer.step()
        progress.steps += 1
    learner.optimizer.zero_grad(set_to_none=True)
