"""What a PPO run carries from step to step, as one record that goes into a checkpoint and comes back."""

from dataclasses import dataclass
from typing import Any

from appliance.config import PpoConfig
from appliance.ppo.advantages import Moments
from appliance.ppo.alarms import Watch
from appliance.ppo.feed import Dice, PromptFeed
from appliance.ppo.memory import ChunkSize, Notice
from appliance.ppo.types import Prompts


@dataclass
class Chunks:
    """How many sequences go through each piece of work at a time; halved when memory runs out."""

    generate: ChunkSize
    evaluate: ChunkSize
    score: ChunkSize
    update: ChunkSize

    def sizes(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {name: chunk.size for name, chunk in vars(self).items()}


@dataclass
class State:
    """Everything but the learner: rollouts done, the KL price, running moments, data order, random streams, alarms."""

    step: int
    kl_coef: float
    moments: Moments
    feed: PromptFeed
    dice: Dice
    watch: Watch
    chunks: Chunks
    best: dict[str, float] | None = None

    def record(self) -> dict[str, Any]:
        """What goes into a checkpoint's state.json; the random streams are kept as tensors beside it."""
        return {
            "step": self.step,
            "kl_coef": self.kl_coef,
            "moments": self.moments.state(),
            "feed": self.feed.state(),
            "watch": self.watch.state(),
            "chunks": self.chunks.sizes(),
            "best": self.best,
        }

    def restore(self, record: dict[str, Any]) -> None:
        """Become what `record` says."""
        self.step, self.kl_coef, self.best = record["step"], record["kl_coef"], record["best"]
        self.moments = Moments(**record["moments"])
        self.feed.restore(record["feed"])
        self.watch = Watch(self.watch.limits, **record["watch"], may_end=self.watch.may_end)
        for name, size in record["chunks"].items():
            getattr(self.chunks, name).size = size


def new_state(config: PpoConfig, prompts: Prompts, notice: Notice) -> State:
    """The state before the first step; `notice` hears when memory runs out."""
    batch = config.batch
    return State(
        step=0,
        kl_coef=config.kl.coef,
        moments=Moments(),
        feed=PromptFeed(prompts, config.seed),
        dice=Dice(config.seed),
        watch=Watch(config.alarms, may_end=config.sampling.stop_at_eos),
        chunks=Chunks(
            generate=ChunkSize("generation", batch.rollout, notice),
            evaluate=ChunkSize("the evaluation of responses", batch.rollout, notice),
            score=ChunkSize("scoring", batch.rollout, notice),
            update=ChunkSize("the update", batch.microbatch, notice),
        ),
    )
