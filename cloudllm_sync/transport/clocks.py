"""The four clocks of a call, which run only while it waits for the server."""

from __future__ import annotations

import math
import socket
import time
from typing import Callable, Optional

from cloudllm_sync.errors import Clock
from cloudllm_sync.values import Timeouts

__all__ = ["Clocks", "as_seconds", "as_wait"]

# poll() and Event.wait() refuse to wait for much longer than this, at 24 days and at 292 years.
_LONGEST_S = 1e6

# Usage follows the finish reason at once; servers that then neither send an end mark nor close
# would hold a whole reply back for all of idle_s.
_AFTER_FINISH_S = 5.0


class Clocks:
    """How long the next wait may last. Used by one thread at a time, the reader.

    A phase (connect, first_chunk, idle) has a budget that waiting uses up, however many bytes
    come meanwhile; a chunk refills it. `total` is a point in time.
    """

    __slots__ = (
        "_budget_s",
        "_idle_s",
        "_now",
        "_phase",
        "_timeouts",
        "_total_at",
        "_wait_began",
        "chunk_came",
        "finish_came",
        "fired",
        "gave_up",
        "may_give_up",
        "reader_until",
    )

    def __init__(self, timeouts: Timeouts, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._timeouts = timeouts
        self._total_at = now() + as_seconds(timeouts.total_s)
        self._phase: Clock = "connect"
        self._budget_s = math.inf
        self._idle_s = as_seconds(timeouts.idle_s)
        self._wait_began = 0.0
        self.chunk_came = False
        """Set for every chunk that is handed on; heard before the next wait."""
        self.finish_came = False
        """Set by the stream with the finish reason: only usage and the end mark are to come.
        Taken back should more content come all the same."""
        self.fired: Optional[Clock] = None
        """Which clock ran out."""
        self.reader_until = math.inf
        """When the reader wants to hear that nothing has come. No clock: the call goes on."""
        self.may_give_up = False
        """Set while whoever reads can take None from a socket, for nothing by `reader_until`."""
        self.gave_up = False
        """Set by a socket that did."""

    def connecting(self) -> None:
        """A new attempt begins."""
        self._phase, self._budget_s = "connect", as_seconds(self._timeouts.connect_s)
        self.chunk_came = self.finish_came = False
        self.fired = None

    def sending(self) -> None:
        """The connection stands; from now on the provider is waited for."""
        self._phase, self._budget_s = "first_chunk", as_seconds(self._timeouts.first_chunk_s)

    def at_most(self, seconds: float) -> None:
        """Give the rest of the current phase no more than this."""
        self._budget_s = min(self._budget_s, as_seconds(seconds))
        self.chunk_came = False

    def before_wait(self) -> Optional[float]:
        """Seconds that the coming wait may last, or None for no limit.

        Raises:
            socket.timeout: None are left.
        """
        if self.chunk_came:
            self.chunk_came = False
            self._phase, self._budget_s = "idle", self._idle_s
            if self.finish_came:
                self._budget_s = min(self._budget_s, _AFTER_FINISH_S)
        self._wait_began = now = self._now()
        left = self._budget_s
        if now + left > self._total_at:
            left = self._total_at - now
        if left <= 0:
            raise self.expired()
        return left if left <= _LONGEST_S else None

    def after_wait(self) -> None:
        """The wait is over, and took its share of the budget."""
        self._budget_s -= self._now() - self._wait_began

    def reader_left_s(self) -> float:
        """Seconds that the reader will wait yet, at the beginning of a wait."""
        return min(self.reader_until - self._wait_began, _LONGEST_S)

    def expired(self) -> socket.timeout:
        """Note which clock ran out; the exception to raise."""
        now = self._now()
        waited_out = self._total_at - now <= self._budget_s - (now - self._wait_began)
        self.fired = "total" if waited_out else self._phase
        return socket.timeout(f"the {self.fired} clock ran out")

    def total_expired(self) -> socket.timeout:
        """Note that the total deadline has passed; the exception to explain."""
        self.fired = "total"
        return socket.timeout("the total clock ran out")

    def total_left_s(self) -> float:
        """Seconds until the total deadline; infinite without one."""
        return self._total_at - self._now()

    def limit_s(self) -> Optional[float]:
        """How many seconds the clock that fired allows."""
        limits = self._timeouts
        return {
            "connect": limits.connect_s,
            "first_chunk": limits.first_chunk_s,
            "idle": limits.idle_s,
            "total": limits.total_s,
        }[self.fired or self._phase]


def as_seconds(limit: float | None) -> float:
    """A limit as a number: infinite if there is none, and if it is over 11 days."""
    return math.inf if limit is None or limit > _LONGEST_S else limit


def as_wait(seconds: float | None) -> Optional[float]:
    """Seconds as the system's waits take them: None for as long as it takes."""
    return None if seconds is None or seconds > _LONGEST_S else seconds
