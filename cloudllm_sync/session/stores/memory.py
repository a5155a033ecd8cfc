"""Conversations in memory, for as long as the process lives."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Optional

from cloudllm_sync.errors import CommitConflictError
from cloudllm_sync.session.stores import StoredSession
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, TokenUsage

__all__ = ["MemoryStore"]


class MemoryStore:
    """The default store. Sessions with one id on one store share a conversation."""

    def __init__(self) -> None:
        # Re-entrant, as the garbage collector may end a stream, and so a turn, anywhere.
        self._lock = threading.RLock()
        self._sessions: dict[str, StoredSession] = {}  # guarded by _lock
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()

    def load(self, session_id: str) -> StoredSession:
        """The conversation; an unknown one is empty."""
        with self._lock:
            return self._sessions.get(session_id) or StoredSession()

    def append(
        self,
        session_id: str,
        base_version: int,
        messages: Sequence[Message],
        usage: Optional[TokenUsage],
    ) -> StoredSession:
        """Add messages that belong together, and what they cost."""
        with self._lock:
            known = self._newest(session_id, base_version)
            changed = StoredSession(
                known.version + 1,
                known.messages + tuple(messages),
                known.usage if usage is None else known.usage + usage,
                usage,
            )
            self._sessions[session_id] = changed
            return changed

    def clear(self, session_id: str, base_version: int) -> StoredSession:
        """Forget the messages; usage stays."""
        with self._lock:
            known = self._newest(session_id, base_version)
            changed = StoredSession(known.version + 1, (), known.usage, known.last_usage)
            self._sessions[session_id] = changed
            return changed

    def _newest(self, session_id: str, base_version: int) -> StoredSession:
        known = self.load(session_id)
        if known.version != base_version:
            raise CommitConflictError(
                f"the session {session_id!r} is at version {known.version}, not {base_version}: "
                "somebody else changed it meanwhile"
            )
        return known
