r"""Text that always encodes to UTF-8, though JSON can cut a character into two halves.

Some servers escape a character beyond U+FFFF as two `\uXXXX` and send the halves in two deltas.
"""

from __future__ import annotations

# Now: Python would import it at the first use, and a thread that is at that when another forks
# leaves the child a lock on the module which nobody gives back.
import encodings.utf_16_le  # noqa: F401

__all__ = ["Joiner", "well_formed"]


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _ends_with_high_half(text: str) -> bool:
    return "\ud800" <= text[-1:] <= "\udbff"


class Joiner:
    """Holds back half a character at the end of a delta until the next one of its channel."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def push(self, channel: str, text: str) -> str:
        """What can be shown now of `channel` once `text` has come."""
        if not text:
            return text
        text = self.held.pop(channel, "") + text
        if text.isascii():
            return text
        if _ends_with_high_half(text):
            self.held[channel] = text[-1]
            text = text[:-1]
        return well_formed(text)

    def rest(self, channel: str) -> str:
        """U+FFFD if half a character is still held back, else nothing."""
        return "\ufffd" if self.held.pop(channel, "") else ""
