"""A request to stop, made by any thread, heard by whoever is waiting."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import Callable, Optional

from cloudllm_sync.errors import StreamCancelled, cancelled_by
from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["Cancellation", "current_cancellation", "using"]


class Cancellation:
    """A flag, and the calls that wake up what waits for something else meanwhile.

    The lock is re-entrant: a stream that the garbage collector finds cancels from wherever it
    runs, which may be inside of this very class.
    """

    __slots__ = ("__weakref__", "_lock", "_wakers", "cause", "requested")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._wakers: list[Callable[[], None]] = []  # guarded by _lock
        self.requested = False  # written under _lock, once
        self.cause: Optional[BaseException] = None  # written under _lock, before `requested`
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: whoever waited is in the parent, with locks that stay as they were."""
        self._lock = threading.RLock()
        self._wakers = []

    def cancel(self, cause: BaseException | None = None) -> None:
        """Ask for the end. Only the first call counts; it returns at once."""
        with self._lock:
            if self.requested:
                return
            self.cause = cause
            self.requested = True
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def on_cancel(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the end is asked for; at once if it was."""
        with self._lock:
            if not self.requested:
                self._wakers.append(wake)
                return
        wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Take `wake` back."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)

    def error(self) -> StreamCancelled:
        """What the one who waited is to raise."""
        return cancelled_by(self.cause, "the reply was cancelled")

    def check(self) -> None:
        """Raise StreamCancelled if the end was asked for."""
        if self.requested:
            raise self.error()

    def wait(self, seconds: float) -> bool:
        """Wait this long, or until the end is asked for; whether it was."""
        asked = threading.Event()
        self.on_cancel(asked.set)
        try:
            return asked.wait(seconds)
        finally:
            self.forget(asked.set)


_current: contextvars.ContextVar[Optional[Cancellation]] = contextvars.ContextVar(
    "cloudllm_sync.cancellation", default=None
)


def current_cancellation() -> Cancellation:
    """The one that whoever opens streams here will use; a new one if nobody does."""
    return _current.get() or Cancellation()


@contextlib.contextmanager
def using(cancellation: Cancellation) -> Iterator[None]:
    """Have the streams that are opened inside obey `cancellation`, whoever's client opens them."""
    token = _current.set(cancellation)
    try:
        yield
    finally:
        _current.reset(token)
