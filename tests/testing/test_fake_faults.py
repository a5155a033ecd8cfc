"""The rarer faults of raw answers: drips, half-closed sockets, other ends, answers too early."""

from __future__ import annotations

import socket

import pytest
from bare_http import (
    TIMEOUT_S,
    answer_bytes,
    asked,
    chunks,
    connected,
    post,
    read_all,
    read_until,
    request_bytes,
)

from cloudllm_sync.testing import Drip, FakeServer, HalfClose, Raw

MORE_THAN_BUFFERS = 16_000_000


def test_drip_sends_every_byte_as_a_chunk():
    """As bytes steps of one byte each, and the end of the body follows."""
    with FakeServer(Raw(b"a", Drip(b"bcd", 0.001))) as server:
        _, body = answer_bytes(server)

    assert chunks(body) == [b"a", b"b", b"c", b"d"]


def test_drip_without_framing_sends_the_bytes():
    """A whole answer may drip, and so may what comes before the headers."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with (
        FakeServer(Raw(Drip(head, 0), framing="none", before_headers=(Drip(b"x", 0),))) as server,
        asked(server) as sock,
    ):
        assert read_all(sock) == b"x" + head


def test_drip_counts_for_the_length():
    """Content-Length is right."""
    with FakeServer(Raw(b"a", Drip(b"bc", 0), framing="length")) as server:
        head, body = answer_bytes(server)

    assert b"Content-Length: 3" in head
    assert body == b"abc"


def test_drip_takes_its_time():
    """The second byte does not come with the first."""
    with FakeServer(Raw(Drip(b"ab", 60), framing="close")) as server, asked(server) as sock:
        assert read_until(sock, b"\r\n\r\na").endswith(b"\r\n\r\na")
        sock.settimeout(0.01)
        with pytest.raises(OSError, match="timed out"):
            sock.recv(1)


@pytest.mark.parametrize("arguments", [("text", 0), (b"x", -1)])
def test_drip_that_is_impossible_is_refused(arguments):
    """A slip is raised where it is written."""
    with pytest.raises((TypeError, ValueError)):
        Drip(*arguments)


def test_half_close_ends_the_answer_and_keeps_listening():
    """The client reads an end of file, and is read to its own; then the server leaves, too."""
    with FakeServer(Raw(b"a", HalfClose(), b"never")) as server:
        with asked(server) as sock:
            assert read_all(sock).endswith(b"1\r\na\r\n")
            sock.sendall(b"x" * MORE_THAN_BUFFERS)

        assert server.wait_until_idle()


def test_end_of_the_body_can_be_given():
    """Trailers after the last chunk; the connection stays open."""
    end = b"0\r\nX-Sum: 1\r\n\r\n"
    with FakeServer(Raw(b"a", end=end), Raw(b"b")) as server, connected(server) as connection:
        _, body = post(connection)
        _, following = post(connection)

        assert (body, following) == (b"a", b"b")
        assert server.connections == 1


def test_end_of_the_body_goes_out_as_it_is():
    """Whatever it is."""
    with FakeServer(Raw(b"a", end=b"zz\r\n", headers={"Connection": "close"})) as server:
        _, body = answer_bytes(server)

    assert body == b"1\r\na\r\nzz\r\n"


def test_end_that_is_no_bytes_is_refused():
    """A slip is raised where it is written."""
    with pytest.raises(TypeError, match="end"):
        Raw(end="0")


def test_long_body_is_answered_before_it_is_sent():
    """The answer is there while half of the body is not; the rest is taken before the close."""
    fields = {"prompt": "x" * MORE_THAN_BUFFERS}
    with FakeServer(default=Raw(b"too long", status=413), max_body_bytes=10_000) as server:
        head, _, body = request_bytes(fields).partition(b"\r\n\r\n")
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
            sock.sendall(head + b"\r\n\r\n" + body[:5000])
            answer = read_until(sock, b"0\r\n\r\n")
            sock.sendall(body[5000:])
            rest = read_all(sock)

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert rest == b""
        assert [request.body for request in server.requests] == [b""]


def test_body_up_to_the_limit_is_read():
    """The limit itself is allowed."""
    with FakeServer(Raw(b"ok"), max_body_bytes=len(b'{"n": 1}')) as server:
        _, body = answer_bytes(server, {"n": 1})

    assert chunks(body) == [b"ok"]
    assert [request.json for request in server.requests] == [{"n": 1}]
