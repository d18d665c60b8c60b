"""How fast the GPU is at what training and generation wait for: its memory, bf16 products, and copies from RAM."""

from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.checks._cards import CARDS
from appliance.preflight.checks.torch_work import NOT_MEASURED, work
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, warn

LEAST_BF16 = 0.6  # of the data sheet's peak
LINK_GB_S, STARVED_GB_S = 21.0, 4.0

SLOW = (
    "appliance preflight --only gpu.procs,gpu.throttle,gpu.power_cap,gpu.temp\n"
    "# all well there? Then ask whoever runs the host for its BIOS and power settings"
)


def _unmeasured(fact: dict[str, Any], expected: str) -> Verdict:
    return warn(
        fact["problem"],
        expected,
        why="The speed could not be measured, so a slow card would go unnoticed.",
        fix=NOT_MEASURED,
    )


def _unknown_card(found: str, fact: dict[str, Any]) -> Verdict:
    return warn(
        f"{found}, on a card without a known limit (PCI device {fact['pci_device_id'] or 'unknown'})",
        f"one of {', '.join(card.name for card in CARDS.values())}",
        why="For this card nobody wrote down how fast it should be, so slow cannot be told from normal.",
        fix="# compare with the maker's data sheet; below 60 % of it:\n" + SLOW,
    )


def judge_membw(fact: dict[str, Any], need: Need) -> Verdict:
    """Three quarters of what this kind of card reaches; below half of that limit it is broken."""
    card = CARDS.get(fact["pci_device_id"] or "")
    expected = f"{card.membw_gb_s:.0f} GB/s or more ({card.name})" if card else "a card with a known limit"
    if fact["value"] is None:
        return _unmeasured(fact, expected)
    speed = fact["value"]["gb_s"]
    found = f"{speed:.0f} GB/s"
    if card is None:
        return _unknown_card(found, fact)
    if speed >= card.membw_gb_s:
        return passed(found, expected)
    if speed < 0.5 * card.membw_gb_s:
        why = "Less than half of what the card must do: it is shared, held down or broken, and runs take twice as long."
        return fail(found, expected, why=why, fix=SLOW)
    why = "Generating text is bound by this number, so rollouts take longer in proportion."
    return warn(found, expected, why=why, fix=SLOW)


def judge_bf16(fact: dict[str, Any], need: Need) -> Verdict:
    """At least 60 % of the data sheet's peak."""
    card = CARDS.get(fact["pci_device_id"] or "")
    least = LEAST_BF16 * card.bf16_tflops if card else 0.0
    expected = f"{least:.0f} TFLOP/s or more" if card else "a card with a known limit"
    if fact["value"] is None:
        return _unmeasured(fact, expected)
    found = f"{fact['value']['tflops']:.0f} TFLOP/s"
    if card is None:
        return _unknown_card(found, fact)
    if fact["value"]["tflops"] >= least:
        return passed(found, expected)
    why = "Updates are bound by this number. Heat, a lowered power limit or a second user slow it first."
    return warn(found, expected, why=why, fix=SLOW)


def judge_h2d(fact: dict[str, Any], need: Need) -> Verdict:
    """What a PCIe 4.0 x16 link carries; far less starves the card."""
    expected = f"{LINK_GB_S:.0f} GB/s or more each way"
    if fact["value"] is None:
        return _unmeasured(fact, expected)
    to_gb_s, from_gb_s = fact["value"]["to_gb_s"], fact["value"]["from_gb_s"]
    found = f"{to_gb_s:.1f} GB/s to the card, {from_gb_s:.1f} GB/s from it"
    if min(to_gb_s, from_gb_s) >= LINK_GB_S:
        return passed(found, expected)
    fix = "appliance preflight --only gpu.pcie_link\n# ask whoever runs the host: card in an x16 slot, VM within one NUMA node?"
    if min(to_gb_s, from_gb_s) < STARVED_GB_S:
        why = (
            "The way between RAM and card is a fraction of the link: loading models and checkpoints takes many minutes."
        )
        return fail(found, expected, why=why, fix=fix)
    why = "Loading models and writing checkpoints takes longer; steps within the card are not touched."
    return warn(found, expected, why=why, fix=fix)


def _check(id: str, title: str, probe: Any, judge: Any, explain: str) -> Check:
    common = {"section": "CUDA", "scope": "both", "level": "full", "needs": ("torch.matmul",), "timeout_s": 17.0}
    return Check(id=id, title=title, probe=probe, judge=judge, explain=explain, **common)


CHECKS = (
    _check(
        "perf.membw",
        "Memory bandwidth",
        work("membw", "cuda", 512, timeout_s=15.0),
        judge_membw,
        """Copies half a GiB within the card's memory and takes the best of five times. The limit is three quarters of
        what a healthy card of the same kind does. A second user, heat or lowered clocks show here.""",
    ),
    _check(
        "perf.bf16",
        "bf16 throughput",
        work("bf16", "cuda", 8192, timeout_s=15.0),
        judge_bf16,
        """Times products of large bf16 matrices, the arithmetic of training. The limit is 60 per cent of the data sheet's
        peak, which a healthy card exceeds; a power limit or heat pulls it below.""",
    ),
    _check(
        "perf.h2d",
        "Copies to the GPU",
        work("h2d", "cuda", 256, timeout_s=15.0),
        judge_h2d,
        """Copies between pinned RAM and the card, both ways. A full PCIe 4.0 link carries more than 21 GB/s; a narrow
        slot, or a VM spread over two CPU sockets, carries much less.""",
    ),
)
