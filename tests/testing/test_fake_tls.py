"""The fake server over TLS."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl

import pytest
from bare_http import STREAM, TIMEOUT_S, read_all, read_until, request_bytes

from cloudllm_sync.testing import Cut, FakeServer, HalfClose, Raw, Reply, Reset, Stall, Wire

CERTIFICATE = str(pathlib.Path(__file__).with_name("localhost.pem"))


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture(scope="module")
def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


def plain(server: FakeServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), TIMEOUT_S)


@contextlib.contextmanager
def asked(server, context, *headers):
    """A connection on which a request was sent; the end of it must be a proper one."""
    with (
        plain(server) as sock,
        context.wrap_socket(
            sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as secure,
    ):
        secure.sendall(request_bytes(STREAM, *headers))
        yield secure


def test_url_says_https(server_context):
    """With a context the scheme is https."""
    with FakeServer(ssl_context=server_context) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert server.base_url.startswith("https://")


def test_reply_arrives_and_ends_with_a_farewell(server_context, client_context):
    """A proper end says so in TLS, too: a client that insists sees no truncation."""
    with FakeServer(Reply("hi", framing="close"), ssl_context=server_context) as server:
        with asked(server, client_context) as sock:
            answer = read_all(sock)

        assert answer.endswith(b"data: [DONE]\n\n")
        assert server.wait_until_idle()


def test_connection_is_used_again(server_context, client_context):
    """Keep-alive works as without TLS."""
    with FakeServer("one", "two", ssl_context=server_context) as server:
        with asked(server, client_context) as sock:
            read_until(sock, b"\r\n0\r\n\r\n")
            sock.sendall(request_bytes(STREAM))
            answer = read_until(sock, b"\r\n0\r\n\r\n")

        assert b"two" in answer
        assert server.connections == 1


@pytest.mark.parametrize("raw", [Raw(Stall()), Raw(before_headers=(Stall(),)), Raw(b"data: 1\n\n")])
def test_leaving_client_is_noticed(server_context, client_context, raw):
    """In a stall, before the headers, between requests."""
    with FakeServer(raw, ssl_context=server_context) as server:
        with asked(server, client_context):
            assert server.wait_for_requests(1)

        assert server.wait_until_idle()


# ssl.OP_IGNORE_UNEXPECTED_EOF, which the Pythons that set it by default do not all name.
IGNORE_UNEXPECTED_EOF = 1 << 7


@pytest.mark.skipif(
    bool(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).options & IGNORE_UNEXPECTED_EOF),
    reason="this Python takes a truncation for a proper end, as 3.9 and Debian's 3.11.2 do",
)
@pytest.mark.parametrize("step", [Cut(), HalfClose()])
def test_cut_has_no_farewell(server_context, client_context, step):
    """The client sees a truncation, not an end."""
    raw = Raw(b"a", step)
    with (
        FakeServer(raw, ssl_context=server_context) as server,
        asked(server, client_context) as sock,
        pytest.raises(ssl.SSLEOFError),
    ):
        read_all(sock)


def test_reset_is_a_reset(server_context, client_context):
    """RST goes through TLS; some versions, 3.11 among them, tell it as a truncation."""
    raw = Raw(b"a", Reset())
    with (
        FakeServer(raw, ssl_context=server_context) as server,
        asked(server, client_context) as sock,
        pytest.raises((ConnectionResetError, ssl.SSLEOFError)),
    ):
        read_all(sock)


def test_wire_past_tls_is_not_encrypted(server_context, client_context):
    """The client's TLS sees bytes that are no record of its session."""
    raw = Raw(b"a", Wire(b"\x15\x03\x03\x00\x02\x02\x50", past_tls=True), Stall())
    with (
        FakeServer(raw, ssl_context=server_context) as server,
        asked(server, client_context) as sock,
        pytest.raises(ssl.SSLError),
    ):
        read_all(sock)


def test_failed_handshake_harms_nobody(server_context, client_context):
    """A client that speaks no TLS is let go; the next one is served."""
    with FakeServer("hi", ssl_context=server_context) as server:
        with plain(server) as sock, contextlib.suppress(ConnectionResetError):
            sock.sendall(request_bytes(STREAM))
            read_all(sock)
        with asked(server, client_context, "Connection: close") as secure:
            assert b"[DONE]" in read_all(secure)

        assert server.connections == 2
        assert server.wait_until_idle()


def test_silent_client_does_not_keep_others_waiting(server_context, client_context):
    """The handshake is not done by the accepting thread."""
    with (
        FakeServer("hi", ssl_context=server_context) as server,
        plain(server),
        asked(server, client_context) as sock,
    ):
        assert b"[DONE]" in read_until(sock, b"[DONE]")


@pytest.mark.parametrize("stage", ["handshake", "stall"])
def test_close_ends_a_connection_at_once(server_context, client_context, stage):
    """In the handshake and after it."""
    server = FakeServer(Raw(Stall()), ssl_context=server_context)
    client = plain(server) if stage == "handshake" else asked(server, client_context)
    with client:
        if stage == "stall":
            assert server.wait_for_requests(1)
        server.close()

        assert server.open_connections == 0
