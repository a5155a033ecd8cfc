"""Where conversations are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

import attrs

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import Message, TokenUsage

__all__ = ["SessionInfo", "SessionStore", "StoredSession", "checked_session_id"]

_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_ID_BYTES = 255  # what a column with an index takes in every database


@attrs.frozen(slots=True)
class StoredSession:
    """What a store holds of one conversation; version 0 is one that nobody has written yet.

    `messages` are the newest of its `length` messages: as many as were asked for. `notes` are the
    session's own: small JSON that it wants to find again.
    """

    version: int = 0
    # No repr of what was said: tools that report errors show local variables.
    messages: tuple[Message, ...] = attrs.field(default=(), repr=False)
    length: int = attrs.field()
    usage: TokenUsage = attrs.field(factory=lambda: TokenUsage(0, 0, 0))
    last_usage: Optional[TokenUsage] = None
    notes: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @length.default
    def _all_of_them(self) -> int:
        return len(self.messages)


@attrs.frozen(slots=True)
class SessionInfo:
    """A line of a store's table of contents; `updated_at` is in seconds since 1970, UTC."""

    session_id: str
    length: int
    usage: TokenUsage
    updated_at: float


class SessionStore(Protocol):
    """Keeps conversations. Any thread may call it, and any process that can reach it.

    Every change says which version it was based on, makes the version one higher, and is refused
    with CommitConflictError if somebody else was faster. What cannot be read or saved is a
    StoreError.
    """

    leases_end: bool
    """Whether a lease ends by itself, so that whoever needs longer has to ask for it again."""

    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation with its newest messages, None for all; an unknown one is empty.

        It costs what it gives, not what the conversation holds.
        """

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
        *,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add messages that belong together, and what they cost; all of them or none.

        Args:
            session_id: Whose they are.
            base_version: The version that they were made for.
            messages: In order.
            usage: What they cost; None if that is not known.
            notes: The new notes; None leaves them as they are.

        Raises:
            CommitConflictError: Somebody else changed the conversation since `base_version`.
            StoreError: They could not be saved.
        """

    def clear(self, session_id: str, base_version: int) -> None:
        """Forget the messages and the notes; usage stays. Raises as `append()`."""

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation. Nothing happens to an unknown one."""

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name, those that come after `after`."""

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation for so long.

        Returns:
            0.0 if it is the owner's now, who may ask again to get more time; else the seconds
            after which the other's lease will have ended, if he asks for no more.
        """

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back; nothing happens if it is not the owner's (any more)."""

    def close(self) -> None:
        """Close what is open. Idempotent."""


def checked_session_id(session_id: object) -> str:
    """The name, if every store can keep it.

    Raises:
        ConfigurationError: It is empty, longer than 255 bytes of UTF-8, or holds what is no text.
    """
    if not isinstance(session_id, str):
        raise ConfigurationError(f"session_id must be a string, not {type(session_id).__name__}")
    size_bytes = len(session_id.encode("utf-8", "surrogatepass"))
    if not 0 < size_bytes <= _ID_BYTES or _NO_TEXT.search(session_id):
        raise ConfigurationError(
            f"session_id must be 1 to {_ID_BYTES} bytes of UTF-8 without control characters, "
            f"not {session_id[:60]!r}"
        )
    return session_id
