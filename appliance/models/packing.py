"""Prompts and responses as one row of real tokens, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from appliance.models.attention import Packed, causal_bias
from appliance.ppo.types import Generation, Prompts, mask_from_lengths


@dataclass(frozen=True)
class Pack:
    """B sequences as N tokens end to end; a sequence's last token is left out, since nothing is predicted from it.

    ids, positions [N]; predicts [M] indexes the tokens whose successor is a response token; targets [M] are those
    successors; cells [M] their flat positions in [B, R]; lengths [B] the tokens of each sequence.
    """

    ids: Tensor
    positions: Tensor
    predicts: Tensor
    targets: Tensor
    cells: Tensor
    lengths: Tensor
    shape: tuple[int, int]
    layout: Packed

    def unpack(self, values: Tensor) -> Tensor:
        """values [M] laid out as [B, R], zero at positions that hold no response token. Differentiable."""
        rows, width = self.shape
        return values.new_zeros(rows * width).index_copy(0, self.cells, values).view(rows, width)


def pack(prompts: Prompts, responses: Generation) -> Pack:
    """The packed form of each prompt with its response. Every prompt and response has at least one token."""
    prompt_lengths, response_lengths = prompts.lengths, responses.lengths
    lengths = prompt_lengths + response_lengths - 1  # [B]
    width = int(lengths.max())
    columns = torch.arange(width, device=lengths.device)[None, :]  # [1, T]
    from_prompt = columns < prompt_lengths[:, None]  # [B, T]
    prompt_column = columns.clamp_max(prompts.ids.shape[1] - 1).expand(len(lengths), -1)
    response_column = (columns - prompt_lengths[:, None]).clamp(0, responses.ids.shape[1] - 1)
    ids = torch.where(from_prompt, prompts.ids.gather(1, prompt_column), responses.ids.gather(1, response_column))
    slots = mask_from_lengths(lengths, width).flatten().nonzero().squeeze(1)  # [N]
    positions = columns.expand(len(lengths), -1).reshape(-1)[slots]
    predicting = columns >= prompt_lengths[:, None] - 1  # [B, T], real tokens only after [slots]
    kept = responses.mask
    return Pack(
        ids=ids.flatten()[slots],
        positions=positions,
        predicts=predicting.flatten()[slots].nonzero().squeeze(1),
        targets=responses.ids[kept],
        cells=kept.flatten().nonzero().squeeze(1),
        lengths=lengths,
        shape=(kept.shape[0], kept.shape[1]),
        layout=Packed(len(lengths), width, slots, causal_bias(width, slots.device)),
    )
