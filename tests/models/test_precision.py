"""What hardware a config gets: what it asks for, or an error, and never quietly less."""

import pytest
import torch

from appliance.errors import ConfigError
from appliance.models import precision
from appliance.models.precision import Precision, choose


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """machine(gpu=..., gpu_bf16=..., cpu_bf16=...): what torch finds."""

    def found(*, gpu: bool = False, gpu_bf16: bool = False, cpu_bf16: bool = False) -> None:
        monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(
            precision.torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu_bf16 or including_emulation
        )
        monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": cpu_bf16})

    return found


@pytest.mark.parametrize(
    ("device", "compute", "has", "expected"),
    [
        ("auto", "auto", {}, ("cpu", "fp32")),
        ("auto", "auto", {"cpu_bf16": True}, ("cpu", "fp32")),
        ("auto", "auto", {"gpu": True, "gpu_bf16": True}, ("cuda", "bf16")),
        ("auto", "auto", {"gpu": True}, ("cuda", "fp32")),
        ("cuda", "fp32", {"gpu": True, "gpu_bf16": True}, ("cuda", "fp32")),
        ("cuda", "bf16", {"gpu": True, "gpu_bf16": True}, ("cuda", "bf16")),
        ("cpu", "auto", {"gpu": True, "gpu_bf16": True}, ("cpu", "fp32")),
        ("cpu", "bf16", {"cpu_bf16": True}, ("cpu", "bf16")),
    ],
)
def test_what_a_config_gets(machine, device, compute, has, expected):
    machine(**has)
    chosen = choose(device, compute)
    assert (chosen.device.type, chosen.compute) == expected


def test_cuda_without_a_gpu_is_an_error(machine):
    machine()
    with pytest.raises(ConfigError) as caught:
        choose("cuda", "auto")
    assert caught.value.what.startswith("device: cuda, but torch sees no GPU (CUDA of this torch: ")
    assert "device: cpu" in caught.value.fix


def test_bf16_on_a_cpu_without_it_is_an_error(machine):
    machine()
    for device in ("cpu", "auto"):
        with pytest.raises(ConfigError) as caught:
            choose(device, "bf16")
        assert caught.value.what == "compute: bf16, but this CPU has no bf16 instructions"
        assert caught.value.fix == "set compute: fp32"


def test_bf16_on_a_gpu_without_it_is_an_error(machine):
    machine(gpu=True)
    with pytest.raises(ConfigError) as caught:
        choose("cuda", "bf16")
    assert caught.value.what == "compute: bf16, but this GPU has no bf16 instructions"


def test_fp32_changes_nothing_and_is_strict():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    with Precision(torch.device("cpu"), "fp32").active():
        assert backend.fp32_precision == before
    assert Precision(torch.device("cpu"), "fp32").tolerance == 1e-4


def test_cpu_bf16_is_on_inside_only_even_when_the_work_fails():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    chosen = Precision(torch.device("cpu"), "bf16")
    with chosen.active():
        assert backend.fp32_precision == "bf16"
    assert backend.fp32_precision == before
    with pytest.raises(RuntimeError), chosen.active():
        raise RuntimeError
    assert backend.fp32_precision == before
    assert chosen.tolerance == 5e-2
