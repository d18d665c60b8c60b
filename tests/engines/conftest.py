"""Prompts that every engine answers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from appliance.ppo.types import Prompts

PROMPTS, LIMITS, WIDTH = [7, 1, 3, 5, 2, 6], [8, 3, 1, 8, 5, 8], 8


@pytest.fixture
def given(sequences: Callable[..., tuple[Prompts, object]]) -> tuple[Prompts, Tensor, Tensor]:
    """prompts, limits [B] and uniforms [B, WIDTH]."""
    prompts, _ = sequences(PROMPTS, [1] * len(PROMPTS))
    uniforms = torch.rand(len(PROMPTS), WIDTH, generator=torch.Generator().manual_seed(4))
    return prompts, torch.tensor(LIMITS), uniforms
