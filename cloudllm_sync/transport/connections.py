"""Connections that know which call owns them, so that a call can be woken at any stage.

urllib3 wakes a blocked reader only by `shutdown()` on the socket, and offers that only once there
is a response: not while connecting, shaking hands or waiting for headers. So the sockets here are
handed to their call (`Claim`) as soon as they exist, and taken from it before they go back to the
pool: a late cancel finds nothing, rather than the connection of another call.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from typing import Any, Optional

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import wait_for_write

from cloudllm_sync.transport.cancellation import Cancellation
from cloudllm_sync.transport.chunked import CallHTTPResponse
from cloudllm_sync.transport.clocks import Clocks
from cloudllm_sync.transport.forks import renew_in_children
from cloudllm_sync.transport.idle import IdleConnections
from cloudllm_sync.transport.names import resolve
from cloudllm_sync.transport.sockets import CallSocket, OwnedSocket

__all__ = ["CallAdapter", "Claim", "Claiming"]

# More threads than this on one client would close and open connections again and again.
_POOL_SIZE = 512

# More is many packets anyway, and would only be copied.
_JOINED_BYTES = 64 * 1024

_active = threading.local()


class Claim:
    """One call's hold on the socket that serves it just now."""

    __slots__ = (
        "__weakref__",
        "_lock",
        "_pid",
        "_sock",
        "cancellation",
        "clocks",
        "fresh",
        "received",
        "response",
        "reused",
        "sent",
    )

    def __init__(self, clocks: Clocks, cancellation: Cancellation, *, fresh: bool = False) -> None:
        self.clocks = clocks
        self.fresh = fresh
        """Whether a connection from the pool will not do."""
        self.response: Optional[CallHTTPResponse] = None
        """The reply as http.client sees it, below urllib3."""
        self.sent = False
        """Whether the whole request was written."""
        self.received = False
        """Whether a byte of the answer came."""
        self.reused = False
        """Whether the connection had served another call before."""
        self.cancellation = cancellation
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._sock: Optional[OwnedSocket] = None  # guarded by _lock
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock of its own."""
        self._lock = threading.RLock()

    def take(self, sock: Any) -> None:
        """Own this socket from now on; shut it at once if the call was cancelled."""
        sock.claim = self
        with self._lock:
            self._sock = sock
            if self.cancellation.requested:
                _shut(sock)

    def give_back(self) -> None:
        """The socket is no longer ours."""
        with self._lock:
            sock, self._sock = self._sock, None
        if sock is not None:
            sock.claim = None

    def wake(self) -> None:
        """End whatever waits on the socket, if it is still ours."""
        if os.getpid() != self._pid:
            return  # a forked child has the same connection: to shut it would end the parent's
        with self._lock:
            if self._sock is not None:
                _shut(self._sock)


def _shut(sock: Any) -> None:
    try:
        # SSLSocket.shutdown() would throw its TLS state away under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # not connected, or closed already


class Claiming:
    """While a request is being sent by this thread, its connections are for this claim."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def __enter__(self) -> None:
        _active.claim = self._claim

    def __exit__(self, *exc_info: object) -> None:
        _active.claim = None


