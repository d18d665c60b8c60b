"""What is known about cards: which kernels run on them, and the speeds below which one of them is not well."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """`membw_gb_s`: the least for a copy within the card, reads and writes counted. `bf16_tflops`: its data sheet's peak."""

    name: str
    membw_gb_s: float
    bf16_tflops: float


CARDS = {
    "20f1": Card("A100 PCIe 40 GB", 969.75, 312.0),
    "20b5": Card("A100 PCIe 80 GB", 1121.25, 312.0),
    "20b0": Card("A100 SXM 40 GB", 1372.5, 312.0),
    "20b2": Card("A100 SXM 80 GB", 1173.0, 312.0),
}
"""By PCI device id. The copy speeds are DCGM's: three quarters of what a good card reaches."""


def runs_on(archs: tuple[str, ...] | list[str], capability: tuple[int, int] | list[int]) -> bool:
    """Whether kernels for `archs` ("sm_80", "compute_90") run on a GPU of this compute capability.

    A binary runs on its own generation from its own version up; one for "sm_90a" on that card alone. "compute_" is code
    that the driver translates for every later card.
    """
    card = tuple(capability)
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch)
        if not found:
            continue
        own = (int(found[2]), int(found[3]))
        translated = found[1] == "compute" or own[0] == card[0]
        if own == card or (own < card and translated and not found[4]):
            return True
    return False
