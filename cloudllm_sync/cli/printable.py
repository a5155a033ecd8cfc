"""Text of others, without what a terminal would obey."""

from __future__ import annotations

__all__ = ["printable"]

# A model could move the cursor, or write what the terminal obeys.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return text.translate(_CONTROLS)
