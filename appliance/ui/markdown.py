"""Words of people, models and programs in the page's Markdown."""

from __future__ import annotations

import re

MEANS = re.compile(r"([\\`*_{}\[\]<>#+!|~$&])")
"""What Markdown, HTML and formulas begin with. Parentheses mean something behind brackets only."""


def plain(text: object) -> str:
    """A text in which Markdown and HTML mean nothing, on one line."""
    return MEANS.sub(r"\\\1", " ".join(str(text).split()))
