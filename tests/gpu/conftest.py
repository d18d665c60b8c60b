"""Everything here needs a GPU and is skipped without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from appliance.config import PpoConfig
from appliance.models.build import build_policy
from appliance.models.policy import Policy
from appliance.models.precision import Precision


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(params=["fp32", "bf16"])
def compute(request: pytest.FixtureRequest) -> str:
    """Both precisions in turn."""
    return request.param


@pytest.fixture
def gpu_policy(ppo_config: Callable[..., PpoConfig]) -> Callable[..., Policy]:
    """gpu_policy(folder, "bf16", train="lora"): a policy on the GPU whose value head is not zero."""

    def make(folder: Path, compute: str, train: str = "full", **policy: Any) -> Policy:
        config = ppo_config(folder, policy={"train": train} | policy)
        built, _ = build_policy(config, Precision(torch.device("cuda"), compute))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in built.critic.parameters():
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
        return built

    return make
