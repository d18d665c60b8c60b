"""The config of reward-model training (TRL's RewardTrainer)."""

from typing import Literal

from pydantic import Field, model_validator

from appliance.config.base import (
    ModelSource,
    NonNegative,
    Optimizer,
    Positive,
    PositiveFloat,
    Section,
    Share,
    StageConfig,
    Template,
    TextSource,
    TokenRange,
    each_divides,
    fill_from_larger,
)
from appliance.config.ppo import Prompts


class Preferences(TextSource):
    """Pairs of responses to one prompt, the better one named. Columns prompt, chosen, rejected (prompt may be absent)."""

    format: Literal["auto", "pairs", "hh", "nemo", "ranked"] = Field(
        "auto",
        description="auto: by the columns; pairs: prompt, chosen, rejected; hh, nemo, ranked: see appliance data",
    )
    template: Template | None = Field(
        None, description="prompt with {column} names that each row fills; none: the prompt"
    )
    held_out_share: float = Field(0.1, gt=0, lt=1, description="share of prompts held out for the accuracy")


class RewardTraining(Section):
    """How long and how much at a time."""

    epochs: PositiveFloat = Field(1.0, description="passes over the rankings; a pair is a ranking of two")
    max_steps: Positive | None = Field(None, description="stop after N optimizer steps; none: after the epochs")
    batch: Positive = Field(32, description="rankings per optimizer step; each counts once, whatever its size")
    microbatch: Positive = Field(
        32, description="rankings per forward and backward, with all their responses; divides batch, the default"
    )
    loss: Literal["pairs", "plackett_luce"] = Field(
        "pairs", description="of ranked lists: all their pairs, or the likelihood of the whole order; equal for pairs"
    )
    max_length_tokens: Positive = Field(
        512, description="longer responses (with their prompt) are dropped, and counted; of a pair, the pair"
    )
    center_coef: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="pulls the scores towards mean 0 with this weight; none: off"
    )

    _fill = model_validator(mode="before")(fill_from_larger("batch", "microbatch"))
    _divide = model_validator(mode="after")(each_divides("batch", "microbatch"))


class StartingPolicy(ModelSource):
    """The policy that PPO will begin with."""

    adapter: str | None = Field(None, description="folder of the LoRA adapter that PPO goes on from, if it does")


class Normalization(Section):
    """Scores of a starting policy's own responses become mean 0 and standard deviation 1."""

    policy: StartingPolicy
    prompts: Prompts | None = Field(None, description="what it continues; none: the held-out rankings' prompts")
    samples: Positive = Field(256, description="responses to sample")
    response_tokens: TokenRange = Field(TokenRange(low=16, high=48), description="each response's limit, drawn from it")


class QualityGate(Section):
    """What a reward model must reach on held-out pairs; below it, PPO warns before it uses the model."""

    min_accuracy: Share = Field(0.6, description="held-out accuracy below this")
    beat_longer: bool = Field(
        True, description="true: also when it is not better (p < 0.05) than choosing the longer response"
    )
    min_pairs: NonNegative = Field(50, description="also when fewer pairs were held out than this")


class RewardConfig(StageConfig):
    """Everything that `appliance train reward` needs."""

    stage: Literal["reward"] = Field("reward", description="which stage this file is for")
    model: ModelSource
    data: Preferences
    training: RewardTraining = RewardTraining()
    normalization: Normalization | None = Field(None, description="none: by the held-out responses' own scores")
    gate: QualityGate = QualityGate()
    optimizer: Optimizer = Optimizer(learning_rate=2e-5)
