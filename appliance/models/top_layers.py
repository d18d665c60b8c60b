"""Training only the last k blocks: the trunk below is frozen, shared with the reference, and run once per rollout."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from appliance.errors import ModelError


class _Replay(nn.Module):
    """Stands in for a trunk block: the first returns the trunk's stored output, the others what they are given."""

    def __init__(self, output: Tensor | None, as_tuple: bool) -> None:
        super().__init__()
        self.output, self.as_tuple = output, as_tuple

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor | tuple[Tensor]:
        out = hidden_states if self.output is None else self.output
        return (out,) if self.as_tuple else out


class Tape:
    """What `TopLayers.recording` hears: the trunk's output [1, N, d]."""

    trunk: Tensor


class TopLayers:
    """The last `k` blocks of a model may change; frozen copies of them, on the same trunk, are the reference."""

    def __init__(self, model: PreTrainedModel, k: int) -> None:
        if model.config.is_encoder_decoder:
            raise ModelError(
                f"policy.train is top_layers, which {type(model).__name__}, an encoder-decoder, has no one stack for",
                "use train: lora (with lora.last_layers for the decoder's last blocks) or train: full",
            )
        self.blocks = decoder_blocks(model)
        if k >= len(self.blocks):
            raise ModelError(
                f"policy.top_layers is {k}, but the model has {len(self.blocks)} blocks",
                f"set top_layers to at most {len(self.blocks) - 1}, or train: full",
            )
        self.first = len(self.blocks) - k
        model.requires_grad_(False)
        self.frozen = [_copy(block) for block in self.blocks[self.first :]]
        for block in self.blocks[self.first :]:
            block.requires_grad_(True)
        self._as_tuple = False

    @contextmanager
    def recording(self) -> Iterator[Tape]:
        """Inside, one forward of the model leaves the trunk's output on the tape."""
        tape = Tape()

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tape.trunk = args[0] if args else kwargs["hidden_states"]

        def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._as_tuple = isinstance(output, tuple)

        handles = [
            self.blocks[self.first].register_forward_pre_hook(before, with_kwargs=True),
            self.blocks[self.first].register_forward_hook(after),
        ]
        try:
            yield tape
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def replaying(self, trunk: Tensor) -> Iterator[None]:
        """Inside, a forward of the model starts from `trunk` [1, N, d] instead of running the trunk's blocks."""
        stand_ins = [_Replay(trunk if i == 0 else None, self._as_tuple) for i in range(self.first)]
        with self._swapped(dict(enumerate(stand_ins))):
            yield

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Inside, the model is the starting policy."""
        with self._swapped({self.first + i: block for i, block in enumerate(self.frozen)}):
            yield

    @contextmanager
    def _swapped(self, others: dict[int, nn.Module]) -> Iterator[None]:
        mine = {index: self.blocks[index] for index in others}
        for index, module in others.items():
            self.blocks[index] = module
        try:
            yield
        finally:
            for index, module in mine.items():
                self.blocks[index] = module


def _copy(block: nn.Module) -> nn.Module:
    """The block with weights of its own and the model's config, which says how its attention is computed."""
    configs = [m.config for m in block.modules() if isinstance(getattr(m, "config", None), PreTrainedConfig)]
    return copy.deepcopy(block, {id(config): config for config in configs})


def decoder_blocks(model: nn.Module, of: PreTrainedModel | None = None) -> nn.ModuleList:
    """The model's list of blocks, whatever its architecture calls it. Raises ModelError if there is none.

    `model` may be the decoder of the encoder-decoder `of`.
    """
    whole = of if of is not None else model
    assert isinstance(whole, PreTrainedModel)
    config = whole.config.get_text_config()
    wanted = config.num_hidden_layers
    if whole.config.is_encoder_decoder:
        wanted = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None) or wanted
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise ModelError(f"{type(whole).__name__} has no list of {wanted} blocks", "use train: lora or train: full")
