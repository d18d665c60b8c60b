"""What every config section shares: frozen, unknown keys refused, and the field types that carry a range."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen section of a config; unknown keys are refused (the loader names the nearest known one)."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def fill_from_larger(*sizes: str) -> Callable[[Any], Any]:
    """A `before` validator: each batch size that is not given is the next larger one that is."""

    def fill(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for large, small in pairwise(sizes):
            if large in filled:
                filled.setdefault(small, filled[large])
        return filled

    return fill


def each_divides(*sizes: str) -> Callable[[Any], Any]:
    """An `after` validator: each batch size divides the one named before it."""

    def check(section: Any) -> Any:
        for large, small in pairwise(sizes):
            part, whole = getattr(section, small), getattr(section, large)
            if whole % part:
                divisors = [d for d in range(1, whole + 1) if whole % d == 0]
                near = sorted(sorted(divisors, key=lambda d: abs(d - part))[:2])
                raise ValueError(f"{small} {part} does not divide {large} {whole}. Use {' or '.join(map(str, near))}")
        return section

    return check


class TokenRange(Section):
    """A range of lengths in tokens, both ends included; in YAML also written `[2, 8]`."""

    low: Positive
    high: Positive

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, value: object) -> object:
        if isinstance(value, list | tuple) and len(value) == 2:
            return {"low": value[0], "high": value[1]}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "TokenRange":
        if self.low > self.high:
            raise ValueError(f"the range [{self.low}, {self.high}] is empty. Write the smaller number first")
        return self


class ModelSource(Section):
    """A model: a local folder in Hugging Face format, or a hub id (with a revision, so that it stays the same)."""

    model: str = Field(min_length=1, description="local folder or hub id; safetensors only")
    revision: str | None = Field(None, description="hub revision (commit, tag or branch); ignored for a folder")


class TextSource(Section):
    """Where texts come from: a file, a folder of the `datasets` library, or a hub data set."""

    source: str = Field(min_length=1, description="file (.txt .csv .tsv .jsonl .json .parquet), folder, or hub id")
    revision: str | None = Field(None, description="hub revision; ignored for files and folders")
    split: str = Field("train", description="split of a folder or hub data set; ignored for files")
    limit: Positive | None = Field(None, description="use only the first N rows")


class Optimizer(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: PositiveFloat = Field(1.41e-5, description="peak learning rate")
    betas: tuple[Decay, Decay] = Field((0.9, 0.95), description="AdamW moments' decay")
    eps: PositiveFloat = Field(1e-5, description="AdamW epsilon; 1e-8 makes the first steps larger")
    weight_decay: NonNegativeFloat = Field(0.0, description="decoupled weight decay")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="shape after the warm-up")
    warmup_share: Share = Field(0.0, description="share of the optimizer steps with a rising learning rate")
    final_share: Share = Field(0.0, description="learning rate at the end, as a share of the peak; not for constant")
    max_grad_norm: PositiveFloat = Field(1.0, description="gradients are clipped to this global norm")


Template = Annotated[str, Field(pattern=r"\{[A-Za-z_][A-Za-z0-9_ -]*\}")]
"""A text with the names of columns in braces, which each row's values replace: `Summarize: {dialogue} Summary:`."""

Device = Literal["auto", "cpu", "cuda"]
Compute = Literal["auto", "fp32", "bf16"]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class StageConfig(Section):
    """What every stage has: a name, a seed, and the hardware it asks for."""

    name: RunName = Field("run", description="names the run's folder; letters, digits, . _ -")
    seed: NonNegative = Field(1, le=2**32 - 1, description="seeds data order, sampling and new weights")
    device: Device = Field("auto", description="auto takes a GPU when there is one; cuda fails without one")
    compute: Compute = Field(
        "auto", description="precision of matrix products; auto: bf16 on a GPU that has it, else fp32"
    )
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        (), description="accelerate trackers to log to, besides metrics.jsonl"
    )
