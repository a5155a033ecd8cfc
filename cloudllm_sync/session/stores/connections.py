"""SQLite's connections: one thread at a time has one, and no child has its parent's."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ConnectionPool"]

_MOST_IDLE = 8  # each has three files open
_FORK_S = 10.0

_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()  # guarded by _lock
_lock = threading.Lock()
# What a child found open: closing it there would take the parent's locks or its journal away.
_abandoned: list[sqlite3.Connection] = []


class ConnectionPool:
    """Opens connections when they are wanted, and keeps some for whoever comes next.

    Before a fork all are closed, and those in use waited for. SQLite knows within a process which
    files it has locked; a child that inherits this knowledge, but not the locks, believes that
    what it opens is locked: when the parent closes its last connection, the journal that the child
    writes to is deleted, and with it what was committed.
    Source: sqlite.org/howtocorrupt.html, 2.6.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        # Re-entrant: the garbage collector may end a stream, and so a turn, anywhere.
        self._changed = threading.Condition(threading.RLock())
        self._idle: list[sqlite3.Connection] = []  # guarded by _changed, as the following
        self._users: dict[int, int] = {}  # thread to how many it has
        self._forking = False
        weakref.finalize(self, _close_all, self._idle)
        with _lock:
            _pools.add(self)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread's own. One that was left by an error is closed."""
        self._enter()
        try:
            connection = self._take() or self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)
        finally:
            self._leave()

    def close(self) -> None:
        """Close those that nobody uses; whoever needs one opens it again."""
        with self._changed:
            closing = self._idle[:]
            self._idle.clear()
        _close_all(closing)

    def stop(self) -> None:
        """Before a fork: wait until nobody uses a connection, and close all."""
        with self._changed:
            self._forking = True
            this_thread = {threading.get_ident()}
            self._changed.wait_for(lambda: self._users.keys() <= this_thread, _FORK_S)
        self.close()

    def go_on(self) -> None:
        """After a fork, in the parent."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def begin_anew(self) -> None:
        """After a fork, in the child: forget what is the parent's."""
        self._changed = threading.Condition(threading.RLock())
        _abandoned.extend(self._idle)
        self._idle.clear()
        self._users = {}
        self._forking = False

    def _enter(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            # Who has one already is waited for: he cannot wait in turn.
            while self._forking and thread not in self._users:
                self._changed.wait()
            self._users[thread] = self._users.get(thread, 0) + 1

    def _leave(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            left = self._users.pop(thread, 1) - 1
            if left:
                self._users[thread] = left
            self._changed.notify_all()

    def _take(self) -> sqlite3.Connection | None:
        with self._changed:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._changed:
            if len(self._idle) < _MOST_IDLE and not self._forking:
                self._idle.append(connection)
                return
        connection.close()


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _before_fork() -> None:
    with _lock:
        pools = list(_pools)
    for pool in pools:
        pool.stop()


def _in_parent() -> None:
    with _lock:
        pools = list(_pools)
    for pool in pools:
        pool.go_on()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in list(_pools):
        pool.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
