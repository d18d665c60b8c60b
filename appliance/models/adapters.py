"""LoRA adapters put onto a language model: new ones, or those of an earlier training to go on from."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from safetensors import SafetensorError
from transformers import PreTrainedModel

from appliance.config.ppo import Lora
from appliance.errors import ModelError
from appliance.models.top_layers import decoder_blocks

TRAINED, REFERENCE = "default", "reference"
"""Names of the adapter that learns, which is the one exported, and of its frozen copy."""


def with_adapters(lm: PreTrainedModel, options: Lora, *, dropout: float = 0.0) -> PeftModel:
    """The model with new adapters that change nothing yet, and only they are trainable. Raises ModelError.

    `dropout` is not taken from the options: PPO needs none, or two readings of the same weights would differ.
    """
    apart = lm.config.is_encoder_decoder
    lora = LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM if apart else TaskType.CAUSAL_LM,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=dropout,
        **_where(lm, options),
    )
    try:
        with warnings.catch_warnings():  # of what peft then does right by itself (GPT-2's transposed weights)
            warnings.simplefilter("ignore")
            adapted: PeftModel = get_peft_model(lm, lora)
    except ValueError as error:
        raise ModelError(
            f"LoRA does not fit {type(lm).__name__}: {error}", "set lora.targets to the names of its modules"
        ) from None
    return adapted


def _where(lm: PreTrainedModel, options: Lora) -> dict[str, Any]:
    """The modules that get adapters, as LoraConfig takes them: by name, on every block or on the last ones."""
    targets = list(options.targets) if options.targets else None
    if options.last_layers is None:
        return {"target_modules": targets}
    stack = lm.get_decoder() if lm.config.is_encoder_decoder else lm
    blocks = decoder_blocks(stack, lm)
    count = len(blocks)
    if options.last_layers > count:
        raise ModelError(
            f"lora.last_layers is {options.last_layers}, but the model has {count} blocks",
            f"set last_layers to at most {count}, or leave it out for all",
        )
    chosen = list(range(count - options.last_layers, count))
    place = next(name for name, module in lm.named_modules() if module is blocks)  # transformer.h, model.layers, ...
    if not lm.config.is_encoder_decoder:
        return {"target_modules": targets, "layers_to_transform": chosen, "layers_pattern": place.rpartition(".")[2]}
    # The encoder's blocks have the same numbers, so the decoder's are named in full.
    names = targets or TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(lm.config.model_type)
    if names is None:
        raise ModelError(
            f"LoRA does not know which modules of {type(lm).__name__} to adapt",
            "set lora.targets to the names of its modules",
        )
    numbers = "|".join(map(str, chosen))
    return {"target_modules": rf"{re.escape(place)}\.({numbers})\.(.*\.)?({'|'.join(map(re.escape, names))})"}


def continued(lm: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with the adapter in `folder`, which learns on, and a frozen copy of it (see `as_reference`).

    The copy costs as little memory as the adapter, and what is exported stands on the original base. Raises ModelError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*missing adapter keys")
            adapted = PeftModel.from_pretrained(lm, str(folder), adapter_name=TRAINED, is_trainable=True)
            adapted.load_adapter(str(folder), REFERENCE, is_trainable=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UserWarning) as error:
        raise ModelError(
            f"{folder}: the adapter does not fit {type(lm).__name__}: {error}",
            "give the adapter's own base as policy.model",
        ) from None
    kind = adapted.peft_config[TRAINED].peft_type
    if kind != "LORA":
        raise ModelError(f"{folder} is an adapter of kind {kind}", "give a LoRA adapter")
    adapted.set_adapter(TRAINED)
    return adapted


def has_adapters(lm: PreTrainedModel) -> bool:
    """Whether some of its layers are adapted, and so may be switched back."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in lm.modules())


@contextmanager
def as_reference(adapted: PeftModel) -> Iterator[None]:
    """Inside, the model is the one that training started from: the frozen copy of the adapter is switched in."""
    adapted.set_adapter(REFERENCE, inference_mode=True)
    try:
        yield
    finally:
        adapted.set_adapter(TRAINED)
