"""In which precision matrix products are made. Weights stay fp32: bf16 weights lose updates at small learning rates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from appliance import settings
from appliance.errors import ConfigError


@dataclass(frozen=True)
class Precision:
    """A device and the precision of its matrix products, fp32 or bf16."""

    device: torch.device
    compute: str

    @contextmanager
    def active(self) -> Iterator[None]:
        """Forward and backward passes inside use this precision.

        On a GPU bf16 is autocast. On a CPU it is the fp32 product with its inputs rounded to bf16, summed in fp32 (AMX or
        AVX-512): activations stay fp32, so it is closer to fp32 than autocast, and there is nothing to cast.
        """
        if self.compute == "fp32":
            yield
        elif self.device.type == "cuda":
            with torch.autocast("cuda", torch.bfloat16):
                yield
        else:
            backend = torch.backends.mkldnn.matmul
            before = backend.fp32_precision
            backend.fp32_precision = "bf16"
            try:
                yield
            finally:
                backend.fp32_precision = before

    @property
    def tolerance(self) -> float:
        """How far two ways of computing one log-probability may lie apart, in nats."""
        return 1e-4 if self.compute == "fp32" else 5e-2


def choose(device: str, compute: str) -> Precision:
    """The hardware that a config asks for. Raises ConfigError when it is not there: never a silent CPU run."""
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        built = torch.version.cuda or "none: this torch is a CPU build"
        raise ConfigError(
            f"device: cuda, but torch sees no GPU (CUDA of this torch: {built})",
            "run `nvidia-smi`, install a CUDA build of torch, or set device: cpu",
        )
    kind = "cuda" if device == "cuda" or (device == "auto" and has_gpu) else "cpu"
    local = settings.launched().local
    if kind == "cuda" and local is not None:  # one of several processes on this machine, each with its own GPU
        torch.cuda.set_device(local % torch.cuda.device_count())
    if compute == "auto":
        compute = "bf16" if kind == "cuda" and _has_bf16(kind) else "fp32"
    if compute == "bf16" and not _has_bf16(kind):
        name = "GPU" if kind == "cuda" else "CPU"
        raise ConfigError(f"compute: bf16, but this {name} has no bf16 instructions", "set compute: fp32")
    return Precision(torch.device(kind), compute)


def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
