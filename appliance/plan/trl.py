"""The phases of supervised fine-tuning and of reward-model training in bytes: load and update (TRL's trainers)."""

from dataclasses import dataclass
from functools import cached_property

from appliance.config import RewardConfig, SftConfig
from appliance.plan import activations as act
from appliance.plan.activations import FP32, Numbers, Size, Trained
from appliance.plan.parts import Phase
from appliance.plan.shapes import Shape, lora_weights

TILE_TOKENS, TILE_WORDS = 4096, 32768
"""TRL makes logits in tiles of so many rows and columns, the columns also where the vocabulary is smaller."""


@dataclass(frozen=True)
class Training:
    """A training with one of TRL's trainers: rows are padded to the longest text, the weights are fp32."""

    config: SftConfig | RewardConfig
    shape: Shape
    cuda: bool
    bf16: bool
    runtime: float = 0.0

    @property
    def numbers(self) -> Numbers:
        """The widths of the tensors."""
        return act.numbers(cuda=self.cuda, bf16=self.bf16, halved=False)

    @property
    def lora(self) -> bool:
        """Whether only adapters learn."""
        return isinstance(self.config, SftConfig) and self.config.lora is not None

    @cached_property
    def adapters(self) -> int:
        """Weights of the adapters."""
        if not isinstance(self.config, SftConfig) or self.config.lora is None:
            return 0
        options = self.config.lora
        return lora_weights(self.shape, options.rank, options.targets, options.last_layers)

    @property
    def trainable(self) -> int:
        """Weights that learn."""
        return self.adapters if self.lora else self.shape.parameters

    @property
    def everything(self) -> int:
        """All weights."""
        return self.shape.parameters + self.adapters

    @property
    def trained(self) -> Trained:
        """What the backward pass goes through."""
        layers = self.shape.layers
        if isinstance(self.config, SftConfig) and self.config.lora is not None:
            options = self.config.lora
            names = options.targets or self.shape.kind.lora
            return Trained(min(layers, options.last_layers or layers), weights=False, adapted=tuple(names))
        return Trained(layers, weights=True)

    def load(self) -> Phase:
        """The model in its place."""
        return Phase("load", {"weights": float(FP32 * self.everything), "runtime": self.runtime})

    def update(self, microbatch: int) -> Phase:
        """Forward and backward of one micro-batch of the longest texts."""
        shape, n, trained = self.shape, self.numbers, self.trained
        width, sides = self.config.training.max_length_tokens, 2 if isinstance(self.config, RewardConfig) else 1
        size = Size(microbatch * sides, width, width)
        saved = act.saved_by_blocks(shape, size, trained, n, packed=False)
        saved += act.saved_at_the_end(shape, size, trained, n) + self.dropped(size)
        made = float(min(size.tokens, TILE_TOKENS) * TILE_WORDS * n.compute)
        if isinstance(self.config, RewardConfig):
            made = 0.0
        whole = FP32 * self.trainable
        begun = whole if microbatch < self.config.training.batch else 0.0
        head = FP32 * shape.embedding if isinstance(self.config, SftConfig) and not self.lora else 0.0
        held = {
            "weights": float(FP32 * self.everything) + (2.0 * shape.matrix_weights if n.cast else 0.0),
            "optimizer": 2.0 * FP32 * self.trainable,
            "runtime": self.runtime,
        }
        back = act.passing_back(shape, size, trained, n) + size.tokens * shape.hidden * FP32
        embedding = 0.0 if self.lora else float(FP32 * shape.embedding)
        moments = [
            held
            | {"gradients": begun + head, "activations": saved + size.tokens * shape.hidden * FP32, "logits": made},
            held | {"gradients": begun + head, "activations": saved + back, "logits": 0.0},
            held | {"gradients": whole + (embedding + head if begun else head), "activations": 0.0, "logits": 0.0},
        ]
        return Phase("update", max(moments, key=lambda parts: sum(parts.values())))

    def dropped(self, size: Size) -> float:
        """Bytes that dropout keeps: a mask after attention and feed-forward, and the probabilities where a CPU drops them."""
        if not self.shape.dropout:
            return 0.0
        masks = 2 * self.shape.hidden
        if self.numbers.cpu and self.shape.attention_dropout:  # probabilities, what is left of them, and their mask
            masks += self.shape.heads * size.width * 3 * FP32
        return float(size.tokens * masks * self.trained.layers)

    def phases(self, microbatch: int) -> tuple[Phase, ...]:
        """Both, in order."""
        return self.load(), self.update(microbatch)
