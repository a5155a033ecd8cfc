"""Where conversations are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

import attrs

from cloudllm_sync.values import Message, TokenUsage

__all__ = ["SessionStore", "StoredSession"]


@attrs.frozen(slots=True)
class StoredSession:
    """What a store holds of one conversation; version 0 is one that nobody has written yet."""

    version: int = 0
    # No repr of what was said: tools that report errors show local variables.
    messages: tuple[Message, ...] = attrs.field(default=(), repr=False)
    usage: TokenUsage = attrs.field(factory=lambda: TokenUsage(0, 0, 0))
    last_usage: Optional[TokenUsage] = None


class SessionStore(Protocol):
    """Keeps conversations. Every change says which version it was based on, and is refused with
    CommitConflictError if that is no longer the newest.
    """

    def load(self, session_id: str) -> StoredSession:
        """The conversation; an unknown one is empty."""

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
    ) -> StoredSession:
        """Add messages that belong together, and what they cost; all of them or none.

        Raises:
            CommitConflictError: Somebody else changed the conversation since `base_version`.
            StoreError: They could not be saved.
        """

    def clear(self, session_id: str, base_version: int) -> StoredSession:
        """Forget the messages; usage stays. Raises as `append()`."""
