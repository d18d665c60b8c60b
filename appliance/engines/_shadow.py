"""A second set of modules over a policy's weights, for matrix products in bf16 without casting weights at every token.

Everything is shared with the policy but the weights of matrix products that autocast would cast: those are bf16 copies
that stay where they are, so a captured graph keeps reading them. The numbers are the ones that autocast gives: an
adapter is applied beside its layer as in training, since folding it into bf16 weights would round small updates away,
and embeddings and norms stay as they are.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from appliance.models.token_model import TokenModel


class Shadow:
    """`model` reads with the weights of `lm`; matrix products are made in `dtype`, or as `lm` makes them (None)."""

    def __init__(self, lm: PreTrainedModel, dtype: torch.dtype | None) -> None:
        self._lm = lm
        shared = {id(parameter): parameter for parameter in lm.parameters()}
        mirror = copy.deepcopy(lm, shared)  # type: ignore[arg-type]  # deepcopy keeps what its memo already has
        self._copies: list[tuple[Tensor, Tensor]] = []
        for module in mirror.modules():
            if dtype is not None and isinstance(module, nn.Linear | Conv1D):
                self._cast(module, dtype)
            if isinstance(module, PreTrainedModel):
                # With a pad token, some architectures look at every input on the host to warn of missing masks.
                module.config.pad_token_id = None
        self.model = TokenModel(mirror)
        self._addresses = self._where()

    def _cast(self, module: nn.Module, dtype: torch.dtype) -> None:
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dtype != dtype:
                # A head that is tied to the embedding gets weights of its own here: the embedding is not cast.
                mine = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
                setattr(module, name, mine)
                self._copies.append((mine, parameter))

    def _where(self) -> list[int]:
        return [parameter.data_ptr() for parameter in self._lm.parameters()]

    @property
    def valid(self) -> bool:
        """Whether the policy's weights still lie where they lay: optimizers and checkpoints write them in place."""
        return self._where() == self._addresses

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the policy's weights of this moment."""
        for mine, theirs in self._copies:
            mine.copy_(theirs)
