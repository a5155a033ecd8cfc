"""Locks after a fork: a child has its parent's as they were, maybe held by a thread it lacks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

__all__ = ["Renewable", "no_fork", "renew_in_children"]

no_fork = threading.RLock()
"""Held for moments where C code has locks that nobody can renew: forks wait for them. OpenSSL has
one about its random numbers, for instance, which the first handshake of every thread takes."""


class Renewable(Protocol):
    """Something with locks, or with marks of threads, that a child cannot use."""

    def renew(self) -> None:
        """Make them anew. Called in the child, before anything else runs there."""


_known: weakref.WeakSet[Renewable] = weakref.WeakSet()  # guarded by _lock
# Re-entrant: the garbage collector may run inside, and end a stream whose observers begin another.
_lock = threading.RLock()


def renew_in_children(thing: Renewable) -> None:
    """Have `thing` renewed in every child that is forked while it lives."""
    with _lock:
        _known.add(thing)


def _renew_all() -> None:
    global _lock
    no_fork.release()  # held by the thread that forks, which is this one
    _lock = threading.RLock()
    for thing in list(_known):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=no_fork.acquire,
        after_in_parent=no_fork.release,
        after_in_child=_renew_all,
    )
