"""What a conversation may be called, and how names are looked for: pure."""

from __future__ import annotations

import re
from typing import Optional

from cloudllm_sync.errors import ConfigurationError

__all__ = ["checked_name", "checked_page", "checked_session_id", "prefix_end"]

_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NAME_BYTES = 255  # what a column with an index takes in every database
_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)  # no text has them


def checked_session_id(session_id: object) -> str:
    """The name, if every store can keep it. Raises as `checked_name()`."""
    return checked_name(session_id, "session_id")


def checked_name(name: object, what: str) -> str:
    """The name of something, if every database can keep it.

    Raises:
        ConfigurationError: It is empty, longer than 255 bytes of UTF-8, or holds what is no text.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"{what} must be a string, not {type(name).__name__}")
    size_bytes = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size_bytes <= _NAME_BYTES or _NO_TEXT.search(name):
        raise ConfigurationError(
            f"{what} must be 1 to {_NAME_BYTES} bytes of UTF-8 without control characters, "
            f"not {name[:60]!r}"
        )
    return name


def checked_page(prefix: str, after: str, limit: int) -> None:
    """Refuse what no store could look for.

    Raises:
        ConfigurationError: A prefix or a name that is no text, or a limit that is no whole number
            from 1.
    """
    for name, text in (("prefix", prefix), ("after", after)):
        if not isinstance(text, str) or _NO_TEXT.search(text):
            raise ConfigurationError(f"{name} must be text without control characters")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number from 1, not {limit!r}")


def prefix_end(prefix: str) -> Optional[str]:
    """The first text after all that begin so, by code points; None if there is none.

    With it a prefix is a range, in which no character has a meaning of its own, as in LIKE.
    """
    while prefix:
        last = ord(prefix[-1]) + 1
        prefix = prefix[:-1]
        if last <= _LAST:
            return prefix + chr(_SURROGATES.stop if last in _SURROGATES else last)
    return None
