"""LoRA adapters put onto a language model."""

import warnings

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel

from appliance.config.ppo import Lora
from appliance.errors import ModelError


def with_adapters(lm: PreTrainedModel, options: Lora) -> PeftModel:
    """The model with new adapters that change nothing yet, and only they are trainable; no dropout. Raises ModelError."""
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=list(options.targets) if options.targets else None,
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
