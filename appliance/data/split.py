"""Which rows are held out: by key, so that one prompt never stands on both sides."""

from collections.abc import Sequence
from hashlib import blake2b


def held_out(keys: Sequence[str], share: float | None = None, *, count: int | None = None, seed: int) -> list[bool]:
    """True for the rows that are held out: `share` of the distinct keys, or `count` of them.

    Rows of equal keys are on one side. Which keys it is follows from the seed and the set of keys, not from their order.
    A share above 0 leaves at least one key on each side if there are two; a share of one key is none.
    Raises ValueError unless exactly one of share (0 to 1) and count (up to the number of distinct keys) is given.
    """
    distinct = set(keys)
    if (share is None) == (count is None):
        raise ValueError("give either share or count")
    if share is not None:
        if not 0 <= share <= 1:
            raise ValueError(f"share {share} is not between 0 and 1")
        count = min(max(1, round(share * len(distinct))), len(distinct) - 1) if share and distinct else 0
    if not 0 <= count <= len(distinct):
        raise ValueError(f"{count} keys are to be held out; there are {len(distinct)} distinct ones")

    def rank(key: str) -> tuple[bytes, str]:
        return blake2b(f"{seed} {key}".encode(errors="surrogatepass"), digest_size=8).digest(), key

    chosen = set(sorted(distinct, key=rank)[:count])
    return [key in chosen for key in keys]


def prompt_key(text: str) -> str:
    """The text with each run of white space as one space: prompts that differ in nothing else go on one side."""
    return " ".join(text.split())
