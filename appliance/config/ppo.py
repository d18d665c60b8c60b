"""The PPO config. Three batch sizes only, all in sequences: rollout >= minibatch >= microbatch."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from appliance import parts
from appliance.config.base import (
    Decay,
    ModelSource,
    NonNegative,
    NonNegativeFloat,
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


class Lora(Section):
    """LoRA adapters on the policy; the reference is the same model with the adapters off."""

    rank: Positive = Field(8, description="rank r of the adapters")
    alpha: PositiveFloat = Field(16.0, description="the update is scaled by alpha / rank")
    targets: tuple[str, ...] | None = Field(None, description="module names; none: peft's choice for the architecture")
    dropout: Decay = Field(
        0.0, description="share of an adapter's inputs dropped in supervised fine-tuning; PPO uses none"
    )
    last_layers: Positive | None = Field(None, description="adapters on the last N blocks alone; none: on all")


class Policy(ModelSource):
    """The model that learns, and which of its weights may change."""

    train: Literal["full", "lora", "top_layers"] = Field(
        "full", description="full: every weight; lora: adapters; top_layers: the last k blocks, trunk frozen and shared"
    )
    lora: Lora = Field(Lora(), description="used when train is lora")
    top_layers: Positive = Field(2, description="k, used when train is top_layers")
    adapter: str | None = Field(
        None, description="folder of a LoRA adapter to go on from, with train: lora; its rank rules"
    )
    quantize: Literal["none", "8bit", "4bit"] = Field(
        "none", description="base weights under LoRA in 8 or 4 bits; needs bitsandbytes and a GPU"
    )

    @model_validator(mode="after")
    def _adapters_are_trained(self) -> "Policy":
        if self.train != "lora" and self.quantize != "none":
            raise ValueError(f"quantize: {self.quantize} goes with train: lora. Set it, or quantize: none")
        if self.train != "lora" and self.adapter is not None:
            raise ValueError("adapter goes with train: lora. Set it, or leave adapter out")
        return self


class Critic(Section):
    """What predicts the return: a head on the policy's trunk, or a model of its own."""

    kind: Literal["value_head", "separate"] = Field("value_head", description="value_head shares the policy's trunk")
    model: str | None = Field(None, description="separate: folder or hub id of the reward model it starts from")
    learning_rate: PositiveFloat | None = Field(None, description="peak learning rate; none: the optimizer's")

    @model_validator(mode="after")
    def _separate_has_a_model(self) -> "Critic":
        if (self.kind == "separate") != (self.model is not None):
            raise ValueError("model goes with kind: separate. Set both, or neither")
        return self


class Prompts(TextSource):
    """The texts that the policy continues."""

    column: str | None = Field(None, description="column that holds the text; none: guessed, and said")
    template: Template | None = Field(
        None, description="prompt with {column} names that each row fills; none: the text"
    )
    min_characters: NonNegative = Field(0, description="drop shorter texts, before the template")
    max_characters: Positive | None = Field(None, description="drop longer texts, before the template")
    first_words: Positive | None = Field(None, description="keep only the first N words of each text")
    keep_tokens: TokenRange | None = Field(None, description="drop prompts whose length is outside, after the template")
    length_tokens: TokenRange | None = Field(None, description="cut each to a random length in it; none: whole texts")


class Sampling(Section):
    """How the policy writes. Log-probs are of the distribution at this temperature."""

    response_tokens: TokenRange = Field(TokenRange(low=16, high=24), description="each response's limit, drawn from it")
    temperature: float = Field(
        1.0, ge=0.01, allow_inf_nan=False, description="divides the logits, in sampling and in training"
    )
    top_k: NonNegative = Field(0, description="0: off; anything else samples from what is not trained")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="1: off; below 1 samples from what is not trained"
    )
    stop_at_eos: bool = Field(True, description="false: go on to the limit and train on what follows")
    engine: str = Field("auto", description="generation engine: auto, or a file name in appliance/engines")

    @model_validator(mode="after")
    def _engine_exists(self) -> "Sampling":
        if self.engine != "auto" and self.engine not in parts.names("engines"):
            raise ValueError(f"engine {self.engine!r} is unknown. Choose auto, {', '.join(parts.names('engines'))}")
        return self


