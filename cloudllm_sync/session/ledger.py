"""What a session last saw of its store, and its changes, which go to the store first."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import attrs

from cloudllm_sync.errors import CloudLLMError, StoreError
from cloudllm_sync.session.arguments import Said
from cloudllm_sync.session.stores import SessionStore, StoredSession
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.values import Message, TokenUsage

__all__ = ["Ledger"]

_STORE_WORDS = 200


class Ledger:
    """One conversation in a store. Readers take one reference of what was last seen."""

    def __init__(self, store: SessionStore, session_id: str) -> None:
        self.store = store
        self.session_id = session_id
        # Re-entrant: the garbage collector may end a stream, and so a turn, anywhere.
        self._lock = threading.RLock()
        self.seen = self.load(0)  # written under _lock, as a whole
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()

    def load(self, newest: Optional[int]) -> StoredSession:
        """The newest messages as the store has them now, None for all.

        Raises:
            StoreError: The store has failed.
        """
        with self.failures_to("load"):
            return self.store.load(self.session_id, newest=newest)

    def see(self, session: StoredSession) -> None:
        """Have readers see this: for whoever's turn it is."""
        with self._lock:
            self.seen = session

    def all_messages(self) -> tuple[Message, ...]:
        """All messages as of what was last seen, or newer.

        Raises:
            StoreError: They were not all in memory, and the store has failed.
        """
        seen = self.seen
        if len(seen.messages) == seen.length:
            return seen.messages
        loaded = self.load(None)
        with self._lock:
            if self.seen is seen:  # no turn has ended meanwhile
                self.seen = loaded
        return loaded.messages

    def append(
        self,
        base: StoredSession,
        said: Said,
        usage: Optional[TokenUsage],
        *,
        reply: Optional[Message] = None,
        notes: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Add to the store, and only then to what readers see.

        Raises:
            StoreError: The store has failed; what readers see has not moved.
        """
        # Notes are given only where there are any: a store of a user's own may know none.
        noted = {} if notes is None else {"notes": notes}
        with self.failures_to("save", reply):
            self.store.append(self.session_id, base.version, said.messages, usage, **noted)
        self.see(
            StoredSession(
                base.version + 1,
                (*base.messages, *said.messages),
                base.length + len(said.messages),
                base.usage if usage is None else base.usage + usage,
                usage,
                base.notes if notes is None else notes,
            )
        )

    def clear(self, base: StoredSession) -> None:
        """Forget the messages.

        Raises:
            StoreError: The store has failed; what readers see has not moved.
        """
        with self.failures_to("clear"):
            self.store.clear(self.session_id, base.version)
        self.see(attrs.evolve(base, version=base.version + 1, messages=(), length=0, notes={}))

    @contextlib.contextmanager
    def failures_to(self, what: str, reply: Optional[Message] = None) -> Iterator[None]:
        """Whatever a store raises inside becomes a StoreError, with the reply that it cost."""
        try:
            yield
        except StoreError as error:
            error.reply = error.reply or reply
            raise
        except CloudLLMError:
            raise
        except Exception as error:  # foreign code: a store of a user's own
            where = "" if reply is None else ": the reply is in .reply"
            # Databases quote what they were given, after the first line of what they say.
            said = f"{type(error).__name__}: {error}".split("\n", 1)[0][:_STORE_WORDS]
            raise StoreError(
                f"the store failed to {what} session {self.session_id!r} ({said}){where}",
                reply=reply,
            ) from error
