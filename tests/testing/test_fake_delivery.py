"""How a reply is delivered: framing, writes, compression, pace, faults after an event."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
import zlib

import pytest
from bare_http import (
    STREAM,
    answer_bytes,
    asked,
    chunks,
    connected,
    post,
    read_all,
    read_until,
    request_bytes,
    said,
)

from cloudllm_sync.testing import (
    Cut,
    FakeServer,
    Reply,
    Reset,
    Stall,
    Wait,
    WaitFor,
    openai_body,
    openai_events,
)
from cloudllm_sync.testing.connection import serve
from cloudllm_sync.testing.delivery import deliver
from cloudllm_sync.testing.peer import Peer

TEXT = "The quick brown fox"
EVENTS = openai_events(Reply(TEXT))


def test_each_event_is_a_chunk():
    """Without a split an event is one write."""
    with FakeServer(Reply(TEXT)) as server:
        head, body = answer_bytes(server)

    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Type: text/event-stream; charset=utf-8" in head
    assert chunks(body) == EVENTS


@pytest.mark.parametrize("size", [1, 7, 100])
def test_split_cuts_the_body_in_writes_of_that_size(size):
    """Events are cut wherever the size falls."""
    with FakeServer(Reply(TEXT, split=size)) as server:
        _, body = answer_bytes(server)
    *parts, last = chunks(body)

    assert {len(part) for part in parts} == {size}
    assert len(last) <= size
    assert b"".join([*parts, last]) == b"".join(EVENTS)


def test_split_of_nothing_is_the_whole_body_at_once():
    """0 means one write."""
    with FakeServer(Reply(TEXT, split=0)) as server:
        _, body = answer_bytes(server)

    assert chunks(body) == [b"".join(EVENTS)]


def test_split_begins_anew_after_a_step():
    """What was written before a stall is there before the stall."""
    with FakeServer(Reply(TEXT, split=0, after={2: Wait(0), 3: (b": ping\n\n",)})) as server:
        _, body = answer_bytes(server)

    assert chunks(body) == [
        b"".join(EVENTS[:2]),
        EVENTS[2] + b": ping\n\n" + b"".join(EVENTS[3:]),
    ]


def test_length_is_given_and_the_connection_used_again():
    """A body with Content-Length ends without the connection."""
    with FakeServer(default=Reply(TEXT, framing="length")) as server:
        with connected(server) as connection:
            answers = [post(connection) for _ in range(2)]

        assert server.connections == 1
    for response, body in answers:
        assert response.headers["content-length"] == str(len(body))
        assert said(body) == TEXT


@pytest.mark.parametrize(
    ("framing", "version"), [("close", b"HTTP/1.1 200 OK"), ("http1.0", b"HTTP/1.0 200 OK")]
)
def test_body_without_a_length_ends_with_the_connection(framing, version):
    """The server closes, though the client would keep the connection."""
    with FakeServer(Reply(TEXT, framing=framing)) as server, asked(server) as sock:
        head, _, body = read_all(sock).partition(b"\r\n\r\n")

    assert head.startswith(version)
    assert (b"Connection: close" in head) == (framing == "close")
    assert b"Transfer-Encoding" not in head
    assert body == b"".join(EVENTS)


@pytest.mark.parametrize("framing", ["chunked", "length", "close", "http1.0"])
def test_whole_reply_is_framed_alike(framing):
    """Without stream: true there is one JSON body in the framing asked for."""
    reply = Reply(TEXT, framing=framing)
    with FakeServer(reply) as server, connected(server) as connection:
        response, body = post(connection, {})

    assert response.headers["content-type"] == "application/json"
    assert body == openai_body(reply)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_gzip_is_decompressible_after_every_write(framing):
    """Each write is flushed, so each event can be read when it comes."""
    reply = Reply(TEXT, gzip=True, framing=framing)
    with FakeServer(reply) as server:
        head, body = answer_bytes(server)
    decompressor = zlib.decompressobj(wbits=31)
    writes = chunks(body) if framing == "chunked" else [body]
    texts = [decompressor.decompress(write) for write in writes]

    assert b"Content-Encoding: gzip" in head
    assert decompressor.eof
    assert texts == (EVENTS if framing == "chunked" else [b"".join(EVENTS)])


def test_gzip_has_all_events_before_a_stall():
    """What came before the stall can be decompressed, though the body has no end."""
    reply = Reply(TEXT, gzip=True, framing="close", after={3: Stall()})
    with FakeServer(reply) as server, asked(server) as sock:
        _, _, body = read_until(sock, b"\r\n\r\n").partition(b"\r\n\r\n")
        decompressor = zlib.decompressobj(wbits=31)
        text = decompressor.decompress(body)
        while not text.endswith(EVENTS[2]):
            text += decompressor.decompress(sock.recv(65536))

    assert text == b"".join(EVENTS[:3])


def test_headers_given_win():
    """A wrong charset can be declared, other headers are added."""
    headers = {"content-type": "text/event-stream; charset=latin-1", "X-Request-Id": "req_1"}
    with FakeServer(Reply(TEXT, headers=headers)) as server, connected(server) as connection:
        response, _ = post(connection)

    assert response.headers.get_all("content-type") == ["text/event-stream; charset=latin-1"]
    assert response.headers["x-request-id"] == "req_1"


def test_gzip_header_given_wins():
    """A wrong encoding can be declared."""
    reply = Reply(TEXT, gzip=True, headers={"content-encoding": "br"})
    with FakeServer(reply) as server, connected(server) as connection:
        response, _ = post(connection)

    assert response.headers.get_all("content-encoding") == ["br"]


@pytest.mark.parametrize(
    ("delays", "seconds"),
    [
        ({"delay_s": 0.03}, 0.03),
        ({"first_token_delay_s": 0.03}, 0.03),
        ({"token_delay_s": 0.01}, 0.03),
    ],
)
def test_delays_are_kept(delays, seconds):
    """Four tokens have three delays between them; the closing events have none."""
    began = time.monotonic()
    with FakeServer(Reply(TEXT, **delays)) as server:
        answer_bytes(server)

    assert seconds <= time.monotonic() - began < seconds + 0.25


def test_delays_stand_where_they_belong():
    """Before the headers, before the first event, between two tokens."""
    reply = Reply("a b c", delay_s=1, first_token_delay_s=2, token_delay_s=3)
    with FakeServer("hi") as server, connected(server) as connection:
        post(connection)
        raw = deliver(reply, server.requests[0])
    kinds = [step if isinstance(step, Wait) else "event" for step in raw.steps]

    assert raw.before_headers == (Wait(1),)
    assert kinds == [
        Wait(2), "event", "event", Wait(3), "event", Wait(3), "event", "event", "event", "event"
    ]  # fmt: skip


def test_headers_come_before_the_first_token_delay():
    """A client can see the status while it waits for the first token."""
    with FakeServer(Reply(TEXT, first_token_delay_s=60)) as server, asked(server) as sock:
        assert read_until(sock, b"\r\n\r\n").endswith(b"\r\n\r\n")


def test_event_before_a_step_is_out_before_it():
    """A test can look at a stream that stands still, then let it go on."""
    go = threading.Event()
    with FakeServer(Reply(TEXT, after={3: WaitFor(go)})) as server, asked(server) as sock:
        before = read_until(sock, EVENTS[2])
        go.set()
        after = read_until(sock, b"\r\n0\r\n\r\n")

    assert b"quick" in before
    assert EVENTS[3] in after


@pytest.mark.parametrize("number", [0, 1, 4, len(EVENTS)])
def test_cut_after_an_event_leaves_the_body_open(number):
    """Exactly so many events arrive, the end of the body does not."""
    with FakeServer(Reply(TEXT, after={number: Cut()})) as server:
        _, body = answer_bytes(server)

    assert chunks(body + b"0\r\n\r\n") == EVENTS[:number]


def test_reset_after_an_event_is_a_reset():
    """The client's read fails."""
    reply = Reply(TEXT, after={2: (Wait(0), Reset())})
    with (
        FakeServer(reply) as server,
        asked(server) as sock,
        pytest.raises(ConnectionResetError),
    ):
        read_all(sock)


