"""Logs in the memory of one process, for its threads and for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Callable, Optional

import attrs

from cloudllm_sync.relay.log import Addition, Entry
from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["MemoryLog"]


@attrs.define
class _Kept:
    entries: list[Entry] = attrs.field(factory=list)
    owner: str = ""
    leased_until: float = 0.0
    expires_at: float = 0.0
    cancel_wished: bool = False


class MemoryLog:
    """What `Log` says, with one lock, which is held for moments only."""

    def __init__(
        self, *, lease_s: float, expire_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._expire_s = expire_s
        self._now = now
        self._kept: dict[str, _Kept] = {}  # guarded by _changed
        self._changed = threading.Condition()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock, and no logs: their publishers are the parent's."""
        self._kept = {}
        self._changed = threading.Condition()

    def begin(self, key: str, token: str) -> bool:
        """See Log."""
        with self._changed:
            self._forget()
            if key in self._kept:
                return False
            kept = self._kept[key] = _Kept(owner=token)
            self._prolong(kept)
            self._changed.notify_all()
            return True

    def add(self, additions: Sequence[Addition]) -> list[Optional[bool]]:
        """See Log."""
        with self._changed:
            wishes = [self._add(addition) for addition in additions]
            self._changed.notify_all()
        return wishes

    def cancel(self, key: str) -> bool:
        """See Log."""
        with self._changed:
            kept = self._kept.get(key)
            if kept is None or not self._leased(kept):
                return False
            kept.cancel_wished = True
            return True

    def entry(self, key: str, entry_id: str) -> Optional[Entry]:
        """See Log."""
        with self._changed:
            self._forget()
            kept = self._kept.get(key)
            found = kept.entries if kept else ()
            return next((entry for entry in found if entry.id == entry_id), None)

    def entries(self, key: str, after: str, wait_s: float) -> list[Entry]:
        """See Log."""
        first = int(after.partition("-")[0]) if after else 0
        until = self._now() + wait_s
        with self._changed:
            while True:
                kept = self._kept.get(key)
                found = kept.entries[first:] if kept else []
                left = until - self._now()
                if found or left <= 0:
                    return found
                self._changed.wait(left)

    def is_known(self, key: str) -> bool:
        """See Log."""
        with self._changed:
            self._forget()
            return key in self._kept

    def is_alive(self, key: str) -> bool:
        """See Log."""
        with self._changed:
            kept = self._kept.get(key)
            return kept is not None and self._leased(kept)

    def close(self) -> None:
        """Nothing is held."""

    # --- with the lock ---

    def _add(self, addition: Addition) -> Optional[bool]:
        kept = self._owned(addition.key, addition.token)
        if kept is None:
            return None
        if addition.data is not None:
            number = len(kept.entries) + 1
            kept.entries.append(Entry(f"{number}-0", addition.data, addition.is_end))
        self._prolong(kept)
        if addition.is_end:
            kept.owner = ""
        return kept.cancel_wished

    def _leased(self, kept: _Kept) -> bool:
        return bool(kept.owner) and self._now() < kept.leased_until

    def _owned(self, key: str, token: str) -> Optional[_Kept]:
        kept = self._kept.get(key)
        return kept if kept and self._leased(kept) and kept.owner == token else None

    def _prolong(self, kept: _Kept) -> None:
        now = self._now()
        kept.leased_until = now + self._lease_s
        kept.expires_at = now + self._expire_s

    def _forget(self) -> None:
        now = self._now()
        for key in [key for key, kept in self._kept.items() if now >= kept.expires_at]:
            del self._kept[key]
