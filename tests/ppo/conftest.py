"""What the PPO tests share: recorded numbers of other implementations, a learner over a tiny GPT-2, a batch for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from appliance.config import PpoConfig
from appliance.models.policy import Policy
from appliance.ppo.memory import ChunkSize
from appliance.ppo.types import Batch, Prompts, Responses
from appliance.ppo.update import Learner, Progress, make_learner, update

PROMPT_LENGTHS = [3, 7, 1, 5, 2, 6, 4, 3]
RESPONSE_LENGTHS = [6, 2, 9, 1, 5, 3, 9, 4]  # 39 tokens


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Three ragged rows and what TRL 0.11, verl and OpenRLHF agree on for them, as float64 tensors."""
    recorded = json.loads((Path(__file__).parent / "golden_ppo.json").read_text())
    made = {k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for k, v in recorded.items()}
    return made | {"mask": made["mask"].bool()}


@pytest.fixture
def make_gpt2_learner(
    folder_of: Callable[[str], Path], make_policy: Callable[..., Policy], ppo_config: Callable[..., PpoConfig]
) -> Callable[..., Learner]:
    """make_gpt2_learner("lora", ppo={...}): a new learner over the tiny GPT-2; one optimizer step in the whole run."""

    def make(train: str = "full", **sections: Any) -> Learner:
        folder = folder_of("gpt2")
        chosen = {"train": train} | ({"top_layers": 1} if train == "top_layers" else {})
        config = ppo_config(folder, **({"policy": chosen, "batch": {"steps": 1, "rollout": 8}} | sections))
        return make_learner(make_policy(folder, **chosen), config)

    return make


@pytest.fixture
def eight(
    sequences: Callable[..., tuple[Prompts, Responses]], make_batch: Callable[..., Batch]
) -> Callable[[Learner], Batch]:
    """eight(learner): a batch of eight ragged rows that the learner's policy has just been read on."""

    def make(learner: Learner) -> Batch:
        prompts, responses = sequences(PROMPT_LENGTHS, RESPONSE_LENGTHS)
        return make_batch(learner.policy, prompts, responses, temperature=learner.config.sampling.temperature)

    return make


@pytest.fixture
def run_update(chunk: Callable[..., ChunkSize]) -> Callable[..., Progress]:
    """run_update(learner, batch, plan): `update` with step 0, a KL price of 0.1 and micro-batches of `size`."""

    def run(
        learner: Learner,
        batch: Batch,
        plan: Tensor | None = None,
        *,
        size: int = 8,
        progress: Progress | None = None,
        **changes: Any,
    ) -> Progress:
        plan = torch.arange(len(batch.scores))[None] if plan is None else plan
        progress = progress or Progress()
        options = {"step": 0, "kl_coef": 0.1, "chunk": chunk(size), "stop": lambda: False} | changes
        update(learner, batch, plan, progress, **options)
        return progress

    return run


@pytest.fixture
def gradients_of() -> Callable[[Learner], list[dict[str, Tensor]]]:
    """gradients_of(learner): a list that gets every optimizer step's gradients, by name, after clipping."""

    def watch(learner: Learner) -> list[dict[str, Tensor]]:
        seen: list[dict[str, Tensor]] = []

        def record(*_: Any) -> None:
            seen.append({n: p.grad.clone() for n, p in learner.parameters.items() if p.grad is not None})

        learner.optimizer.register_step_pre_hook(record)
        return seen

    return watch


@pytest.fixture
def snapshot() -> Callable[[Learner], list[Tensor]]:
    """snapshot(learner): copies of all weights and of the optimizer's moments and counts, in a fixed order."""

    def take(learner: Learner) -> list[Tensor]:
        held = [p.detach().clone() for p in learner.parameters.values()]
        for entry in learner.optimizer.state_dict()["state"].values():
            held += [torch.as_tensor(value).clone() for value in entry.values()]
        return held

    return take
