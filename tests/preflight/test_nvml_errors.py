"""Every NVML call that can fail, failing: nothing raises, nothing that worked is lost, and no check invents a fault."""

import json
from pathlib import Path

import pytest

from appliance.preflight import nvml, run
from appliance.preflight.check import Check

# retired pages, which this card does not have by itself, are there: so that each of them can fail alone
PRESENT = {"DeviceGetRetiredPages.0": "0", "DeviceGetRetiredPages.1": "0", "DeviceGetRetiredPagesPendingStatus": "0"}

FIXTURE = Path(__file__).parent / "gpus" / "a100-40.txt"
KEYS = [line.split("=")[0] for line in FIXTURE.read_text().splitlines()]
OF_A_GPU = [key for key in KEYS if key.startswith(("DeviceGet", "DeviceVal", "FieldValue")) and key != "DeviceGetCount"]
OF_A_GPU += ["DeviceGetHandleByIndex", *PRESENT]
NEWER, OLDER = "DeviceGetCurrentClocksEventReasons", "DeviceGetCurrentClocksThrottleReasons"
NOT_SUPPORTED, NO_FUNCTION, LOST = 3, 13, 15


def health(stage="host") -> list[Check]:
    return [check for check in run.select(stage, "quick") if check.section == "GPU health"]


@pytest.fixture
def broken(make_host):
    """broken(code) -> (snapshot, keys): as many GPUs as there are calls, the n-th of which fails on the n-th call alone."""

    def make(code):
        keys = {f"{index}.{key}": f"!{code}" for index, key in enumerate(OF_A_GPU)}
        host = make_host(gpu="a100-40", nvml={**PRESENT, **keys, "DeviceGetCount": str(len(OF_A_GPU))})
        return host, host.nvml()

    return make


def failed(gpu):
    return {name: value["error"] for name, value in gpu.items() if nvml.is_error(value)}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_FUNCTION, LOST])
def test_a_call_that_fails_costs_its_own_facts_alone(broken, code):
    _, seen = broken(code)
    assert len(seen["devices"]) == len(OF_A_GPU) >= 40
    for key, gpu in zip(OF_A_GPU, seen["devices"], strict=True):
        errors = failed(gpu)
        assert set(errors.values()) <= {code}, key
        if key == "DeviceGetHandleByIndex":
            assert len(errors) == len(gpu) - 1  # all but the index
        elif key == OLDER or (key == NEWER and code == NO_FUNCTION):
            assert not errors  # the older name is asked only where the newer is not there, and then answers
        else:
            assert 1 <= len(errors) <= 2, (key, errors)  # 2: the bus id and the device id come by one call


def test_every_fact_of_a_gpu_is_lost_in_one_of_those_cases(broken):
    _, seen = broken(LOST)
    alone = [failed(gpu) for gpu in seen["devices"] if len(failed(gpu)) <= 2]
    assert set().union(*alone) == set(seen["devices"][0]) - {"index"}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_FUNCTION, LOST])
def test_no_check_fails_for_a_call_that_is_refused(broken, code, need, monkeypatch):
    host, seen = broken(code)
    for key, gpu in zip(OF_A_GPU, seen["devices"], strict=True):
        monkeypatch.setattr(host, "nvml", lambda gpu=gpu: {**seen, "count": 1, "devices": [{**gpu, "index": 0}]})
        for check in health():
            verdict = check.judge(json.loads(json.dumps(check.probe(host))), need())
            if check.id == "gpu.responds" and code == LOST and failed(gpu):
                assert verdict.status == "fail", key
            else:
                assert verdict.status in ("pass", "skip"), (key, check.id, verdict)


@pytest.mark.parametrize("key", ["Init", "SystemGetDriverVersion", "SystemGetCudaDriverVersion", "DeviceGetCount"])
@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_FUNCTION, LOST])
def test_no_check_crashes_when_the_driver_refuses(make_host, need, key, code):
    host = make_host(gpu="a100-40", nvml={key: f"!{code}"})
    for check in health():
        verdict = check.judge(json.loads(json.dumps(check.probe(host))), need())
        unknown = check.id == "gpu.count" and key == "DeviceGetCount"
        assert verdict.status == "fail" if unknown else verdict.status in ("pass", "skip"), (check.id, verdict)


@pytest.mark.parametrize("calls", [0, 1, 20, 43])
def test_a_gpu_lost_between_two_calls_is_one_failure(make_host, need, calls):
    host = make_host(gpu="a100-40", nvml={"LostAfter": str(calls)})
    outcomes = run.examine(health(), need(), run.Live(host, "quick"))
    said = {outcome.check.id: outcome.verdict for outcome in outcomes}
    assert [id for id, verdict in said.items() if verdict.status == "fail"] == ["gpu.responds"]
    assert not any(outcome.crashed for outcome in outcomes)
    others = {verdict.found for id, verdict in said.items() if id not in ("gpu.responds", "gpu.count")}
    assert others == {"needs gpu.responds"}
