"""The policy, its reference and its critic behind one call: log-probabilities, entropies and values of responses."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from appliance.errors import ConfigError
from appliance.models.compiled import CompiledModel
from appliance.models.critic import SeparateCritic, ValueHead
from appliance.models.graphs import in_one_order
from appliance.models.packing import pack
from appliance.models.precision import Precision
from appliance.models.seq2seq import token_model
from appliance.models.token_model import Reading
from appliance.models.top_layers import TopLayers
from appliance.ppo.types import Generation, Prompts, TokenStats

Switch = Callable[[], AbstractContextManager[None]]
"""Makes the policy's model the reference while it is open, without a second model: adapters off, or top blocks swapped."""


class Policy:
    """One language model with its value estimate, and the reference it started from.

    `reference` is a frozen copy, or None where `switch` turns the policy's own model into the reference. `top` is set
    when only the last blocks are trained, `adapter` when LoRA is.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        critic: ValueHead | SeparateCritic,
        precision: Precision,
        *,
        reference: PreTrainedModel | None = None,
        switch: Switch | None = None,
        top: TopLayers | None = None,
        adapter: PeftModel | None = None,
    ) -> None:
        self.model = token_model(lm)
        self.critic = critic
        self.precision = precision
        self.reference = token_model(reference) if reference is not None else self.model
        self.switch: Switch = switch or nullcontext
        self.top = top
        self.adapter = adapter

    @property
    def device(self) -> torch.device:
        """Where the tensors must be."""
        return self.precision.device

    @property
    def packs(self) -> bool:
        """Whether sequences are read without padding. `use_padding` turns it off."""
        return self.model.packs

    @property
    def seq2seq(self) -> bool:
        """Whether the policy is an encoder-decoder: always read with padding, its responses texts of their own."""
        return self.model.seq2seq

    @property
    def quantized(self) -> bool:
        """Whether the weights under the adapters are in 8 or 4 bits."""
        return bool(getattr(self.model.lm, "is_quantized", False))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Forward and backward passes for training belong inside: the precision, and the same sums in every run."""
        with self.precision.active(), in_one_order() if self.compiled else nullcontext():
            yield

    @property
    def compiled(self) -> bool:
        """Whether it is read through compiled graphs."""
        return self.model.compiled is not None

    def use_padding(self) -> None:
        """Read through the models' own padded forward from now on: for attention that the packed layout cannot do."""
        self.model.packs = self.reference.packs = False

    def compile(self, *, learn_entropy: bool = False) -> None:
        """Read through compiled graphs from now on, on a CPU. Raises ConfigError where that cannot be.

        Without `learn_entropy` the entropies that `read` returns have no gradient.
        """
        name = type(self.model.lm).__name__
        reasons = {
            f"the run is on the {self.device.type}": self.device.type != "cpu",
            f"{name} is read with padding": not self.packs,
            "the trunk below the top layers is run only once": self.top is not None,
        }
        reason = next((why for why, holds in reasons.items() if holds), None)
        if reason is not None:
            raise ConfigError(f"compile: true, but {reason}, and what is compiled is not", "set compile: false")
        for model in {self.model, self.reference}:
            model.compiled = CompiledModel(model.lm, self.precision, learn_entropy=learn_entropy)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that the optimizer moves, by a name that is the same in each session."""
        named = {f"policy.{name}": p for name, p in self.model.lm.named_parameters() if p.requires_grad}
        return named | {f"critic.{name}": p for name, p in self.critic.named_parameters() if p.requires_grad}

    def read(
        self,
        prompts: Prompts,
        responses: Generation,
        *,
        temperature: float,
        with_entropy: bool = False,
        with_values: bool = True,
        trunk: list[Tensor] | None = None,
        keep_trunk: bool = False,
    ) -> TokenStats:
        """The policy's log-probabilities, entropies and values at every response token, [B, R] each.

        With `keep_trunk` a policy of which only the top is trained also returns its trunk's output; given as `trunk`
        with the same rows, the trunk is not run again.
        """
        if not self.packs:
            reading = self.model.padded(prompts, responses, temperature=temperature, with_entropy=with_entropy)
            values = self.critic.padded(reading, prompts, responses) if with_values else None
            return _laid_out(reading, values, responses, with_entropy)
        packed = pack(prompts, responses)
        recording = self.top.recording() if keep_trunk and self.top is not None else nullcontext()
        with recording as tape, self._from_trunk(trunk):
            reading = self.model.packed(packed, temperature=temperature, with_entropy=with_entropy)
        values = self.critic.packed(reading, packed) if with_values else None
        return TokenStats(
            trunk=None if tape is None else list(tape.trunk[0].split(packed.lengths.tolist())),
            logprobs=packed.unpack(reading.logprobs),
            entropy=packed.unpack(reading.entropy) if with_entropy else None,
            values=None if values is None else packed.unpack(values),
        )

    @torch.no_grad()
    def read_reference(
        self, prompts: Prompts, responses: Generation, *, temperature: float, trunk: list[Tensor] | None = None
    ) -> Tensor:
        """The reference's log-probabilities [B, R] of the same tokens."""
        with self.switch():
            if not self.reference.packs:
                reading = self.reference.padded(prompts, responses, temperature=temperature, with_entropy=False)
                return _laid_out(reading, None, responses, False).logprobs
            packed = pack(prompts, responses)
            with self._from_trunk(trunk):
                reading = self.reference.packed(packed, temperature=temperature, with_entropy=False)
            return packed.unpack(reading.logprobs)

    def _from_trunk(self, trunk: list[Tensor] | None) -> AbstractContextManager[None]:
        if trunk is None or self.top is None:
            return nullcontext()
        return self.top.replaying(torch.cat(trunk)[None])


def _laid_out(reading: Reading, values: Tensor | None, responses: Generation, with_entropy: bool) -> TokenStats:
    mask = responses.mask

    def lay(flat: Tensor) -> Tensor:
        return flat.new_zeros(mask.shape).masked_scatter(mask, flat)

    return TokenStats(
        logprobs=lay(reading.logprobs),
        entropy=lay(reading.entropy) if with_entropy else None,
        values=None if values is None else lay(values),
    )
