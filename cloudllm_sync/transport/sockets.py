"""Sockets that know which call owns them, and wait no longer than its clocks allow."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Callable, Optional, Protocol

from urllib3.util import wait_for_read, wait_for_write

from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.forks import no_fork

__all__ = ["CallSSLContext", "CallSSLSocket", "CallSocket", "OwnedSocket"]

# One recv fills this much at the most: many events a system call when they come fast. Memory is
# touched only as far as bytes come.
_READ_BUFFER_BYTES = 32 * 1024

# No clock is right to a millisecond; and setting a limit is a system call, which lets the many
# threads that wait for the interpreter have it first.
_SAME_S = 0.001


class Owner(Protocol):
    """The call that a socket serves just now."""

    clocks: Clocks
    received: bool

    def take(self, sock: OwnedSocket) -> None:
        """Have this socket from now."""


class OwnedSocket:
    """Waits no longer than its call's clocks allow; `claim` is set by the owning thread."""

    claim: Optional[Owner] = None
    _recv_into: Callable[..., int]
    """The socket's own; super() would be looked up at every read."""
    _reads_all = True
    """Whether one read takes all that has come, if there is room."""
    _is_drained = False  # since the last read in time; of the reading thread

    # For every read, so for every token of a slow model, when nothing of it is in the
    # processor's caches: each call of a function here shows.
    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
        claim = self.claim
        nbytes = nbytes or len(buffer)  # gevent's TLS sockets take 0 at its word
        if claim is None:
            return self._recv_into(buffer, nbytes, flags)
        clocks = claim.clocks
        if clocks.may_give_up:
            return self._recv_in_time(buffer, nbytes, flags)
        seconds = clocks.before_wait()
        if seconds != self.gettimeout():  # type: ignore[attr-defined]
            self._wait_at_most(seconds)
        try:
            count = self._recv_into(buffer, nbytes, flags)
        except socket.timeout:
            raise clocks.expired() from None
        clocks.after_wait()
        if count:
            claim.received = True
        return count

    def _recv_in_time(self, buffer: Any, nbytes: int, flags: int) -> Optional[int]:
        """As recv_into(); None if nothing has come by the time that the reader names."""
        claim = self.claim
        assert claim is not None
        clocks = claim.clocks
        drained, self._is_drained = self._is_drained, False
        if drained and clocks.reader_until == 0:
            clocks.gave_up = True
            return None
        if self.gettimeout() != 0:  # type: ignore[attr-defined]
            super().settimeout(0)  # type: ignore[misc]
        while True:
            seconds = clocks.before_wait()
            wait_s = clocks.reader_left_s()
            if seconds is not None and seconds < wait_s:
                wait_s = seconds
            came = wait_s <= 0 or wait_for_read(self, wait_s)  # type: ignore[arg-type]
            if came:
                try:
                    count = self._recv_into(buffer, nbytes, flags)
                    break
                except (BlockingIOError, ssl.SSLWantReadError):
                    pass  # a part of a TLS record
            elif wait_s == seconds:
                raise clocks.expired()
            clocks.after_wait()
            if not came or wait_s <= 0:
                clocks.gave_up = True
                return None
        clocks.after_wait()
        if count:
            claim.received = True
        self._is_drained = count < nbytes and self._reads_all
        return count

    def settimeout(self, value: Optional[float]) -> None:
        """Nothing while a call owns the socket: its clocks say how long to wait, not urllib3."""
        if self.claim is None:
            super().settimeout(value)  # type: ignore[misc]

    def _wait_at_most(self, seconds: Optional[float]) -> None:
        now: Optional[float] = self.gettimeout()  # type: ignore[attr-defined]
        if seconds is None or now is None or not 0 <= now - seconds < _SAME_S:
            super().settimeout(seconds)  # type: ignore[misc]

    def send(self, data: Any, flags: int = 0, **of_gevent: Any) -> int:
        """As socket.send(); gevent's sendall() passes its time-out."""
        with self._on_its_clocks():
            return super().send(data, flags, **of_gevent)  # type: ignore[misc, no-any-return]

    @contextlib.contextmanager
    def _on_its_clocks(self) -> Iterator[None]:
        if self.claim is None:
            yield
            return
        clocks = self.claim.clocks
        self._wait_at_most(clocks.before_wait())
        try:
            yield
        except socket.timeout:
            raise clocks.expired() from None
        clocks.after_wait()

    def makefile(self, mode: str = "r", buffering: Any = None, **options: Any) -> Any:
        if mode == "rb" and buffering is None:
            buffering = _READ_BUFFER_BYTES
        file = super().makefile(mode, buffering, **options)  # type: ignore[misc]
        if mode == "rb":
            file.raw.readinto = self.recv_into  # past checks that are the reader's own, too
        return file


class CallSocket(OwnedSocket, socket.socket):
    """A TCP socket of a call."""

    _recv_into = socket.socket.recv_into

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As socket.sendall(), on the call's clocks; over TLS it goes through send()."""
        with self._on_its_clocks():
            super().sendall(data, flags)


class CallSSLSocket(OwnedSocket, ssl.SSLSocket):  # type: ignore[misc]
    """A TLS socket of a call."""

    _recv_into = ssl.SSLSocket.recv_into
    _reads_all = False  # but one TLS record

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As SSLSocket.recv(), which calls it itself while it takes over a lost connection; before
        Python 3.13 it then forgets to close it (https://github.com/python/cpython/issues/113280).
        """
        try:
            return super().recv(buflen, flags)
        except OSError as error:
            lost = error.errno not in (errno.ENOTCONN, errno.EINVAL)
            if lost and self._sslobj is None:  # type: ignore[attr-defined]
                self.close()
            raise


def _shake_hands(sock: ssl.SSLSocket, clocks: Clocks) -> None:
    """Shake hands step by step: no fork comes into a step, and no step waits."""
    sock.setblocking(False)
    while True:
        seconds = clocks.before_wait()
        try:
            with no_fork:
                sock.do_handshake()
            break
        except ssl.SSLWantReadError:
            is_ready = wait_for_read(sock, seconds)
        except ssl.SSLWantWriteError:
            is_ready = wait_for_write(sock, seconds)
        if not is_ready:
            raise clocks.expired()
        clocks.after_wait()
    clocks.after_wait()


class CallSSLContext(ssl.SSLContext):
    """A TLS context whose sockets belong to their call during the handshake already."""

    sslsocket_class = CallSSLSocket

    def wrap_socket(self, sock: Any, *args: Any, **options: Any) -> Any:
        """As SSLContext.wrap_socket(), on the clocks of the socket's call."""
        claim = getattr(sock, "claim", None)
        if claim is None:
            return super().wrap_socket(sock, *args, **options)
        options["do_handshake_on_connect"] = False
        with no_fork:
            wrapped = super().wrap_socket(sock, *args, **options)
        try:
            claim.take(wrapped)
            _shake_hands(wrapped, claim.clocks)
        except BaseException:
            wrapped.close()
            raise
        return wrapped
