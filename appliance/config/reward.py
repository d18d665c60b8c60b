"""The config of reward-model training (TRL's RewardTrainer)."""

from typing import Literal

from pydantic import Field, model_validator

from appliance.config.base import (
    ModelSource,
    Optimizer,
    Positive,
    PositiveFloat,
    Section,
    StageConfig,
    TextSource,
    each_divides,
    fill_from_larger,
)


class Preferences(TextSource):
    """Pairs of responses to one prompt, the better one named. Columns prompt, chosen, rejected (prompt may be absent)."""

    held_out_share: float = Field(0.1, gt=0, lt=1, description="share of prompts held out for the accuracy")


class RewardTraining(Section):
    """How long and how much at a time."""

    epochs: PositiveFloat = Field(1.0, description="passes over the pairs")
    max_steps: Positive | None = Field(None, description="stop after N optimizer steps; none: after the epochs")
    batch: Positive = Field(32, description="pairs per optimizer step")
    microbatch: Positive = Field(32, description="pairs per forward and backward; divides batch, the default")
    max_length_tokens: Positive = Field(512, description="pairs with a longer side are dropped, and counted")
    center_coef: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="pulls the scores towards mean 0 with this weight; none: off"
    )

    _fill = model_validator(mode="before")(fill_from_larger("batch", "microbatch"))
    _divide = model_validator(mode="after")(each_divides("batch", "microbatch"))


class RewardConfig(StageConfig):
    """Everything that `appliance train reward` needs."""

    stage: Literal["reward"] = Field("reward", description="which stage this file is for")
    model: ModelSource
    data: Preferences
    training: RewardTraining = RewardTraining()
    optimizer: Optimizer = Optimizer(learning_rate=2e-5)
