"""What a PPO run is made of; `stages.ppo` puts it together from a config."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.ppo.types import Decode, Engine, Prompts, ScoreFn
from appliance.ppo.update import Learner

Stop = Callable[[], bool]
"""Whether the run was asked to stop."""


@dataclass(frozen=True)
class Pieces:
    """The learner, the engine that samples from its policy, the reward source, and the held-out prompts.

    `opinion` is a reward source that PPO never learns from, or None.
    """

    learner: Learner
    engine: Engine
    source: ScoreFn
    opinion: ScoreFn | None
    held_out: Prompts
    decode: Decode
