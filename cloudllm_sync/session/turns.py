"""Turns of a session, one after the other: tickets, served first come, first served.

A ticket is held while a reply streams; no lock is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Optional

from cloudllm_sync.errors import ConfigurationError, SessionBusyError
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["Ticket", "TicketQueue", "checked_timeout"]


class _Place:
    """Where a ticket stands in the queue, which knows the place and not the ticket."""

    __slots__ = ("gate", "thread")

    def __init__(self) -> None:
        # A bare lock, taken at birth: an Event has one inside that is not re-entrant, and the
        # garbage collector may end a turn, and so grant this one, while its thread begins to wait.
        self.gate = threading.Lock()
        self.gate.acquire()
        # Not its number: that is used again once the thread has ended.
        self.thread: Optional[threading.Thread] = None
        """The thread that took the turn; written by that thread."""

    def grant(self) -> None:
        """Its turn has come, or its wait is over."""
        with contextlib.suppress(RuntimeError):  # it was granted, or cancelled, before
            self.gate.release()


class Ticket:
    """A place in the queue; once it is granted, the turn.

    A ticket that nobody holds any more has left the queue: a Ctrl-C may come between any two
    steps of whoever took it.
    """

    __slots__ = ("_place", "_queue")

    def __init__(self, queue: TicketQueue, place: _Place) -> None:
        self._queue = queue
        self._place = place

    def __del__(self) -> None:
        self.release()

    def wait(self, timeout_s: float, cancellation: Cancellation) -> None:
        """Wait for the turn.

        Raises:
            SessionBusyError: It has not come within `timeout_s` seconds, or would never come, as
                the thread would be waiting for itself.
            StreamCancelled: The wait was cancelled.
        """
        me = threading.current_thread()
        began = time.monotonic()
        place = self._place
        if place.gate.locked() and self._queue.running_thread() is me:
            self.release()
            raise SessionBusyError(
                "this thread has an unfinished stream on this session, and would wait for itself: "
                "read the stream to its end, or close it, first"
            )
        cancellation.on_cancel(place.grant)
        try:
            place.gate.acquire(timeout=timeout_s)
        except BaseException:
            self.release()  # Ctrl-C, whose traceback may keep this ticket for long
            raise
        finally:
            cancellation.forget(place.grant)
        if cancellation.requested:
            self.release()
            raise cancellation.error()
        place.thread = me
        if not self.is_running():
            self.release()
            waited = time.monotonic() - began
            raise SessionBusyError(
                f"another turn of this session was still running after {waited:.1f} s: wait for "
                "it, or raise turn_timeout",
                waited_s=waited,
                retryable=True,
            )

    def is_running(self) -> bool:
        """Whether its turn has come, and is not over."""
        return self._queue.is_running(self._place)

    def release(self) -> None:
        """Leave the queue, or end the turn. Idempotent."""
        self._queue.remove(self._place)


class TicketQueue:
    """Who is running and who waits. The lock is re-entrant: garbage collection may end a turn."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: Optional[_Place] = None  # guarded by _lock
        self._waiting: deque[_Place] = deque()  # guarded by _lock
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the turns are those of the parent's threads."""
        self._lock = threading.RLock()
        self._running = None
        self._waiting = deque()

    def enter(self, *, refuse: bool = False) -> Ticket:
        """A ticket, granted already if nobody runs.

        Args:
            refuse: Raise SessionBusyError rather than wait behind somebody.
        """
        place = _Place()
        ticket = Ticket(self, place)  # before it stands in the queue: it takes it out again
        with self._lock:
            if self._running is None:
                self._running = place
                place.grant()
            elif refuse:
                raise SessionBusyError(
                    "another turn of this session is running: try again later", retryable=True
                )
            else:
                self._waiting.append(place)
        return ticket

    def is_running(self, place: _Place) -> bool:
        """Whether it is this place's turn."""
        with self._lock:
            return self._running is place

    def running_thread(self) -> Optional[threading.Thread]:
        """The thread whose turn it is; None before it has begun."""
        with self._lock:
            return None if self._running is None else self._running.thread

    def remove(self, place: _Place) -> None:
        """Take a place out; if it was running, the next one is granted."""
        with self._lock:
            if self._running is not place:
                if place in self._waiting:
                    self._waiting.remove(place)
                return
            self._running = self._waiting.popleft() if self._waiting else None
            if self._running is not None:
                self._running.grant()


def checked_timeout(seconds: float) -> float:
    """A turn's time-out, checked.

    Raises:
        ConfigurationError: It is negative or no number.
    """
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ConfigurationError(
            f"turn_timeout must be seconds, 0 to refuse at once, not {seconds!r}"
        )
    return float(seconds)
