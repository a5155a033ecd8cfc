"""What msgspec learns of a class when it meets it first, by one thread at a time.

It notes the class before it has read the types of its fields, as they may name the class again;
another thread that decodes the same class then reads what is not there yet, and the process dies.
Seen in msgspec 0.22.0, on Python 3.9 to 3.13.
"""

from __future__ import annotations

import os
import threading
from typing import TypeVar

import msgspec

__all__ = ["known"]

_Kind = TypeVar("_Kind")

# More are not remembered: programs may make classes for ever.
_MOST = 1024

_lock = threading.RLock()  # to look at annotations may mean to come here again
_known: set[object] = set()  # grows under _lock; read without


def known(kind: type[_Kind]) -> type[_Kind]:
    """The same type, once msgspec may decode it on any thread.

    Raises:
        TypeError: msgspec cannot decode it.
    """
    is_class = issubclass(type(kind), type)  # aliases as list[int] say so, too, on Python 3.9
    if is_class and kind in _known:
        return kind
    with _lock:
        try:
            msgspec.convert(None, kind)
        except msgspec.ValidationError:
            pass  # None is none of them
        if len(_known) >= _MOST:
            _known.clear()
        if is_class:
            _known.add(kind)
    return kind


if hasattr(os, "register_at_fork"):  # a child has no thread that goes on with a class half known
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
