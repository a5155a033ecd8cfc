"""Keys: checked when they come in, shown to nobody, masked where a server echoes them."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from cloudllm_sync.errors import ConfigurationError

__all__ = ["ApiKey", "mask_urls"]

_MASK = "***"
_SHORTEST_KEY = 8


class ApiKey:
    """A key. Its `repr` is masked, and it does not pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: object, source: str) -> None:
        """Take a key, without the white space around it.

        Args:
            value: The key.
            source: Where it came from, for the message.

        Raises:
            ConfigurationError: Empty, or not visible ASCII, so that no header can carry it.
        """
        if not isinstance(value, str):
            raise ConfigurationError(f"{source} must be a string, not {type(value).__name__}")
        value = value.strip()
        if not value:
            raise ConfigurationError(f"{source} is empty: put the key in it, or leave it out")
        bad = next((char for char in value if not "!" <= char <= "~"), None)
        if bad is not None:
            raise ConfigurationError(
                f"{source} holds U+{ord(bad):04X}, which no key has: copy it again, without "
                "quotes, spaces or line ends"
            )
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the one header that carries it."""
        return self._value

    def mask(self, text: str) -> str:
        """The text with every occurrence of the key masked.

        What is shorter than any provider's key, a test's `k` say, would only mask words.
        """
        if len(self._value) < _SHORTEST_KEY:
            return text
        escaped = json.dumps(self._value)[1:-1]
        for form in (self._value, escaped, escaped.replace("/", "\\/")):
            text = text.replace(form, _MASK)
        return text

    def __repr__(self) -> str:
        return f"ApiKey({_MASK!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key does not pickle: make the client where it is used")


def mask_urls(text: str) -> str:
    """The text without the user names and passwords of its URLs."""
    return re.sub(r"//[^/@\s]*@", f"//{_MASK}@", text)
