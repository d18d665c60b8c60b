"""What the checks of a GPU's health have in common: reading facts of every GPU, and the worst verdict of all."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from appliance.preflight import nvml
from appliance.preflight.host import Host
from appliance.preflight.verdict import Verdict, skip

WORST_FIRST = ("fail", "warn", "skip", "pass")


def reads(*names: str) -> Callable[[Host], dict[str, Any]]:
    """A probe that brings `init` and, of every GPU, its index and these facts that `nvml.device` has."""

    def probe(host: Host) -> dict[str, Any]:
        seen = host.nvml()
        devices = [{name: device.get(name) for name in ("index", *names)} for device in seen["devices"]]
        return {"init": seen["init"], "devices": devices}

    return probe


def each(fact: dict[str, Any], judge: Callable[[dict[str, Any]], Verdict], *optional: str) -> Verdict:
    """The worst verdict of judge(facts of one GPU), which is called only with facts that could be read.

    A fact that NVML refused (not supported, no permission, unknown to this driver) skips that GPU with NVML's reason;
    those named in `optional` are handed on, None where they could not be read.
    """
    if fact["init"]["error"]:
        return skip(f"NVML: {fact['init']['name']}")
    verdicts = []
    for device in fact["devices"]:
        wrong = next((n for n, v in device.items() if nvml.is_error(v) and n not in optional), None)
        if wrong:
            verdict = skip(f"NVML on {wrong}: {device[wrong]['name']}")
        else:
            verdict = judge({name: None if nvml.is_error(value) else value for name, value in device.items()})
        several = len(fact["devices"]) > 1
        verdicts.append(replace(verdict, found=f"GPU {device['index']}: {verdict.found}") if several else verdict)
    return min(verdicts, key=lambda v: WORST_FIRST.index(v.status)) if verdicts else skip("the driver knows no GPU")
