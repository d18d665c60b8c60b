"""Prompts in a seeded order, and the random numbers of each step. All of it can be put into a checkpoint and back."""

import hashlib

import torch
from torch import Tensor

from appliance.config.base import TokenRange
from appliance.ppo.types import Prompts


def prompts_from_ids(ids: list[list[int]], texts: list[str]) -> Prompts:
    """Tokenized prompts as one padded record."""
    lengths = torch.tensor([len(row) for row in ids])
    padded = torch.zeros(len(ids), int(lengths.max()), dtype=torch.long)
    for row, tokens in enumerate(ids):
        padded[row, : len(tokens)] = torch.tensor(tokens)
    return Prompts(texts, padded, lengths)


def seed_for(seed: int, *purpose: object) -> int:
    """A 63-bit seed of its own for each purpose, so that no two draws share a stream."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class PromptFeed:
    """Endless batches of prompts: every prompt once per epoch, each epoch in another order."""

    def __init__(self, prompts: Prompts, seed: int) -> None:
        self.prompts, self.seed = prompts, seed
        self.epoch, self.cursor = 0, 0

    def take(self, count: int) -> Prompts:
        """The next `count` prompts, trimmed to the longest of them."""
        chosen: list[Tensor] = []
        while count > 0:
            order = self._order(self.epoch)
            piece = order[self.cursor : self.cursor + count]
            chosen.append(piece)
            count -= len(piece)
            self.cursor += len(piece)
            if self.cursor == len(order):
                self.epoch, self.cursor = self.epoch + 1, 0
        return trimmed(self.prompts.rows(torch.cat(chosen)))

    def state(self) -> dict[str, int]:
        """Where in the data the run is."""
        return {"epoch": self.epoch, "cursor": self.cursor}

    def restore(self, state: dict[str, int]) -> None:
        """Go to where `state` says."""
        self.epoch, self.cursor = state["epoch"], state["cursor"]

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_for(self.seed, "prompts", epoch))
        return torch.randperm(len(self.prompts), generator=generator)


def trimmed(prompts: Prompts) -> Prompts:
    """The same prompts without columns that no row uses."""
    return Prompts(prompts.texts, prompts.ids[:, : int(prompts.lengths.max())], prompts.lengths)


class Dice:
    """The two random streams of a run: what is sampled, and how a rollout is cut into minibatches. Always on the CPU."""

    def __init__(self, seed: int) -> None:
        self.sampling = torch.Generator().manual_seed(seed_for(seed, "sampling"))
        self.minibatches = torch.Generator().manual_seed(seed_for(seed, "minibatches"))

    def responses(self, count: int, length: TokenRange) -> tuple[Tensor, Tensor]:
        """limits [B], uniform in `length`, and uniforms [B, length.high] in [0, 1)."""
        return draw_responses(count, length, self.sampling)

    def plan(self, rollout: int, minibatch: int, epochs: int) -> Tensor:
        """Row numbers [epochs * rollout / minibatch, minibatch]: each epoch visits every row once."""
        orders = [torch.randperm(rollout, generator=self.minibatches) for _ in range(epochs)]
        return torch.stack(orders).view(-1, minibatch)

    def state(self) -> dict[str, Tensor]:
        """Both generators' states."""
        return {"sampling": self.sampling.get_state(), "minibatches": self.minibatches.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put both generators where `state` has them."""
        self.sampling.set_state(state["sampling"])
        self.minibatches.set_state(state["minibatches"])


def draw_responses(count: int, length: TokenRange, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """limits [B], uniform in `length` with both ends, and uniforms [B, length.high] in [0, 1)."""
    limits = torch.randint(length.low, length.high + 1, (count,), generator=generator)
    return limits, torch.rand(count, length.high, generator=generator)
