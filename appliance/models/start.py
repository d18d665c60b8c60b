"""Where PPO starts: the policy before its first step, and the adapter that it may go on from."""

from pathlib import Path

import torch

from appliance.config.ppo import Policy as PolicySource
from appliance.errors import ModelError
from appliance.models.loading import Loaded, load_policy_model, merged, require_weights, resolve
from appliance.models.precision import Precision


def frozen_dtype(source: PolicySource, precision: Precision) -> torch.dtype:
    """How frozen weights are held: bf16 under adapters on a GPU that multiplies in it, and where they have fewer bits."""
    adapters = source.train == "lora" and precision.device.type == "cuda" and precision.compute == "bf16"
    return torch.bfloat16 if adapters or source.quantize != "none" else torch.float32


def load_start(source: PolicySource, precision: Precision) -> Loaded:
    """The policy as it is before PPO, as one plain model in `frozen_dtype`: policy.adapter is merged."""
    loaded = load_policy_model(source.model, source.revision, dtype=frozen_dtype(source, precision))
    return with_adapter(loaded, source.adapter)


def with_adapter(loaded: Loaded, adapter: str | None) -> Loaded:
    """The model with an adapter merged into it, or as it is. Raises ModelError."""
    if adapter is None:
        return loaded
    return Loaded(merged(loaded.model, adapter_folder(adapter)), loaded.tokenizer, loaded.folder)


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
