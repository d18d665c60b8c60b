"""Where PPO starts: the policy before its first step, and the adapter that it may go on from."""

from pathlib import Path

import torch

from appliance.config.ppo import Policy as PolicySource
from appliance.errors import ModelError
from appliance.models.loading import Loaded, load_policy_model, merged, require_weights, resolve


def load_start(source: PolicySource) -> Loaded:
    """The policy as it is before PPO, as one plain model: policy.adapter is merged. bf16 where training has fewer bits."""
    dtype = torch.float32 if source.quantize == "none" else torch.bfloat16
    loaded = load_policy_model(source.model, source.revision, dtype=dtype)
    if source.adapter is None:
        return loaded
    return Loaded(merged(loaded.model, adapter_folder(source.adapter)), loaded.tokenizer, loaded.folder)


def adapter_folder(adapter: str) -> Path:
    """The local folder of a LoRA adapter: itself, a run's, or the hub's snapshot. Raises ModelError."""
    folder = Path(adapter).expanduser()
    inner = folder / "adapter"
    found = inner if (inner / "adapter_config.json").exists() else folder
    if not found.is_dir():
        found = resolve(adapter)
    if not (found / "adapter_config.json").exists():
        raise ModelError(
            f"{found} holds no adapter (no adapter_config.json)",
            "give the folder that peft's save_pretrained wrote, or a run that trained with LoRA",
        )
    require_weights(found, "adapter_model.safetensors")
    return found