def test_stall_after_the_end_mark_leaves_the_connection_open():
    """All events are there, the terminating chunk is not."""
    reply = Reply(TEXT, after={len(EVENTS): Stall()})
    with FakeServer(reply) as server, asked(server) as sock:
        answer = read_until(sock, b"[DONE]\n\n\r\n")

        assert answer.endswith(b"[DONE]\n\n\r\n")
        assert server.open_connections == 1


def test_step_after_an_event_that_is_not_there_is_a_500(caplog):
    """A fault that would never happen is a mistake in the test."""
    with FakeServer(Reply(TEXT, after={99: Cut()})) as server, connected(server) as connection:
        response, body = post(connection)

    assert response.status == 500
    assert "after names event 99" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    "values",
    [
        {"delay_s": -1},
        {"split": -1},
        {"framing": "none"},
        {"line_end": "\n\n"},
    ],
)
def test_delivery_that_is_impossible_is_refused(values):
    """A slip is raised where it is written."""
    with pytest.raises(ValueError, match=next(iter(values))):
        Reply("a", **values)


def test_steps_that_are_none_are_refused():
    """Text is no step."""
    with pytest.raises(TypeError, match="no step"):
        Reply("a", after={1: ("text",)})


@pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET"), reason="a socket that keeps sends apart")
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_end_of_the_body_goes_out_with_the_last_event(framing):
    """One send, so that a client that stops at the end mark can use the connection again."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.sendall(request_bytes(STREAM, "Connection: close"))
        serve(Peer(ours), 1, lambda request: deliver(Reply("hi", framing=framing), request))
        ours.close()
        sends = [*itertools.takewhile(bool, iter(lambda: theirs.recv(65536), None))]

    assert b"[DONE]" in sends[-1]
    assert sends[-1].endswith(b"\n\n\r\n0\r\n\r\n" if framing == "chunked" else b"\n\n")
