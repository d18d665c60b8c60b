"""What a micro-batch adds to the loss, and what is measured with it: the policy's loss, the critic's, KL, entropy."""

import torch
from torch import Tensor

from appliance.config import PpoConfig
from appliance.models.graphs import Graph
from appliance.ppo.kl import kl_per_token
from appliance.ppo.losses import policy_loss, value_loss
from appliance.ppo.types import Batch, TokenStats

SUMS = ("policy_loss", "value_loss", "kl_loss", "entropy", "approx_kl", "clipped", "value_clipped", "ratio")
"""Sums over trained tokens, in the order in which an objective gives them."""


class Objective:
    """The loss of a config's PPO. Compiled, its many short operations are two: one forward, one backward."""

    def __init__(self, config: PpoConfig, *, compiled: bool) -> None:
        self.config = config
        self._graph = Graph(self._of) if compiled else None

    def __call__(self, read: TokenStats, part: Batch, tokens: int, *, kl_coef: float) -> tuple[Tensor, Tensor, Tensor]:
        """The share of the loss of a minibatch of `tokens` trained tokens, differentiable; SUMS [8]; the largest ratio."""
        rollout = part.rollout
        assert read.values is not None
        by_token = [read.logprobs, rollout.logprobs, rollout.ref_logprobs, part.advantages]
        by_token += [read.values, rollout.values, part.returns, part.mask]
        if read.entropy is not None:
            by_token.append(read.entropy)
        if self._graph is None:
            return self._of(tokens, kl_coef, *by_token)
        # A number would be written into the graph, and a single row would be compiled by itself.
        return self._graph(*(torch.tensor(float(x)) for x in (tokens, kl_coef)), *(x.flatten() for x in by_token))

    def _of(
        self,
        tokens: Tensor | int,
        kl_coef: Tensor | float,
        logprobs: Tensor,
        old_logprobs: Tensor,
        ref_logprobs: Tensor,
        advantages: Tensor,
        values: Tensor,
        old_values: Tensor,
        returns: Tensor,
        mask: Tensor,
        entropy: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ppo, kl = self.config.ppo, self.config.kl
        policy = policy_loss(logprobs, old_logprobs, advantages, mask, clip=ppo.clip, dual_clip=ppo.dual_clip)
        value = value_loss(values, old_values, returns, mask, clip=ppo.value_clip)
        loss = policy.loss + ppo.value_coef * value.loss
        kl_sum = entropy_sum = torch.zeros_like(policy.approx_kl)
        if kl.placement == "loss":
            kl_sum = torch.where(mask, kl_per_token(logprobs, ref_logprobs, estimator=kl.estimator), 0.0).sum()
            loss = loss + kl_coef * kl_sum
        if entropy is not None:
            entropy_sum = torch.where(mask, entropy, 0.0).sum()
            loss = loss - ppo.entropy_coef * entropy_sum
        sums = (
            policy.loss,
            value.loss,
            kl_sum,
            entropy_sum,
            policy.approx_kl,
            policy.clipped,
            value.clipped,
            policy.ratio,
        )
        return loss / tokens, torch.stack([x.detach().float() for x in sums]), policy.ratio_max