class _CallConnectionMixin:
    """Hands every socket to the call that it is opened for."""

    # http.client.HTTPConnection.debuglevel would have the key and the prompt printed.
    debuglevel = 0
    claim: Optional[Claim] = None
    _gathered: Optional[list[bytes]] = None

    def _new_conn(self) -> socket.socket:
        """Connect, one address after the other, within the connect clock."""
        claim: Claim = self.claim or _active.claim
        host: str = self.host.strip("[]")  # type: ignore[attr-defined]
        addresses = self._addresses(host, claim)
        failure: Optional[OSError] = None
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = CallSocket(family, kind, protocol)
            try:
                self._connect(sock, claim, address, addresses_left=len(addresses) - tried)
                return sock
            except OSError as error:
                claim.give_back()
                sock.close()
                failure = error
                if claim.clocks.fired:
                    break
        if isinstance(failure, socket.timeout):
            raise ConnectTimeoutError(self, str(failure)) from failure
        raise NewConnectionError(self, str(failure)) from failure  # type: ignore[arg-type]

    def _addresses(self, host: str, claim: Claim) -> Any:
        clocks = claim.clocks
        seconds = clocks.before_wait()
        try:
            addresses = resolve(host, self.port, seconds, claim.cancellation)  # type: ignore[attr-defined]
        except socket.timeout:
            late = clocks.expired()
            raise ConnectTimeoutError(self, f"{host!r} was not resolved in time") from late
        except (OSError, UnicodeError) as error:
            known = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(host, self, known) from error  # type: ignore[arg-type]
        clocks.after_wait()
        return addresses

    def _connect(
        self, sock: CallSocket, claim: Claim, address: Any, *, addresses_left: int
    ) -> None:
        for option in self.socket_options or ():  # type: ignore[attr-defined]
            sock.setsockopt(*option)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        clocks = claim.clocks
        seconds = clocks.before_wait()
        sock.setblocking(False)
        code = sock.connect_ex(address)
        # Only now: shutdown() ends the wait for a connection, but does not prevent one.
        claim.take(sock)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            # An address that swallows packets must not use up the time of the next.
            if not wait_for_write(sock, seconds if seconds is None else seconds / addresses_left):
                clocks.after_wait()
                raise clocks.expired() if addresses_left == 1 else socket.timeout("timed out")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        clocks.after_wait()
        if code:
            raise OSError(code, os.strerror(code))

    def request(self, *args: Any, **options: Any) -> None:
        """Send the request, and note whether all of it went out."""
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        claim = self.claim
        if claim is not None:
            claim.clocks.sending()
        self._gathered = []
        try:
            super().request(*args, **options)  # type: ignore[misc]
            parts = self._gathered
        finally:
            self._gathered = None
        few = sum(map(len, parts)) <= _JOINED_BYTES
        for part in (b"".join(parts),) if few else parts:
            self.send(part)
        if claim is not None:
            claim.sent = True

    def send(self, data: Any) -> None:
        """Keep headers and body together: a packet, and a wake of the server, less."""
        if self._gathered is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._gathered.append(data)


class CallConnection(_CallConnectionMixin, HTTPConnection):
    """A plain connection."""

    response_class = CallHTTPResponse


class CallTLSConnection(_CallConnectionMixin, HTTPSConnection):
    """A TLS connection."""

    response_class = CallHTTPResponse


class _CallPoolMixin:
    """Marks connections with their call when they leave, and clears the mark before they return."""

    QueueCls: Any = IdleConnections

    def _get_conn(self, timeout: Optional[float] = None) -> Any:
        conn = super()._get_conn(timeout)  # type: ignore[misc]
        claim: Optional[Claim] = getattr(_active, "claim", None)
        conn.claim = claim
        if claim is not None:
            if claim.fresh:
                conn.close()
            claim.reused = conn.sock is not None
            if conn.sock is not None:
                claim.take(conn.sock)
        return conn

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and conn.claim is not None:
            conn.claim.give_back()
            conn.claim = None
        super()._put_conn(conn)  # type: ignore[misc]


class _CallPool(_CallPoolMixin, HTTPConnectionPool):
    ConnectionCls = CallConnection


class _CallTLSPool(_CallPoolMixin, HTTPSConnectionPool):
    ConnectionCls = CallTLSConnection


_POOLS = {"http": _CallPool, "https": _CallTLSPool}


class CallAdapter(HTTPAdapter):
    """requests' adapter, over connections that belong to calls and one shared TLS context.

    The context is made once: loading a certificate store costs more than a handshake.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context
        self._pool: Any = None
        super().__init__(pool_connections=4, pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools hand out connections of ours."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def leave(self) -> None:
        """In a forked child: close its copies, past a lock that a thread of the parent may hold."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            manager.pools.lock = threading.RLock()
        self.close()

    def close(self) -> None:
        """Close what is idle now: urllib3's pools wait for the garbage collector."""
        for pool in self._pools():
            pool.close()
        super().close()

    def _pools(self) -> list[Any]:
        managers = (self.poolmanager, *self.proxy_manager.values())
        keys = [(manager.pools, key) for manager in managers for key in manager.pools.keys()]  # noqa: SIM118
        pools = [known.get(key) for known, key in keys]
        return [pool for pool in pools if pool is not None and pool.pool is not None]

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As above, for the pools behind a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """What requests makes, but no cookies are looked for, nor a charset: nobody reads them."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.reason = resp.reason
        response.url = req.url
        response.request = req
        response.raw = resp
        response.connection = self
        return response

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        """Which pool serves a request: the TLS context says all about trust."""
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._ssl_context} if host["scheme"] == "https" else {}

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool of the one host that a client talks to: not looked up for each request."""
        pool = self._pool
        if pool is None:
            pool = self._pool = super().get_connection_with_tls_context(*args, **options)
        return pool

    def request_url(self, request: Any, proxies: Any) -> Any:
        """The path alone, where no proxy has to be looked for."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: requests would load its certificates into the shared context again."""
