"""The config of supervised fine-tuning (TRL's SFTTrainer)."""

from typing import Literal

from pydantic import Field, model_validator

from appliance.config.base import (
    ModelSource,
    Optimizer,
    Positive,
    PositiveFloat,
    Section,
    StageConfig,
    Template,
    TextSource,
    each_divides,
    fill_from_larger,
)
from appliance.config.ppo import Lora


class Demonstrations(TextSource):
    """The texts to imitate."""

    column: str | None = Field(None, description="column that holds the text; none: guessed, and said")
    prompt_column: str | None = Field(
        None, description="column with the prompt, which is not trained on; none: no prompt"
    )
    template: Template | None = Field(
        None, description="prompt with {column} names that each row fills; none: the prompt"
    )
    held_out_share: float = Field(
        0.05, ge=0, lt=1, description="share of rows for the validation loss; same prompt, same side"
    )


class SftTraining(Section):
    """How long and how much at a time."""

    epochs: PositiveFloat = Field(1.0, description="passes over the texts")
    max_steps: Positive | None = Field(None, description="stop after N optimizer steps; none: after the epochs")
    batch: Positive = Field(32, description="texts per optimizer step")
    microbatch: Positive = Field(32, description="texts per forward and backward; divides batch, the default")
    max_length_tokens: Positive = Field(512, description="longer texts are cut here")
    packing: bool = Field(False, description="fill each row with several texts")

    _fill = model_validator(mode="before")(fill_from_larger("batch", "microbatch"))
    _divide = model_validator(mode="after")(each_divides("batch", "microbatch"))


class SftConfig(StageConfig):
    """Everything that `appliance train sft` needs."""

    stage: Literal["sft"] = Field("sft", description="which stage this file is for")
    policy: ModelSource
    lora: Lora | None = Field(None, description="train adapters and merge them at the end; none: every weight")
    data: Demonstrations
    training: SftTraining = SftTraining()
    optimizer: Optimizer = Optimizer(learning_rate=2e-5)
