"""Base weights in 8 or 4 bits under LoRA, by bitsandbytes: a 7B policy in 4 to 8 GB instead of 14."""

import logging
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from appliance.errors import ModelError

NO_QUANTIZE = "set policy.quantize: none, or run on a machine with a CUDA GPU"


def quantization(kind: str) -> dict[str, Any]:
    """What from_pretrained is told to load weights in "8bit" or "4bit" (nf4, products in bf16) onto the GPU.

    Raises ModelError without a CUDA GPU or without bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise ModelError(f"policy.quantize is {kind}, but torch sees no CUDA GPU", NO_QUANTIZE)
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"policy.quantize is {kind}, but bitsandbytes is not installed",
            "run `pip install bitsandbytes`, or set policy.quantize: none",
        )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # in 8 bits it warns at each product of bf16 inputs
    if kind == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_use_double_quant=True,
        )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}
