"""Conversations in memory, for as long as the process lives."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Optional

import attrs

from cloudllm_sync.session.stores import SessionInfo, SessionStore, StoredSession, conflict
from cloudllm_sync.session.stores.names import checked_page, checked_session_id
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, TokenUsage

__all__ = ["MemoryStore"]


@attrs.define(slots=True)
class _Kept:
    """One conversation; guarded by the store's lock."""

    version: int = 0
    messages: list[Message] = attrs.field(factory=list, repr=False)
    usage: TokenUsage = attrs.field(factory=lambda: TokenUsage(0, 0, 0))
    last_usage: Optional[TokenUsage] = None
    notes: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    updated_at: float = 0.0


class MemoryStore(SessionStore):
    """The default store. Sessions with one id on one store share a conversation."""

    leases_end = False  # they end with the process, as what they protect does

    def __init__(self) -> None:
        # Re-entrant, as the garbage collector may end a stream, and so a turn, anywhere.
        self._lock = threading.RLock()
        self._sessions: dict[str, _Kept] = {}  # guarded by _lock
        self._names: list[str] = []  # the same, sorted; guarded by _lock
        self._owners: dict[str, str] = {}  # session to owner; guarded by _lock
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own; the leases are those of the parent's threads."""
        self._lock = threading.RLock()
        self._owners = {}

    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation; an unknown one is empty."""
        with self._lock:
            kept = self._sessions.get(checked_session_id(session_id))
            if kept is None:
                return StoredSession()
            length = len(kept.messages)
            first = 0 if newest is None else max(0, length - newest)
            return StoredSession(
                kept.version,
                tuple(kept.messages[first:]),
                length,
                kept.usage,
                kept.last_usage,
                kept.notes,
            )

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
        *,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add messages that belong together, and what they cost."""
        with self._lock:
            kept = self._newest(session_id, base_version)
            kept.messages.extend(messages)
            if usage is not None:
                kept.usage = kept.usage + usage
            kept.last_usage = usage
            if notes is not None:
                kept.notes = dict(notes)

    def clear(self, session_id: str, base_version: int) -> None:
        """Forget the messages; usage stays."""
        with self._lock:
            kept = self._newest(session_id, base_version)
            kept.messages = []
            kept.notes = {}

    def replace(self, session_id: str, base_version: int, stored: StoredSession) -> None:
        """Put a conversation in the place of what is there."""
        with self._lock:
            kept = self._newest(session_id, base_version)
            kept.messages = list(stored.messages)
            kept.usage = stored.usage
            kept.last_usage = stored.last_usage
            kept.notes = dict(stored.notes)

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation."""
        with self._lock:
            if self._sessions.pop(checked_session_id(session_id), None) is not None:
                self._names.remove(session_id)

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name, those that come after `after`."""
        checked_page(prefix, after, limit)
        with self._lock:
            first = max(bisect.bisect_left(self._names, prefix), bisect.bisect(self._names, after))
            names = [name for name in self._names[first : first + limit] if name.startswith(prefix)]
            return tuple(self._info(name, self._sessions[name]) for name in names)

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation, until it is given back."""
        checked_session_id(session_id)
        with self._lock:
            return 0.0 if self._owners.setdefault(session_id, owner) == owner else seconds

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back."""
        with self._lock:
            if self._owners.get(checked_session_id(session_id)) == owner:
                del self._owners[session_id]

    def close(self) -> None:
        """Nothing is open."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is in memory is in this process alone: make a SQLiteStore")

    def _newest(self, session_id: str, base_version: int) -> _Kept:
        """What is to be changed; its next version."""
        kept = self._sessions.get(checked_session_id(session_id)) or _Kept()
        if kept.version != base_version:
            raise conflict(session_id, base_version, kept.version)
        if base_version == 0:
            self._sessions[session_id] = kept
            bisect.insort(self._names, session_id)
        kept.version += 1
        kept.updated_at = time.time()
        return kept

    @staticmethod
    def _info(session_id: str, kept: _Kept) -> SessionInfo:
        return SessionInfo(session_id, len(kept.messages), kept.usage, kept.updated_at)
