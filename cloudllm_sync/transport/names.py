"""Host names to addresses, within the connect clock.

The system's resolver can neither be given a time nor be interrupted, and takes half a minute where
no server answers. So it runs on a thread of its own, which is left behind if it is too slow.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from typing import Any, Callable, Optional

from cloudllm_sync.transport.cancellation import Cancellation

__all__ = ["resolve"]


class _Lookup:
    """One question to the resolver; all calls that want the same wait for it together.

    Otherwise every call of a client whose resolver hangs would leave a thread behind.
    """

    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)
        self.addresses: list[Any] = []  # both are written before `done`
        self.error: Optional[Exception] = None
        self.done = False  # guarded by _lock
        self.waiting: list[Callable[[], None]] = []  # guarded by _lock

    def run(self) -> None:
        try:
            self.addresses = socket.getaddrinfo(*self.place, 0, socket.SOCK_STREAM)
        except Exception as error:  # UnicodeError, and whatever a patched resolver raises
            self.error = error
        with _lock:
            self.done = True
            _lookups.pop(self.place, None)
        for tell in self.waiting:
            tell()


_lookups: dict[tuple[str, int], _Lookup] = {}  # guarded by _lock
_lock = threading.Lock()


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
    lookup = _begin(host, port, woken.set)
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


def _is_number(host: str) -> bool:
    """Whether it is an address already: that asks no server, and needs no thread."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _begin(host: str, port: int, tell: Callable[[], None]) -> _Lookup:
    """The lookup of this name, begun if nobody else waits for one."""
    with _lock:
        lookup = _lookups.get((host, port))
        if lookup is not None:
            lookup.waiting.append(tell)
            return lookup
        lookup = _lookups[host, port] = _Lookup(host, port)
        lookup.waiting.append(tell)
    try:
        threading.Thread(target=lookup.run, name="cloudllm-resolver", daemon=True).start()
    except RuntimeError:
        lookup.run()  # no more threads: at the interpreter's exit, or at the system's limit
    except BaseException:
        with _lock:
            _lookups.pop((host, port), None)  # Ctrl-C: nobody may answer it
        raise
    return lookup


def _forget_lookups() -> None:
    """In a forked child: their threads are the parent's."""
    global _lookups, _lock
    _lookups = {}
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lookups)
