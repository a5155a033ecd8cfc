"""How many retries a client may make in all, so that a failing provider is not hammered."""

from __future__ import annotations

import threading
import time
from typing import Callable

from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["RetryBudget"]

# What one retry costs; a request that is none earns 1.
_RETRY = 10
# Enough for some calls to use all their retries; fifty threads that fail at once use it up.
_ALLOWANCE = 10 * _RETRY
# A client that asks seldom has its allowance back before it can matter.
_REFILL_PER_S = 1 * _RETRY


class RetryBudget:
    """One retry for ten requests, after an allowance of ten that fills up by one a second.

    All threads of a client share it: when a provider fails for all of them, their retries would
    triple its load just then.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._left: float = _ALLOWANCE  # guarded by _lock
        self._filled_at = now()  # guarded by _lock
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A request is sent that is no retry."""
        with self._lock:
            self._left = min(_ALLOWANCE, self._left + 1)

    def spend(self) -> bool:
        """Take a retry; False if none is left."""
        now = self._now()
        with self._lock:
            refill = (now - self._filled_at) * _REFILL_PER_S
            self._left = min(_ALLOWANCE, self._left + refill)
            self._filled_at = now
            if self._left < _RETRY:
                return False
            self._left -= _RETRY
            return True