class Batch(Section):
    """Batch sizes in sequences, and how many rollouts there are."""

    steps: Positive = Field(194, description="rollouts, each followed by its PPO epochs")
    rollout: Positive = Field(128, description="responses sampled per step")
    minibatch: Positive = Field(128, description="responses per optimizer step; divides rollout; default: rollout")
    microbatch: Positive = Field(
        128, description="responses per forward and backward; divides minibatch, the default; halved if memory runs out"
    )

    _fill = model_validator(mode="before")(fill_from_larger("rollout", "minibatch", "microbatch"))
    _divide = model_validator(mode="after")(each_divides("rollout", "minibatch", "microbatch"))


class Ppo(Section):
    """The clipped objective. Sources: Schulman et al. 2017 (PPO) and 2016 (GAE)."""

    epochs: Positive = Field(4, description="passes over each rollout")
    clip: PositiveFloat = Field(0.2, description="the ratio is clipped to 1 +- this")
    dual_clip: Annotated[float, Field(gt=1)] | None = Field(
        None, description="floor factor for negative advantages; none: off"
    )
    value_clip: PositiveFloat | None = Field(0.2, description="values move at most this far per rollout; none: off")
    value_coef: NonNegativeFloat = Field(0.1, description="weight of the value loss")
    entropy_coef: NonNegativeFloat = Field(0.0, description="weight of the entropy bonus")
    gamma: Share = Field(1.0, description="discount per token")
    lam: Share = Field(0.95, description="GAE lambda")
    whiten_advantages: bool = Field(True, description="mean 0, std 1 over the whole rollout")
    max_ratio: PositiveFloat = Field(10.0, description="an optimizer step whose mean ratio is above this is skipped")
    stop_kl: PositiveFloat | None = Field(
        None, description="end the epochs when approx_kl (nats per token) passes this; none: off"
    )


class Kl(Section):
    """The price of drifting away from the starting policy. Nats per sequence = sum over a response's tokens."""

    placement: Literal["reward", "loss"] = Field(
        "reward", description="subtracted from each token's reward, or added to the loss"
    )
    estimator: Literal["k1", "k2", "k3", "abs"] = Field("k1", description="k1 suits the reward, k2 or k3 the loss")
    coef: NonNegativeFloat = Field(0.2, description="price per nat at the start")
    adaptive: bool = Field(True, description="raise or lower coef towards the target")
    target_nats_per_sequence: PositiveFloat = Field(6.0, description="adaptive: the KL per response to keep")
    horizon_sequences: Positive = Field(
        10_000, description="adaptive: responses over which coef may change by its full step"
    )

    @model_validator(mode="after")
    def _k1_in_the_loss_teaches_nothing(self) -> "Kl":
        if self.placement == "loss" and self.estimator == "k1":
            raise ValueError("k1 in the loss has a gradient of zero on average. Use k2 or k3, or placement: reward")
        return self


class Scores(Section):
    """What happens to the reward source's scores before they become rewards."""

    scale: Literal["none", "running"] = Field("none", description="running: divide by the running standard deviation")
    center: bool = Field(False, description="running: also subtract the running mean")
    clip: PositiveFloat | None = Field(None, description="scores are clipped to +- this, after scaling; none: off")
    whiten_rewards: bool = Field(
        False, description="divide the token rewards (KL included) by their std; the mean stays"
    )
    missing_eos: Literal["off", "replace", "subtract", "drop"] = Field(
        "off",
        description="for a response cut at its limit: its score becomes, or loses, the penalty; or it is not trained on",
    )
    missing_eos_penalty: float = Field(
        1.0, allow_inf_nan=False, description="replace: the score becomes minus this; subtract: it loses this"
    )

    @model_validator(mode="after")
    def _center_needs_scale(self) -> "Scores":
        if self.center and self.scale == "none":
            raise ValueError("center goes with scale: running. Set it, or center: false")
        return self


