"""What a PPO run holds in every phase, in bytes: weights, optimizer, and what its generation engine keeps."""

import math
from dataclasses import dataclass, field
from functools import cached_property

from appliance.config import PpoConfig
from appliance.plan import activations as act
from appliance.plan.activations import FP32, Numbers, Size, Trained
from appliance.plan.shapes import Shape, lora_weights

QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Of a weight of a linear layer: nf4 has a scale of one byte for every 64 weights, and one of four for 256 of those."""


@dataclass(frozen=True)
class Reward:
    """A model that scores: its shape (None: of unknown architecture), its weights, texts at a time, most tokens."""

    shape: Shape | None
    weights: int
    microbatch: int
    tokens: int | None


@dataclass(frozen=True)
class Standing:
    """A PPO run on one device. `rows` are the responses that are generated, and read, at a time."""

    config: PpoConfig
    shape: Shape
    cuda: bool
    bf16: bool
    prompt: int
    critic: Shape | None = None
    rewards: tuple[Reward, ...] = ()
    adapter: int | None = None  # weights of policy.adapter, where its file is here
    runtime: float = 0.0
    generate_rows: int = field(default=0)
    evaluate_rows: int = field(default=0)
    report_rows: int = field(default=0)

    @cached_property
    def halved(self) -> bool:
        """Whether the base weights are bf16, or fewer bits (see models/build.py)."""
        source = self.config.policy
        return source.quantize != "none" or (source.train == "lora" and self.cuda and self.bf16)

    @cached_property
    def numbers(self) -> Numbers:
        """The widths of the policy's tensors."""
        return act.numbers(cuda=self.cuda, bf16=self.bf16, halved=self.halved)

    @cached_property
    def trained(self) -> Trained:
        """What the policy's backward pass goes through."""
        source, shape = self.config.policy, self.shape
        if source.train == "full":
            return Trained(shape.layers, weights=True)
        if source.train == "top_layers":
            return Trained(min(source.top_layers, shape.layers), weights=True)
        names = source.lora.targets or shape.kind.lora
        last = shape.decoder_layers if shape.seq2seq else shape.layers
        return Trained(min(last, source.lora.last_layers or last), weights=False, adapted=tuple(names))

    @cached_property
    def adapters(self) -> int:
        """Weights of the LoRA adapters that learn."""
        source = self.config.policy
        if source.train != "lora":
            return 0
        return self.adapter or lora_weights(self.shape, source.lora.rank, source.lora.targets, source.lora.last_layers)

    @cached_property
    def trainable(self) -> int:
        """Weights that learn, the critic's included."""
        source, shape = self.config.policy, self.shape
        policy = {"full": shape.parameters, "top_layers": self.trained.layers * shape.block, "lora": self.adapters}
        critic = shape.hidden + 1 if self.critic is None else trunk(self.critic) + self.critic.hidden + 1
        return policy[source.train] + critic

    @cached_property
    def everything(self) -> int:
        """Weights of the policy with its adapters and critic, as a run counts them."""
        critic = self.shape.hidden + 1 if self.critic is None else trunk(self.critic) + self.critic.hidden + 1
        return self.shape.parameters + self.adapters + critic

    @cached_property
    def base(self) -> float:
        """Bytes of the policy's own weights."""
        kind, whole = self.config.policy.quantize, self.shape.parameters
        if kind == "none":
            return whole * (2 if self.halved else FP32)
        inner = self.shape.matrix_weights
        return inner * QUANTIZED_BYTES[kind] + (whole - inner) * 2

    @cached_property
    def scorers(self) -> float:
        """Bytes of the reward models, fp32."""
        return sum(FP32 * reward.weights for reward in self.rewards)

    @cached_property
    def weights(self) -> float:
        """Bytes of all weights: policy, adapters, reference, critic, reward models."""
        source = self.config.policy
        total = self.base + FP32 * self.adapters * (2 if source.adapter else 1) + self.scorers
        if source.train == "full":
            total += FP32 * self.shape.parameters
        if source.train == "top_layers":
            total += FP32 * self.trained.layers * self.shape.block
        return total + (FP32 * trunk(self.critic) if self.critic is not None else 0)

    @cached_property
    def casts(self) -> float:
        """Bytes of the bf16 copies that autocast keeps of weights that learn, while a pass is under way."""
        if not self.numbers.cast:
            return 0.0
        source = self.config.policy
        policy = {
            "full": self.shape.matrix_weights + self.shape.embedding,
            "top_layers": self.trained.layers * matrices(self.shape),
            "lora": self.adapters,
        }
        critic = self.critic.matrix_weights if self.critic is not None else 0
        return 2.0 * (policy[source.train] + critic)

    @cached_property
    def engine(self) -> str:
        """Which engine writes (see engines/_choice.py)."""
        wanted = self.config.sampling.engine
        if not self.shape.kind.packs:
            return "plain"
        if self.config.policy.quantize != "none" and wanted in ("auto", "cuda_graph", "compiled"):
            return "eager"
        if wanted in ("auto", "compiled"):
            return "compiled" if self.config.compile else "cuda_graph" if self.cuda else "eager"
        return wanted

    @property
    def response(self) -> int:
        """The most tokens of a response."""
        return self.config.sampling.response_tokens.high

    @property
    def width(self) -> int:
        """Tokens that are read of the longest sequence."""
        return self.prompt + self.response - 1

    @cached_property
    def shadow(self) -> float:
        """Bytes of the bf16 copies that captured and compiled graphs read."""
        cast = self.numbers.cast if self.engine == "cuda_graph" else self.numbers.cpu_bf16
        if self.engine not in ("cuda_graph", "compiled") or not cast:
            return 0.0
        return 2.0 * (self.adapters if self.halved else self.shape.matrix_weights + self.shape.embedding)

    @cached_property
    def kept_caches(self) -> float:
        """Bytes that captured graphs hold between generations: caches of the rollout's size and of the held-out prompts'."""
        if self.engine != "cuda_graph":
            return 0.0
        evaluation = self.config.evaluation
        asked = (self.config.batch.rollout, evaluation.prompts * evaluation.samples)
        sizes = {rounded_rows(min(count, self.rows("generate"))) for count in asked}
        return sum(self.static_cache(rows) + max(self.step(rows), self.drawing(rows)) for rows in sizes)

    def static_cache(self, rows: int) -> float:
        """Bytes of a cache that a graph writes to."""
        tokens = -(-(self.prompt + self.response) // 64) * 64
        return 2.0 * self.shape.layers * rows * tokens * self.shape.kv_width * self.numbers.compute

    def rows(self, phase: str) -> int:
        """Sequences at a time."""
        chosen = self.generate_rows if phase == "generate" else self.evaluate_rows
        return chosen or self.config.batch.rollout

    @cached_property
    def held(self) -> dict[str, float]:
        """What is there in every phase of training once it runs."""
        return {
            "weights": self.weights + self.shadow,
            "optimizer": 2.0 * FP32 * self.trainable,
            "cache": self.kept_caches,
            "runtime": self.runtime,
        }

    def drawing(self, rows: int) -> float:
        """Bytes of drawing a token for each row."""
        sampling = self.config.sampling
        cut = bool(sampling.top_k) or sampling.top_p < 1
        return act.drawing(self.shape, rows, self.numbers, heated=sampling.temperature != 1.0, cut=cut)

    def step(self, rows: int) -> float:
        """Bytes under way while one token of each row is read: of a block, and of keys repeated for every head."""
        n, shape = self.numbers, self.shape
        columns = self.prompt + self.response
        under_way = act.passing_forward(shape, Size(rows, 1, 1), n, packed=False)
        if shape.kv_heads != shape.heads:
            under_way += 2 * rows * columns * shape.attention_width * n.compute
        if self.engine == "plain":  # a layer's keys are copied when they grow, and the encoder's states stay
            under_way += rows * (self.response if shape.seq2seq else columns) * shape.kv_width * n.compute
            under_way += rows * (self.prompt + 1) * shape.hidden * n.residual if shape.seq2seq else 0
        return under_way


def rounded_rows(count: int) -> int:
    """As in engines/cuda_graph.py: the next power of two up to 64, then the next multiple of 64."""
    return 1 << math.ceil(math.log2(count)) if count <= 64 else -(-count // 64) * 64


def matrices(shape: Shape) -> int:
    """Weights of one block's linear layers."""
    return sum(m.weights for m in shape.matrices)


def trunk(shape: Shape) -> int:
    """Weights of a decoder without its head."""
    return shape.parameters - (0 if shape.tied or shape.counted else shape.embedding)
