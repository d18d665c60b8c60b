"""How varied texts are, counted in runs of n words."""

from collections.abc import Sequence


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams of words, within each text; 0 for none. Source: Li et al. 2016."""
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
