"""What predicts the return of a response: a head on the policy's trunk, or a model of its own."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.models.attention import attending
from appliance.models.packing import Pack
from appliance.models.token_model import Reading, left_padded
from appliance.ppo.types import Generation, Prompts


class ValueHead(nn.Module):
    """values [M] = hidden [M, d] . weight + bias, always in fp32. It stands outside the adapters, which would freeze it.

    It starts at zero: the first advantages are then the rewards themselves, and the first rollouts teach it the rest.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """One value per hidden state [M, d]. A plain sum of products, which no bf16 mode touches."""
        return (hidden.float() * self.weight).sum(dim=-1) + self.bias

    def packed(self, reading: Reading, pack: Pack) -> Tensor:
        """Values [M] from the policy's own hidden states."""
        return self(reading.hidden)

    def padded(self, reading: Reading, prompts: Prompts, responses: Generation) -> Tensor:
        """Values [M] from the policy's own hidden states."""
        return self(reading.hidden)


class SeparateCritic(nn.Module):
    """A decoder of its own with a value head, both started from a reward model (see `build.separate_critic`)."""

    def __init__(self, body: PreTrainedModel, weight: Tensor) -> None:
        super().__init__()
        self.body = body.eval()
        self.head = ValueHead(len(weight))
        with torch.no_grad():
            self.head.weight.copy_(weight)

    def packed(self, reading: Reading, pack: Pack) -> Tensor:
        """Values [M] of the packed tokens."""
        with attending(self.body, pack.layout):
            output = self.body(input_ids=pack.ids[None], position_ids=pack.positions[None], use_cache=False)
        return self.head(output.last_hidden_state[0].index_select(0, pack.predicts))

    def padded(self, reading: Reading, prompts: Prompts, responses: Generation) -> Tensor:
        """Values [M] through the model's own padded forward."""
        ids, mask, positions = left_padded(prompts, responses)
        output = self.body(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False)
        width = responses.ids.shape[1]
        return self.head(output.last_hidden_state[:, -width - 1 : -1][responses.mask])
