"""What a relay is kept in: for each key a log of entries, a lease, and a wish to cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

import attrs

from cloudllm_sync.errors import CloudLLMError

__all__ = ["Addition", "Entry", "Log", "RelayKeyError"]


class RelayKeyError(CloudLLMError):
    """Nothing is published under this key, or not any more."""


@attrs.frozen
class Entry:
    """Some chunks, or the end."""

    id: str
    data: bytes
    is_end: bool


@attrs.frozen
class Addition:
    """What a publisher writes; without data it only renews its lease."""

    key: str
    token: str
    number: int
    """How many with data there were of this key, with this one."""
    data: Optional[bytes]
    is_end: bool = False


class Log(Protocol):
    """Keeps logs. Each step is whole or not at all; any thread may call.

    A publisher is known by a token. What it writes under a lease that it has lost is refused, so
    that nothing ever follows an end.

    Raises:
        StoreError: It cannot be reached, or refuses. All methods may.
    """

    def begin(self, key: str, token: str) -> bool:
        """Take the lease of a key that nobody has used; whether it was free."""

    def add(self, additions: Sequence[Addition]) -> list[Optional[bool]]:
        """Add entries and renew the leases, or give them up with an end, in one round trip.

        What is there already, because the answer was lost and it is said again, is not added twice.

        Of each: None if the lease was lost, and nothing was added; else whether a cancel is wished
        for.
        """

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
