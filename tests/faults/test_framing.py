"""HTTP/1.1 as it is written by others: odd heads, chunks and lengths, right and wrong."""

from __future__ import annotations

import gzip

import pytest
from families import PIECES, TEXT

from cloudllm_sync import (
    ConnectError,
    StreamInterrupted,
    StreamProtocolError,
    Timeouts,
)
from cloudllm_sync.testing import Cut, Raw, Stall, Wait, Wire

# Every part of these is read above the codecs; the reply must still be whole on each wire.
pytestmark = pytest.mark.each_wire_once

TYPE = b"Content-Type: text/event-stream\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(events, form=b"%x\r\n%b\r\n"):
    """Each event as an HTTP chunk of this form."""
    return b"".join(form % (len(event), event) for event in events)


def by_hand(*steps):
    """The steps are the whole answer; then the connection closes."""
    return Raw(*steps, framing="none")


def closed(head, f):
    """A body that ends with the connection, after this head."""
    return by_hand(head + TYPE + b"\r\n" + f.whole)


def measured(head, f):
    """As `closed`, the body's length in place of `%d`."""
    return closed(b"HTTP/1.1 200 OK\r\n" + head.replace(b"%d", b"%d" % len(f.whole)), f)


HEADS = {
    "100 Continue": lambda f: Raw(
        f.whole, before_headers=(b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n",)
    ),
    "folded header": lambda f: closed(b"HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\n\tthree\r\n", f),
    "no reason": lambda f: closed(b"HTTP/1.1 200\r\n", f),
    "reason in Latin-1": lambda f: closed(b"HTTP/1.1 200 Na gut, \xfc\r\n", f),
    "reason of 60 KB": lambda f: closed(b"HTTP/1.1 200 " + b"O" * 60_000 + b"\r\n", f),
    "LF for line ends": lambda f: by_hand(b"HTTP/1.1 200 OK\nX-A: 1\n\n" + f.whole),
    "HTTP/1.9": lambda f: closed(b"HTTP/1.9 200 OK\r\n", f),
    "no headers": lambda f: by_hand(b"HTTP/1.1 200 OK\r\n\r\n" + f.whole),
    "line without a colon": lambda f: closed(b"HTTP/1.1 200 OK\r\nnonsense\r\nX-A: 1\r\n", f),
    "NUL in a header": lambda f: closed(b"HTTP/1.1 200 OK\r\nX-A: \0\r\n", f),
    "90 headers": lambda f: closed(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 90, f),
    "header of 60 KB": lambda f: closed(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 60_000 + b"\r\n", f),
    "no content type": lambda f: Raw(f.whole, content_type=None),
    "Connection: close, chunked": lambda f: Raw(f.whole, headers={"Connection": "close"}),
    "Connection: keep-alive, close": lambda f: Raw(
        f.whole, framing="close", headers={"Connection": "keep-alive"}
    ),
    "length and chunked": lambda f: Raw(f.whole, headers={"Content-Length": "10"}),
    "the same length twice": lambda f: measured(b"Content-Length: %d\r\n" * 2, f),
    "the same length in a list": lambda f: measured(b"Content-Length: %d, %d\r\n", f),
    "negative length": lambda f: measured(b"Content-Length: -1\r\n", f),
    "length in words": lambda f: measured(b"Content-Length: some\r\n", f),
    "length with a plus": lambda f: measured(b"Content-Length: +%d\r\n", f),
    "Transfer-Encoding: Chunked": lambda f: Raw(f.whole, headers={"Transfer-Encoding": "Chunked"}),
    "Transfer-Encoding: identity": lambda f: Raw(
        f.whole, framing="close", headers={"Transfer-Encoding": "identity"}
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_head_that_is_odd_is_read(succeeds, family, head):
    """As others read it: http.client and urllib3 are lenient, and what is proved is whole."""
    succeeds(HEADS[head](family), text=TEXT)


CHUNKINGS = {
    "extensions": lambda f: chunks(f.events, b'%x;name="v"; x\r\n%b\r\n') + b"0;last\r\n\r\n",
    "upper case, zeros": lambda f: chunks(f.events, b"%08X\r\n%b\r\n") + b"000\r\n\r\n",
    "spaces after the size": lambda f: chunks(f.events, b"%x  \r\n%b\r\n") + b"0 \r\n\r\n",
    "one chunk": lambda f: chunks([f.whole]) + b"0\r\n\r\n",
    "one byte a chunk": lambda f: chunks(bytes([b]) for b in f.whole) + b"0\r\n\r\n",
    "trailers": lambda f: chunks(f.events) + b"0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
    "no end of the trailers": lambda f: chunks(f.events) + b"0\r\nX-Sum: 1\r\n",
    "no last chunk": lambda f: chunks(f.events),
}


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_chunks_that_are_odd_are_read(succeeds, family, chunking):
    """RFC 9112, 7.1; what is missing after the proof is not missed."""
    succeeds(by_hand(CHUNKED + CHUNKINGS[chunking](family)), text=TEXT)


def test_trailers_leave_the_connection_in_order(read, serve, make_client, family):
    """The next reply does not begin with them."""
    raw = Raw(family.whole, end=b"0\r\nX-Sum: 1\r\n\r\n")
    server = serve(raw, raw)
    client = make_client(server)
    texts = [read(client).text for _ in range(2)]

    assert texts == [TEXT] * 2
    assert server.connections == 1


BAD_CHUNKS = {
    "no number": b"zz\r\nxyz\r\n",
    "empty": b"\r\nxyz\r\n",
    "larger than memory": b"ffffffffffffffffffff\r\nxyz\r\n",
    "larger than what comes": b"ffff\r\nxyz\r\n",
    "smaller than what comes": b"3\r\nvwxyz\r\n",
    "extension of 200 KB": b"3;" + b"x" * 200_000 + b"\r\nxyz\r\n",
    "LF for line ends": b"3\nxyz\n",
}


@pytest.mark.parametrize("bad", BAD_CHUNKS)
def test_chunk_that_is_wrong_is_an_interruption(fails, family, bad):
    """What follows cannot be trusted to be the reply."""
    fails(
        Raw(family.begun, Wire(BAD_CHUNKS[bad]), Cut()),
        error=StreamInterrupted,
        partial=PIECES[0],
    )


@pytest.mark.one_lane
def test_chunk_of_negative_size_is_an_interruption(fails, family):
    """The rest of the body is no chunk of it."""
    raw = Raw(family.begun, Wire(b"-5\r\nxyz\r\n"), family.second, family.rest)

    fails(raw, error=StreamInterrupted, partial=PIECES[0])


INFORMATIONAL = {
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n",
    "102 thrice": b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
    "199": b"HTTP/1.1 199 Whatever\r\n\r\n",
}


@pytest.mark.parametrize("status", INFORMATIONAL)
def test_informational_answer_is_not_the_answer(succeeds, family, status):
    """RFC 9110, 15.2: a client must be able to read any number of them."""
    succeeds(Raw(family.whole, before_headers=(INFORMATIONAL[status],)), text=TEXT)


@pytest.mark.one_lane
def test_answer_after_an_informational_one_is_not_the_next_calls(read, serve, make_client, family):
    """Else whoever asks next on the connection gets what the first was told."""
    late = Raw(family.whole, before_headers=(INFORMATIONAL["103"], Wait(0.5)))
    client = make_client(serve(late, "second"), max_retries=0)
    texts = [read(client).text for _ in range(2)]

    assert texts == [TEXT, "second"]


@pytest.mark.one_lane
def test_switch_to_another_protocol_is_refused(fails, family):
    """Nobody asked for it; that connection speaks HTTP no more."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    raw = by_hand(head + b"\x81\x05hello", Stall())

    fails(raw, error=StreamProtocolError, timeouts=Timeouts(5, 0.2, 5, 5))


def test_two_lengths_that_differ_are_the_servers_fault(fails, family, no_backoff):
    """Which of them is right cannot be known (RFC 9112, 6.3), and it is no configuration."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n"

    fails(*[closed(head, family)] * 3, error=ConnectError, requests=3)


def test_body_in_an_unasked_transfer_coding_is_an_error(fails, family):
    """`gzip, chunked`: TE allowed nothing of the kind; whatever it is, it is no reply."""
    body = gzip.compress(family.whole)
    raw = Raw(body, Cut(), headers={"Transfer-Encoding": "gzip, chunked"})

    fails(raw, error=StreamInterrupted)
