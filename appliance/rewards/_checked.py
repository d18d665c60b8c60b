"""What every reward source's scores must be: one finite number for each text."""

import torch
from torch import Tensor

from appliance.errors import ApplianceError


def checked(given: Tensor, prompts: list[str], responses: list[str], *, name: str = "the reward source") -> Tensor:
    """The scores [B], float32 on the CPU. Raises ApplianceError for another number of them, or one that is not finite."""
    scores = given.detach().to("cpu", torch.float32)
    if scores.shape != (len(responses),):
        raise ApplianceError(
            f"{name} was given {len(responses)} texts and returned scores of shape {list(scores.shape)}",
            "correct the source: one number for each text",
        )
    broken = (~scores.isfinite()).nonzero().flatten().tolist()
    if broken:
        text = prompts[broken[0]] + responses[broken[0]]
        raise ApplianceError(
            f"{name} gave {scores[broken[0]]} for {len(broken)} of {len(scores)} texts, first {text[:80]!r}",
            "score this text alone (`appliance score`); a model whose weights are damaged or overflow does this",
        )
    return scores
