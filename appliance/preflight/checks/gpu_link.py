"""The GPU's ways to the rest of the machine: its PCIe link under load, and to the other GPUs."""

from typing import Any

from appliance.preflight import nvml
from appliance.preflight.check import Check
from appliance.preflight.checks.torch_work import WORKLOADS, work
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, passed, skip, warn

LEAST_GENERATION, LEAST_WIDTH = 3, 16
FULL_SPEED = 0  # the performance state P0


def probe_link(host: Host) -> dict[str, Any]:
    """The link as it was right after perf.h2d's copies (the same child process), or the problem that hid it."""
    seen = work("h2d", "cuda", 256, timeout_s=15.0)(host)
    return {"problem": seen["problem"], "link": (seen["value"] or {}).get("link")}


def judge_link(fact: dict[str, Any], need: Need) -> Verdict:
    """PCIe 3.0 x16 or better, in P0; at rest a card turns its link down, which means nothing."""
    link = fact["link"]
    if link is None:
        return skip(fact["problem"] or "NVML does not know the GPU that copied")
    wrong = next((name for name in ("performance_state", "pcie") if nvml.is_error(link[name])), None)
    if wrong:
        return skip(f"NVML on {wrong}: {link[wrong]['name']}")
    if link["performance_state"] != FULL_SPEED:
        return skip(f"the GPU was in P{link['performance_state']}, not P0, where its link rests")
    generation, width, most_generation, most_width = link["pcie"]
    found = f"PCIe {generation}.0 x{width}, of at most {most_generation}.0 x{most_width}"
    expected = f"PCIe {LEAST_GENERATION}.0 x{LEAST_WIDTH} or better"
    if generation >= LEAST_GENERATION and width >= LEAST_WIDTH:
        return passed(found, expected)
    return warn(
        found,
        expected,
        why="The link is narrower than the card's. A VM may show a link that is not real: perf.h2d is what counts.",
        fix="sudo lspci -vv -d 10de: | grep -E 'LnkCap|LnkSta'\n"
        "# ask whoever runs the host: is the card in an x16 slot, and seated well?",
    )


P2P = {
    1: "not by this chipset",
    2: "not by these GPUs",
    3: "not across these two sockets",
    4: "turned off in the driver",
    5: "not supported",
}


def probe_peers(host: Host) -> dict[str, Any]:
    """The number of GPUs, and for several whether each can read every other's memory (see `_workloads.peers`)."""
    count = len(host.nvml()["devices"])
    pairs = host.child(f"{WORKLOADS}:peers", timeout_s=3.0) if count > 1 else {"value": {}, "problem": None}
    return {"count": count, **pairs}


def judge_peers(fact: dict[str, Any], need: Need) -> Verdict:
    """Every pair reaches each other; of no interest for work on one GPU."""
    if fact["count"] < 2:
        return skip("only one GPU")
    if not fact["value"]:
        return skip(fact["problem"] or "NVML names no pairs")
    states = {pair: state for pair, state in fact["value"].items() if not nvml.is_error(state)}
    if len(states) < len(fact["value"]):
        refused = next(state["name"] for state in fact["value"].values() if nvml.is_error(state))
        return skip(f"NVML on P2P: {refused}")
    apart = {pair: state for pair, state in states.items() if state}
    expected = "every pair of GPUs reads each other's memory"
    if not apart:
        return passed(f"{len(states)} ways open", expected)
    pair, state = next(iter(apart.items()))
    found = f"{len(apart)} of {len(states)} ways closed; {pair}: {P2P.get(state, f'status {state}')}"
    if need.gpus < 2:
        return passed(f"{found}, of no matter to work on one GPU", expected)
    return warn(
        found,
        expected,
        why="GPUs that train together hand over gradients by way of RAM, so every step takes longer.",
        fix="nvidia-smi topo -p2p r\n# usual in a VM; if NCCL hangs: export NCCL_P2P_DISABLE=1",
    )


CHECKS = (
    Check(
        id="gpu.pcie_link",
        title="PCIe link under load",
        section="GPU health",
        scope="both",
        level="full",
        needs=("perf.h2d",),
        probe=probe_link,
        judge=judge_link,
        timeout_s=22.0,
        explain="""Generation and width of the card's PCIe link, read right after copying at full speed. An idle card turns
        its link down to save power, so it is judged in the highest performance state, P0, only.""",
    ),
    Check(
        id="gpu.p2p",
        title="GPU to GPU",
        section="GPU health",
        scope="both",
        needs=("gpu.responds",),
        probe=probe_peers,
        judge=judge_peers,
        explain="""With several GPUs: whether each can read the others' memory directly. In VMs it is often closed; work
        on several GPUs then goes through RAM. With one GPU there is nothing to ask.""",
    ),
)
