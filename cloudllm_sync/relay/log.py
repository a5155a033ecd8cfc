"""What a relay is kept in: for each key a log of entries, a lease, and a wish to cancel."""

from __future__ import annotations

from typing import Optional, Protocol

import attrs

from cloudllm_sync.errors import CloudLLMError

__all__ = ["Entry", "Log", "RelayKeyError"]


class RelayKeyError(CloudLLMError):
    """Nothing is published under this key, or not any more."""


@attrs.frozen
class Entry:
    """Some chunks, or the end."""

    id: str
    data: bytes
    is_end: bool


class Log(Protocol):
    """Keeps logs. Each method is one step, whole or not at all; any thread may call it.

    A publisher is known by a token. What it writes under a lease that it has lost is refused, so
    that nothing ever follows an end.

    Raises:
        StoreError: It cannot be reached, or refuses. All methods may.
    """

    def begin(self, key: str, token: str) -> bool:
        """Take the lease of a key that nobody has used; whether it was free."""

    def append(self, key: str, token: str, data: bytes, *, is_end: bool = False) -> bool:
        """Add an entry and renew the lease, or give it up with the end; False if it was lost."""

    def prolong(self, key: str, token: str) -> Optional[bool]:
        """Renew the lease; whether a cancel is wished for, None if the lease was lost."""

    def cancel(self, key: str) -> bool:
        """Wish for a cancel; whether anybody publishes there."""

    def entry(self, key: str, entry_id: str) -> Optional[Entry]:
        """The one entry of this id."""

    def entries(self, key: str, after: str, wait_s: float) -> list[Entry]:
        """The next ones behind `after` ("" for the first), none if none comes within `wait_s`."""

    def is_known(self, key: str) -> bool:
        """Whether there is a log of this key."""

    def is_alive(self, key: str) -> bool:
        """Whether a publisher holds the lease."""

    def close(self) -> None:
        """Give connections back."""
