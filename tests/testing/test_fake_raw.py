"""Raw answers: every write, every fault, past the framing if need be."""

from __future__ import annotations

import threading
import time

import pytest
from bare_http import answer_bytes, asked, chunks, connected, post, read_all, read_until

from cloudllm_sync.testing import Cut, FakeServer, Raw, Reset, Stall, Wait, WaitFor, Wire


def test_each_bytes_step_is_a_chunk():
    """Writes are not joined."""
    with FakeServer(Raw(b"a", b"bc", b"", b"d")) as server:
        head, body = answer_bytes(server)

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert chunks(body) == [b"a", b"bc", b"d"]


@pytest.mark.parametrize("steps", [(), (b"",), (Wait(0),)])
def test_body_without_bytes_is_empty(steps):
    """200 and an empty body is a proper answer."""
    with FakeServer(default=Raw(*steps)) as server, connected(server) as connection:
        bodies = [post(connection)[1] for _ in range(2)]

        assert bodies == [b"", b""]
        assert server.connections == 1


def test_status_reason_and_content_type_are_those_given():
    """The status line is free."""
    raw = Raw(b"<html>", status=529, reason="Site Overloaded", content_type="text/html")
    with FakeServer(raw) as server, connected(server) as connection:
        response, body = post(connection)

    assert (response.status, response.reason) == (529, "Site Overloaded")
    assert response.headers["content-type"] == "text/html"
    assert body == b"<html>"


def test_content_type_can_be_absent():
    """None sends no such header."""
    with FakeServer(Raw(b"x", content_type=None)) as server:
        head, _ = answer_bytes(server)

    assert b"content-type" not in head.lower()


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body_leaves_the_connection_open(status):
    """No body headers, no terminating chunk."""
    with FakeServer(Raw(status=status), Raw(b"next")) as server, connected(server) as connection:
        response, body = post(connection)
        _, following = post(connection)

    assert (response.status, body, following) == (status, b"", b"next")
    assert "transfer-encoding" not in response.headers


def test_length_is_computed():
    """The bytes steps are counted."""
    with FakeServer(Raw(b"ab", Wait(0), b"c", framing="length")) as server:
        head, body = answer_bytes(server)

    assert b"Content-Length: 3" in head
    assert body == b"abc"


@pytest.mark.parametrize("length", ["2", "5"])
def test_wrong_length_can_be_given(length):
    """It replaces the right one, and the connection ends after the body."""
    raw = Raw(b"abc", framing="length", headers={"content-length": length})
    with FakeServer(raw) as server, asked(server) as sock:
        head, _, body = read_all(sock).partition(b"\r\n\r\n")

    assert head.lower().count(b"content-length") == 1
    assert f"content-length: {length}".encode() in head
    assert body == b"abc"


def test_connection_close_given_is_obeyed():
    """The server closes after a body that says so."""
    raw = Raw(b"a", headers={"connection": "close"})
    with FakeServer(raw) as server, asked(server) as sock:
        assert read_all(sock).endswith(b"a\r\n0\r\n\r\n")


def test_no_framing_sends_nothing_but_the_steps():
    """Headers that drip, garbage, whole answers by hand; then the connection ends."""
    drip = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n"]
    with FakeServer(Raw(*drip, Wire(b"garbage"), framing="none")) as server, asked(server) as sock:
        assert read_all(sock) == b"HTTP/1.1 200 OK\r\ngarbage"


def test_wire_goes_past_the_framing():
    """A bad chunk size stands between good chunks."""
    with FakeServer(Raw(b"a", Wire(b"zz\r\n"), b"b")) as server:
        _, body = answer_bytes(server)

    assert body == b"1\r\na\r\nzz\r\n1\r\nb\r\n0\r\n\r\n"


def test_proper_end_before_a_cut_can_be_written():
    """The body is whole, then the connection goes, unannounced."""
    with FakeServer(Raw(b"a", Wire(b"0\r\n\r\n"), Cut())) as server, asked(server) as sock:
        _, _, body = read_all(sock).partition(b"\r\n\r\n")

    assert chunks(body) == [b"a"]


@pytest.mark.parametrize(
    ("before", "answer"),
    [((Cut(),), b""), ((Wire(b"garbage\r\n"), Cut()), b"garbage\r\n"), ((b"HTT", Cut()), b"HTT")],
)
def test_steps_before_the_headers_stand_alone(before, answer):
    """The connection can end, or speak no HTTP, before the status line."""
    with FakeServer(Raw(b"never", before_headers=before)) as server, asked(server) as sock:
        assert read_all(sock) == answer


def test_cut_before_the_headers_takes_one_entry():
    """The next connection gets the next answer."""
    with FakeServer(Raw(before_headers=(Cut(),)), Raw(b"ok")) as server:
        answer_bytes(server)
        _, body = answer_bytes(server)

    assert chunks(body) == [b"ok"]


@pytest.mark.parametrize("raw", [Raw(b"a", Reset()), Raw(before_headers=(Reset(),))])
def test_reset_is_a_reset(raw):
    """The client's read fails, it does not end."""
    with FakeServer(raw) as server:
        with asked(server) as sock, pytest.raises(ConnectionResetError):
            read_all(sock)

        assert server.wait_until_idle()


def test_cut_is_an_end_without_the_end_of_the_body():
    """The client reads an end of file."""
    with FakeServer(Raw(b"a", Cut(), b"never")) as server, asked(server) as sock:
        _, _, body = read_all(sock).partition(b"\r\n\r\n")

    assert body == b"1\r\na\r\n"


def test_stall_keeps_what_came_before_it():
    """Headers and the first write arrive, then nothing."""
    with FakeServer(Raw(b"a", Stall())) as server, asked(server) as sock:
        assert read_until(sock, b"a\r\n").endswith(b"1\r\na\r\n")
        sock.settimeout(0.01)
        with pytest.raises(OSError, match="timed out"):
            sock.recv(1)


def test_wait_lasts_as_long_as_said():
    """Not less."""
    began = time.monotonic()
    with FakeServer(Raw(Wait(0.02), b"a")) as server:
        answer_bytes(server)

    assert time.monotonic() - began >= 0.02


def test_wait_for_goes_on_when_the_event_is_set():
    """The test decides when."""
    go = threading.Event()
    with FakeServer(Raw(b"a", WaitFor(go), b"b")) as server, asked(server) as sock:
        assert read_until(sock, b"a\r\n").endswith(b"1\r\na\r\n")
        go.set()
        assert read_until(sock, b"0\r\n\r\n") == b"1\r\nb\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"framing": "odd"}, ValueError),
        ({"before_headers": ("text",)}, TypeError),
    ],
)
def test_raw_that_is_impossible_is_refused(arguments, error):
    """A slip is raised where it is written."""
    with pytest.raises(error):
        Raw(**arguments)


@pytest.mark.parametrize("step", ["text", Wait, None])
def test_step_of_no_kind_is_refused(step):
    """Text has to be encoded, a class to be called."""
    with pytest.raises(TypeError, match="no step"):
        Raw(step)


def test_negative_wait_is_refused():
    """There is no time before now."""
    with pytest.raises(ValueError, match="seconds"):
        Wait(-1)


@pytest.mark.parametrize(
    ("headers", "error"), [({"X-A": "\u20ac"}, ValueError), ({"Retry-After": 1}, TypeError)]
)
def test_header_that_cannot_be_sent_is_refused(headers, error):
    """A slip is raised where it is written; what is no header at all can be a Wire step."""
    with pytest.raises(error, match=next(iter(headers))):
        Raw(headers=headers)
