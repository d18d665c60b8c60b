"""What a reward model's scores of ranked responses cost: tables of scores and ranks [G, K] -> a loss per ranking [G].

G rankings, K responses in the largest; rank 1 is the best, equal ranks are a tie, and 0 is no response at all.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def pairs_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """Mean over every two responses of a ranking, [G]: -log sigmoid(better - worse); a tie pulls its two together.

    A tie of a and b costs -(log sigmoid(a - b) + log sigmoid(b - a)) / 2, least (log 2) where a = b: the cross-entropy
    with a preference of one half. Source: Ouyang et al. 2022, eq. 1, where each prompt counts once.
    """
    d = scores[:, :, None] - scores[:, None, :]  # [G, K, K]: response i less response j
    better, tied = _pairs(ranks)
    lost = -logsigmoid(d)
    costs = torch.where(better, lost, 0.0) + torch.where(tied, (lost - logsigmoid(-d)) / 2, 0.0)
    return costs.sum((1, 2)) / (better | tied).sum((1, 2))


def plackett_luce_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """Minus the log-likelihood of the whole order, [G]: the best is chosen from all, the next from the rest, and so on.

    sum_i(logsumexp_{j not better than i} s_j - s_i). Tied responses are each chosen from the same rest, which holds all
    of them and all that is worse (Breslow's approximation): a tie at the end is least where its scores are equal.
    Of two responses without a tie it is `pairs_loss`. Source: Plackett 1975; Breslow 1974 for ties.
    """
    here = ranks > 0
    rest = here[:, None, :] & (ranks[:, None, :] >= ranks[:, :, None])  # [G, K, K]: j may be chosen where i was
    rest |= torch.eye(ranks.shape[1], dtype=torch.bool, device=ranks.device)  # no response: chosen from itself, costs 0
    total = scores[:, None, :].expand(rest.shape).masked_fill(~rest, -torch.inf).logsumexp(2)  # [G, K]
    return torch.where(here, total - scores, 0.0).sum(1)


LOSSES = {"pairs": pairs_loss, "plackett_luce": plackett_luce_loss}
"""By `training.loss`."""


def off_centre(scores: Tensor, ranks: Tensor) -> Tensor:
    """Mean over every two responses of a ranking of (s_i + s_j)^2, [G]: least where the scores are centred on 0.

    Source: Eisenstein et al. 2023, as TRL's RewardTrainer has it for pairs.
    """
    better, tied = _pairs(ranks)
    sums = (scores[:, :, None] + scores[:, None, :]) ** 2  # [G, K, K]
    return torch.where(better | tied, sums, 0.0).sum((1, 2)) / (better | tied).sum((1, 2))


def margins(scores: Tensor, ranks: Tensor) -> Tensor:
    """The better one's score less the worse one's, of all pairs that are no ties, [N]."""
    d = scores[:, :, None] - scores[:, None, :]
    return d[_pairs(ranks)[0]]


def _pairs(ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Where response i is better than j, and where the two are a tie (once: i before j), both [G, K, K]."""
    first, second = ranks[:, :, None], ranks[:, None, :]
    both = (first > 0) & (second > 0)
    return both & (first < second), (both & (first == second)).triu(1)
