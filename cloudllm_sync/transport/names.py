"""Host names to addresses, within the connect clock.

The system's resolver can neither be given a time nor be interrupted, and takes half a minute where
no server answers. So it runs on a thread of its own, which is left behind if it is too slow.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import threading
import time
from typing import Any, Callable, Optional

from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.forks import renew_in_children

__all__ = ["resolve"]


# A lookup that is older may never be answered: its question was lost, or its server is gone. The
# next call asks anew, and so leaves at most one thread behind in this time.
_YOUNG_S = 2.0


class _Lookup:
    """One question to the resolver."""

    def __init__(self, host: str, port: int, began_s: float) -> None:
        self.place = (host, port)
        self.began_s = began_s
        self.addresses: list[Any] = []  # both are written before `done`, once
        self.error: Optional[Exception] = None
        self.done = False
        self.waiting: list[Callable[[], None]] = []  # guarded by the lock of _Lookups


class _Lookups:
    """Questions that have no answer yet; calls that want the same wait for it together.

    Otherwise every call of a client whose resolver hangs would leave a thread behind.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the threads that ask are the parent's."""
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}  # guarded by _lock

    def begin(self, host: str, port: int, tell: Callable[[], None]) -> _Lookup:
        """The lookup of this name, begun if there is no young one; `tell` hears its end."""
        place, now = (host, port), self._now()
        with self._lock:
            lookup = self._running.get(place)
            if lookup is not None and now - lookup.began_s < _YOUNG_S:
                lookup.waiting.append(tell)
                return lookup
            lookup = self._running[place] = _Lookup(host, port, now)
            lookup.waiting.append(tell)
        run = functools.partial(self._run, lookup)
        try:
            threading.Thread(target=run, name="cloudllm-resolver", daemon=True).start()
        except RuntimeError:
            run()  # no more threads: at the interpreter's exit, or at the system's limit
        except BaseException:
            self._end(lookup)  # Ctrl-C: nobody may answer it
            raise
        return lookup

    def _run(self, lookup: _Lookup) -> None:
        try:
            lookup.addresses = socket.getaddrinfo(*lookup.place, 0, socket.SOCK_STREAM)
        except Exception as error:  # UnicodeError, and whatever a patched resolver raises
            lookup.error = error
        lookup.done = True
        self._end(lookup)
        for tell in lookup.waiting:
            tell()

    def _end(self, lookup: _Lookup) -> None:
        with self._lock:
            if self._running.get(lookup.place) is lookup:
                del self._running[lookup.place]


_lookups = _Lookups()


def resolve(host: str, port: int, seconds: Optional[float], cancellation: Cancellation) -> Any:
    """What `socket.getaddrinfo()` gives for a stream.

    Raises:
        OSError, UnicodeError: The resolver's own errors.
        socket.timeout: It has not answered within `seconds`.
        StreamCancelled: It was not waited for.
    """
    if _is_number(host):
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    woken = threading.Event()
    lookup = _lookups.begin(host, port, woken.set)
    cancellation.on_cancel(woken.set)
    try:
        woken.wait(seconds)
    finally:
        cancellation.forget(woken.set)
    cancellation.check()
    if not lookup.done:
        raise socket.timeout("the name was not resolved in time")
    if lookup.error is not None:
        raise type(lookup.error)(*lookup.error.args)  # one for each waiting thread
    return lookup.addresses


@functools.lru_cache(maxsize=64)
def _is_number(host: str) -> bool:
    """Whether it is an address already: that asks no server, and needs no thread."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
