"""The connections that wait for their next call, where urllib3's pools would keep a LifoQueue.

That one is filled with a place for every connection there may be, at the first call to a host, and
has a lock that a forked child may find taken. This one begins empty, and needs no lock: a list's
single operations are whole.
"""

from __future__ import annotations

import queue
from typing import Any, Optional

__all__ = ["IdleConnections"]


class IdleConnections:
    """The last one in is the first one out, with the methods of a LifoQueue that urllib3 calls."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._idle: list[Any] = []  # single list operations only

    def put(self, conn: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        """Keep a connection; None, which is a place for one, is nothing to keep.

        Raises:
            queue.Full: There are enough. It never waits.
        """
        if conn is None:
            return
        if len(self._idle) >= self.maxsize:
            raise queue.Full
        self._idle.append(conn)

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """The connection that was used last.

        Raises:
            queue.Empty: A new one has to be made. It never waits.
        """
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """How many wait."""
        return len(self._idle)
