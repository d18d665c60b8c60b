"""The driver's facts through the unmodified nvidia-ml-py and the fake library."""

import time

import pytest

from appliance.preflight import nvml

# what nvidia-smi shows of the fixture: 42949672960 bytes = 40960 MiB, 2097152 bytes = 2 MiB
A100 = {
    "index": "0",
    "name": "NVIDIA A100-PCIE-40GB",
    "temperature": "34 C",
    "performance state": "P0",
    "persistence": "On",
    "power": "32 W / 250 W",
    "bus id": "00000000:00:06.0",
    "display": "Off",
    "memory": "2 MiB / 40960 MiB",
    "ecc": "On, 0 errors",
    "utilization": "0%",
    "compute mode": "Default",
    "mig": "Off",
}


def errors(device):
    return {name: value["error"] for name, value in device.items() if nvml.is_error(value)}


def test_the_values_of_nvidia_smi(make_host):
    seen = make_host(gpu="a100-40").nvml()
    assert seen["init"]["error"] == 0
    assert (seen["driver"], seen["cuda"], seen["count"]) == ("525.60.13", 12000, 1)
    assert nvml.status(seen["devices"][0]) == A100
    assert seen["devices"][0]["pci_device_id"] == "20f1"
    # the only thing that this card does not have: retired pages, which were before Ampere
    assert errors(seen["devices"][0]) == {"retired_single": 3, "retired_double": 3, "retired_pending": 3}


def test_two_gpus_are_told_apart(make_host):
    nvml_keys = {"DeviceGetCount": "2", "1.DeviceGetName": "NVIDIA T4", "1.DeviceGetEccMode": "!15"}
    first, second = make_host(gpu="a100-40", nvml=nvml_keys).nvml()["devices"]
    assert (first["name"], second["name"]) == ("NVIDIA A100-PCIE-40GB", "NVIDIA T4")
    assert (first["ecc_mode"], errors(second)["ecc_mode"]) == ([1, 1], 15)


def test_a_driver_that_lacks_a_function_answers_by_its_older_name(make_host):
    device = make_host(gpu="old-driver").nvml()["devices"][0]
    assert device["throttle_mask"] == 1
    assert errors(device)["recovery_action"] == 3


def test_a_gpu_lost_between_two_calls_keeps_what_was_read(make_host):
    device = make_host(gpu="a100-40", nvml={"LostAfter": "3"}).nvml()["devices"][0]
    assert device["name"] == A100["name"]
    assert set(errors(device).values()) == {15}
    assert nvml.status(device)["temperature"] == "N/A"


@pytest.mark.parametrize("code", [3, 4, 13, 15, 999])
def test_every_call_survives_an_error(make_host, code):
    names = {"DeviceGetHandleByIndex": f"!{code}"}
    device = make_host(gpu="a100-40", nvml=names).nvml()["devices"][0]
    assert set(errors(device)) == set(device) - {"index"}
    assert set(errors(device).values()) == {code} if code != 3 else True
    assert set(nvml.status(device).values()) <= {"0", "N/A", "N/A / N/A"}


def test_a_driver_that_hangs_is_killed(make_host):
    host = make_host(gpu="a100-40", nvml={"DeviceGetTemperature": "hang"})
    host.deadline = time.monotonic() + 0.8
    assert host.nvml()["init"]["error"] == "child"
    assert "no answer" in host.nvml()["init"]["name"]


def test_licences_of_a_vgpu(make_host):
    assert make_host(gpu="vgpu").nvml()["devices"][0]["license"] == {"supported": True, "features": [[4, 5]]}
