"""One client on a socket: bytes in, bytes out, and waits that end when it leaves."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["Gone", "Peer"]

_READ_BYTES = 262_144
_LOOK_EVERY_S = 0.005
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Gone(Exception):
    """The connection is over, whichever side ended it."""


class Peer:
    """The client's end, for the one thread that serves it; `wake()` may come from any thread.

    Every wait is a read: what the client sends meanwhile is kept for the next request, and its
    leaving, or `wake()`, ends the wait with `Gone`. A client that closes only its sending side
    has left, too.
    """

    def __init__(self, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        with contextlib.suppress(OSError):  # some systems refuse once the client has left
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clock = clock
        self._received = bytearray()
        self._lock = threading.Lock()
        self._socket = sock  # replaced and closed under _lock
        self._closed = False  # guarded by _lock

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        try:
            with self._lock:
                self._socket = context.wrap_socket(
                    self._socket, server_side=True, do_handshake_on_connect=False
                )
            self._socket.do_handshake()
        except (OSError, ValueError) as error:
            raise Gone from error

    def send(self, data: bytes, *, past_tls: bool = False) -> None:
        """Write all of it, however long the client takes to read."""
        try:
            if self._socket.gettimeout() is not None:
                self._socket.settimeout(None)
            if past_tls:
                socket.socket.sendall(self._socket, data)
            else:
                self._socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def read_until(self, mark: bytes) -> bytes:
        """What comes before the mark; the mark is taken, too."""
        searched = 0
        while True:
            end = self._received.find(mark, searched)
            if end >= 0:
                return self.read_exactly(end + len(mark))[:end]
            searched = max(0, len(self._received) - len(mark) + 1)
            self._read(None)

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._received) < size:
            self._read(None)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def wait(self, seconds: float | None) -> None:
        """Do nothing for so long; None: until the client leaves."""
        end = None if seconds is None else self._clock() + seconds
        while True:
            left = None if end is None else end - self._clock()
            if left is not None and left <= 0:
                return
            self._read(left)

    def wait_for(self, event: threading.Event) -> None:
        """Do nothing until the event is set."""
        # An event cannot be waited for together with a socket: look at the socket now and then,
        # at most 2000 times a second all threads together, or 200 of them keep a core busy.
        while not event.wait(_LOOK_EVERY_S * max(1.0, threading.active_count() / 10)):
            self._read(0)

    def wake(self) -> None:
        """End whatever the serving thread waits for; it sees the client as gone."""
        with self._lock:
            if not self._closed:
                self._shut_down()

    def half_close(self) -> None:
        """Send no more: FIN, and nothing of TLS before it."""
        with contextlib.suppress(OSError):
            # As in _shut_down().
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection without a farewell: FIN, and nothing of TLS before it."""
        with self._lock:
            self._closed = True
            self._shut_down()
            self._socket.close()

    def reset(self) -> None:
        """End the connection with RST."""
        with self._lock:
            self._closed = True
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._socket.close()

    def close(self) -> None:
        """End the connection properly, once."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if isinstance(self._socket, ssl.SSLSocket):
                # Non-blocking: says goodbye, does not wait for the client's.
                with contextlib.suppress(OSError, ValueError):
                    self._socket.settimeout(0)
                    self._socket.unwrap()
            self._shut_down()
            self._socket.close()

    def _shut_down(self) -> None:
        # Not the method of SSLSocket: that one takes TLS away under the serving thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _read(self, timeout_s: float | None) -> None:
        """Keep what comes within that time, if anything."""
        try:
            self._socket.settimeout(timeout_s)
            data = self._socket.recv(_READ_BYTES)
        except (socket.timeout, BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self._received += data
