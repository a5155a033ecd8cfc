"""Leases: of all processes that share a store, one at a time works on a session.

A lease is asked for before a turn's request is sent, and ends by itself soon after its process was
killed; whoever needs longer than that has a thread ask for more. Where a lease was lost all the
same (the process was stopped for long, say), the store's compare-and-swap is the referee.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
import weakref
from typing import Optional

from cloudllm_sync.errors import SessionBusyError
from cloudllm_sync.session.stores import SessionStore
from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["LEASE_S", "Lease"]

LEASE_S = 15.0
"""How long a killed process keeps others waiting, at most."""

_log = logging.getLogger("cloudllm_sync.session")

# Between two questions whether the other's lease has ended: at first, and at most.
_FIRST_POLL_S = 0.01
_LAST_POLL_S = 0.25


class Lease:
    """One turn's right to a session of a store. One that nobody holds any more is given back."""

    def __init__(self, store: SessionStore, session_id: str, seconds: float) -> None:
        self._store = store
        self._session_id = session_id
        self._seconds = seconds
        self._owner = uuid.uuid4().hex
        self._thread = threading.current_thread()
        self._pid = os.getpid()
        self._ending = False  # no more is asked for
        self._released = False

    def __del__(self) -> None:
        self.release()

    def wait(self, timeout_s: float, cancellation: Cancellation) -> None:
        """Wait until nobody else has the session.

        Raises:
            SessionBusyError: Somebody else had it for `timeout_s` seconds, or this thread itself
                has, by another session object.
            StreamCancelled: The wait was cancelled.
        """
        began = time.monotonic()
        poll_s = _FIRST_POLL_S
        while True:
            left_s = self._store.lease(self._session_id, self._owner, self._seconds)
            if left_s <= 0:
                break
            waited_s = time.monotonic() - began
            if _keeper.is_held_by_this_thread(self):
                raise SessionBusyError(
                    "this thread has an unfinished stream on another session of this name, and "
                    "would wait for itself: read the stream to its end, or close it, first"
                )
            if waited_s >= timeout_s:
                raise SessionBusyError(
                    "another process or session object is working on the session "
                    f"{self._session_id!r}, and still was after {waited_s:.1f} s: try again later",
                    waited_s=waited_s,
                    retryable=True,
                )
            if cancellation.wait(min(poll_s, left_s, timeout_s - waited_s)):
                raise cancellation.error()
            poll_s = min(poll_s * 1.5, _LAST_POLL_S)
        _keeper.keep(self)

    def is_for_the_same(self, other: Lease) -> bool:
        """Whether both are, or want to be, for one session, in one thread."""
        return (
            self._store is other._store
            and self._session_id == other._session_id
            and self._thread is other._thread
        )

    @property
    def renew_every_s(self) -> Optional[float]:
        """How often to ask for more time; None if it does not end."""
        return self._seconds / 3 if self._store.leases_end else None

    def renew(self) -> bool:
        """Ask for more time; whether there is any use in asking again."""
        if self._ending:
            return False
        try:
            if self._store.lease(self._session_id, self._owner, self._seconds) <= 0:
                if self._ending:  # it was given back meanwhile
                    self._store.release(self._session_id, self._owner)
                return True
        except Exception:  # foreign code: any store
            _log.warning("the lease of a session could not be renewed", exc_info=True)
            return True
        _log.warning("the lease of a session was lost: whoever commits first wins")
        return False

    def release(self) -> None:
        """Give it back. Idempotent; a forked child has no part in its parent's."""
        if self._released or os.getpid() != self._pid:
            return
        self._ending = True
        _keeper.forget(self)
        try:
            self._store.release(self._session_id, self._owner)
        except Exception:  # foreign code, as above
            _log.warning("the lease of a session could not be given back", exc_info=True)
        self._released = True  # last: Ctrl-C may come at any line, and then it is tried again


class _Keeper:
    """All leases of this process, and the thread that renews them, which lives while there are any.

    The lock is re-entrant: the garbage collector may end a turn anywhere.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        # When to renew each, None for never; guarded by _changed. Weak: nobody may hold it.
        self._due: weakref.WeakKeyDictionary[Lease, Optional[float]] = weakref.WeakKeyDictionary()
        self._thread: Optional[threading.Thread] = None  # guarded by _changed
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the leases, and the thread, are the parent's."""
        self._changed = threading.Condition(threading.RLock())
        self._due = weakref.WeakKeyDictionary()
        self._thread = None

    def is_held_by_this_thread(self, lease: Lease) -> bool:
        """Whether the thread that wants it has it, under another owner's name."""
        with self._changed:
            return any(held.is_for_the_same(lease) for held in self._due)

    def keep(self, lease: Lease) -> None:
        """Renew it until it is forgotten."""
        every_s = lease.renew_every_s
        with self._changed:
            self._due[lease] = None if every_s is None else time.monotonic() + every_s
            if every_s is None or self._thread is not None:
                self._changed.notify()
                return
            self._thread = threading.Thread(target=self._run, name="cloudllm-leases", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had: the compare-and-swap is the referee
                self._thread = None
                _log.warning("no thread could be started: leases are not renewed", exc_info=True)

    def forget(self, lease: Lease) -> None:
        """Renew it no more."""
        with self._changed:
            self._due.pop(lease, None)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                due = [at for at in self._due.values() if at is not None]
                if not due:
                    self._thread = None
                    return
                self._changed.wait(min(due) - time.monotonic())
                now = time.monotonic()
                leases = [lease for lease, at in self._due.items() if at is not None and at <= now]
            while leases:
                self._renew(leases.pop())

    def _renew(self, lease: Lease) -> None:
        every_s = lease.renew_every_s if lease.renew() else None
        with self._changed:
            if lease in self._due:
                self._due[lease] = None if every_s is None else time.monotonic() + every_s


_keeper = _Keeper()
