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

__all__ = ["Ticket", "TicketQueue", "checked_timeout"]


class Ticket:
    """A place in the queue; once it is granted, the turn."""

    __slots__ = ("_gate", "_queue", "thread")

    def __init__(self, queue: TicketQueue) -> None:
        self._queue = queue
        # A bare lock, taken at birth: an Event has one inside that is not re-entrant, and the
        # garbage collector may end a turn, and so grant this one, while its thread begins to wait.
        self._gate = threading.Lock()
        self._gate.acquire()
        # Not its number: that is used again once the thread has ended.
        self.thread: Optional[threading.Thread] = None
        """The thread that took the turn; written by that thread."""

    def grant(self) -> None:
        """It is this ticket's turn."""
        with contextlib.suppress(RuntimeError):  # it was granted, or cancelled, before
            self._gate.release()

    def wait(self, timeout_s: float, cancellation: Cancellation) -> None:
        """Wait for the turn.

        Raises:
            SessionBusyError: It has not come within `timeout_s` seconds, or would never come, as
                the thread would be waiting for itself.
            StreamCancelled: The wait was cancelled.
        """
        me = threading.current_thread()
        began = time.monotonic()
        if self._gate.locked() and self._queue.running_thread() is me:
            self.release()
            raise SessionBusyError(
                "this thread has an unfinished stream on this session, and would wait for itself: "
                "read the stream to its end, or close it, first"
            )
        cancellation.on_cancel(self.grant)
        try:
            self._gate.acquire(timeout=timeout_s)
        except BaseException:
            self.release()  # Ctrl-C
            raise
        finally:
            cancellation.forget(self.grant)
        if cancellation.requested:
            self.release()
            raise cancellation.error()
        self.thread = me
        if not self._queue.is_running(self):
            self.release()
            waited = time.monotonic() - began
            raise SessionBusyError(
                f"another turn of this session was still running after {waited:.1f} s: wait for "
                "it, or raise turn_timeout",
                waited_s=waited,
                retryable=True,
            )

    def release(self) -> None:
        """Leave the queue, or end the turn. Idempotent."""
        self._queue.remove(self)


class TicketQueue:
    """Who is running and who waits. The lock is re-entrant: garbage collection may end a turn."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: Optional[Ticket] = None  # guarded by _lock
        self._waiting: deque[Ticket] = deque()  # guarded by _lock

    def enter(self, *, refuse: bool = False) -> Ticket:
        """A ticket, granted already if nobody runs.

        Args:
            refuse: Raise SessionBusyError rather than wait behind somebody.
        """
        ticket = Ticket(self)
        with self._lock:
            if self._running is None:
                self._running = ticket
                ticket.grant()
            elif refuse:
                raise SessionBusyError(
                    "another turn of this session is running: try again later", retryable=True
                )
            else:
                self._waiting.append(ticket)
        return ticket

    def is_running(self, ticket: Ticket) -> bool:
        """Whether it is this ticket's turn."""
        with self._lock:
            return self._running is ticket

    def running_thread(self) -> Optional[threading.Thread]:
        """The thread whose turn it is; None before it has begun."""
        with self._lock:
            return None if self._running is None else self._running.thread

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out; if it was running, the next one is granted."""
        with self._lock:
            if self._running is not ticket:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
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