class Evaluation(Section):
    """Held-out prompts scored before training, every N steps, and in the report."""

    every_steps: Positive = Field(20, description="score the held-out prompts every N steps, and before the first")
    prompts: Positive = Field(32, description="how many held-out prompts to score during training")
    prompts_file: str | None = Field(None, description="prompts to score during training; none: held out")
    samples: Positive = Field(1, description="responses per prompt scored during training")
    report_prompts: Positive = Field(
        15, description="how many other held-out prompts the before/after report uses; without report_file"
    )
    report_samples: Positive = Field(8, description="responses per prompt in the report, before and after")
    report_file: str | None = Field(
        None, description="prompts for the report, one per line or a column; none: held out"
    )
    second_opinion: dict[str, Any] | None = Field(
        None, description="another reward source that PPO never sees; the report compares it"
    )


class Checkpoint(Section):
    """What is kept of a run while it trains. The newest and the best by score minus KL are never pruned."""

    every_steps: Positive = Field(20, description="write a checkpoint every N steps, and at the end")
    keep: Positive = Field(2, description="newest checkpoints to keep, besides the best")
    result: Literal["last", "best"] = Field("last", description="which policy becomes the result")


class Alarms(Section):
    """Limits; crossing one is written to events.jsonl and to the report. Training goes on."""

    kl_nats_per_sequence: PositiveFloat = Field(20.0, description="KL to the starting policy above this")
    entropy_share: Share = Field(0.3, description="entropy below this share of its first value")
    distinct_2_share: Share = Field(0.5, description="distinct word pairs below this share of their first value")
    length_correlation: Share = Field(0.5, description="length up by a fifth, and correlated with the score above this")
    ended_share: Share = Field(0.05, description="share of responses that end by themselves below this; 0: off")
    saturated_share: Share = Field(0.5, description="share of scores at the clip, or all equal, above this")


class PpoConfig(StageConfig):
    """Everything that `appliance train ppo` needs."""

    stage: Literal["ppo"] = Field("ppo", description="which stage this file is for")
    compile: bool = Field(
        False,
        description="on a CPU: the policy as one program compiled at the start (a minute, needs g++), faster in long runs",
    )
    policy: Policy
    critic: Critic = Critic()
    reward: dict[str, Any] = Field(description="source: a file name in appliance/rewards; the rest are its options")
    prompts: Prompts
    sampling: Sampling = Sampling()
    batch: Batch = Batch()
    ppo: Ppo = Ppo()
    kl: Kl = Kl()
    scores: Scores = Scores()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint = Checkpoint()
    alarms: Alarms = Alarms()

    @model_validator(mode="after")
    def _missing_eos_needs_eos(self) -> "PpoConfig":
        if self.scores.missing_eos != "off" and not self.sampling.stop_at_eos:
            raise ValueError("scores.missing_eos goes with sampling.stop_at_eos: true. Set it, or missing_eos: off")
        return self

    @model_validator(mode="after")
    def _compiles_on_a_cpu(self) -> "PpoConfig":
        if self.compile and self.device == "cuda":
            raise ValueError("compile: true is for a CPU. Set compile: false, or device: cpu")
        if self.compile and self.policy.train == "top_layers":
            raise ValueError(
                "compile: true goes with policy.train: full or lora; of top_layers the trunk is run only once. "
                "Set one of them, or compile: false"
            )
        if self.sampling.engine == "compiled" and not self.compile:
            raise ValueError("sampling.engine: compiled needs compile: true. Set it, or engine: auto")
        return self
