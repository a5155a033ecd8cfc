"""Bodies without end: one typed error, and memory stays flat."""

from __future__ import annotations

import functools
import tracemalloc
import zlib
from unittest.mock import ANY

import pytest
from families import PIECES

from cloudllm_sync import StreamTooLargeError
from cloudllm_sync.testing import Raw, Reply
from cloudllm_sync.values import Limits

# Bytes are counted below wires and ways to read. What takes long to make or to unpack is there
# once; lines and streams without end are there for each wire.
pytestmark = pytest.mark.each_wire_once

MIB = 1024 * 1024
BLOCK = b"x" * 65536
# An event of tiny lines takes 15 times its bytes; the server's threads are counted, too.
FLAT_BYTES = 12 * MIB


@functools.lru_cache
def bomb(mebibytes, block):
    """That much of a block, compressed a thousand times."""
    squeeze = zlib.compressobj(9, wbits=31)
    parts = [squeeze.compress(block * (MIB // len(block))) for _ in range(mebibytes)]
    return b"".join([*parts, squeeze.flush()])


@pytest.fixture
def flat(fails):
    """As `fails`, with an eye on memory."""

    def run(raw, **expected):
        tracemalloc.start()
        try:
            fails(raw, error=StreamTooLargeError, **expected)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < FLAT_BYTES

    return run


@pytest.fixture(params=["chunked", "close"])
def framing(request):
    return request.param


def test_line_of_100_megabytes(flat, family, framing):
    """Given up after 1 MiB; what came before it is kept."""
    raw = Raw(family.begun, b"data: ", *[BLOCK] * 1600, framing=framing)

    flat(raw, partial=PIECES[0])


def test_line_of_100_megabytes_without_a_field(flat):
    """Not even an event."""
    flat(Raw(*[BLOCK] * 1600, framing="close"))


@pytest.mark.one_lane
@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"data\n", b"x\n", b": c\n"])
def test_event_of_many_lines(flat, family, line):
    """The lines of one event are counted together."""
    block = line * (65536 // len(line))

    flat(
        Raw(family.begun, *[block] * 1600, framing="close"),
        partial=PIECES[0],
        limits=Limits(event_bytes=MIB // 8),
    )


@pytest.mark.one_lane
def test_bomb_of_one_line(flat, framing):
    """300 MB in 300 KB; counted after decompression."""
    raw = Raw(bomb(300, BLOCK), headers={"Content-Encoding": "gzip"}, framing=framing)

    flat(raw)


@pytest.mark.one_lane
def test_bomb_in_an_error_body(read, serve, make_client):
    """Of a refusal, 64 KiB are kept after decompression."""
    raw = Raw(bomb(300, BLOCK), headers={"Content-Encoding": "gzip"}, status=400)
    client = make_client(serve(raw))
    tracemalloc.start()
    try:
        outcome = read(client)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(outcome.error.body) == 65536
    assert peak < FLAT_BYTES


@pytest.mark.one_lane
def test_bomb_of_small_events(flat):
    """Each is allowed, together they are too many."""
    raw = Raw(bomb(32, b": keep-alive...\n"), headers={"Content-Encoding": "gzip"})

    flat(raw, limits=Limits(stream_bytes=MIB))


@pytest.mark.one_lane
@pytest.mark.parametrize("block", [b"\n", b"\r\n", b": c\n\n"])
def test_bomb_is_known_by_how_it_is_packed(fails, block):
    """Its lines are short, and there are too many to read all that the limits allow."""
    raw = Raw(bomb(4, block * (65536 // len(block))), headers={"Content-Encoding": "gzip"})
    failure = fails(raw, error=StreamTooLargeError).error

    assert "unpack" in str(failure)


@pytest.mark.one_lane
def test_reply_that_repeats_itself_is_no_bomb(succeeds):
    """Compressed and flushed for every token, however alike they are."""
    tokens = ["la "] * 20_000

    succeeds(Reply(tokens, gzip=True), text="la " * 20_000)


@pytest.mark.parametrize("what", ["text", "keep-alive", "empty lines"])
def test_stream_without_end(fails, family, what):
    """A model that never stops, comments, empty lines: bounded by `stream_bytes`."""
    event = {"text": family.first, "keep-alive": family.keep_alive, "empty lines": b"\n"}[what]
    block = event * (65536 // len(event))
    raw = Raw(family.opening, *[block] * 1600)
    partial = ANY if what == "text" else None

    fails(raw, error=StreamTooLargeError, partial=partial, limits=Limits(stream_bytes=MIB // 4))


@pytest.mark.one_lane
def test_whole_body_without_end(flat):
    """One JSON document may be as long as a stream, not longer."""
    flat(Raw(b'{"choices": "', *[BLOCK] * 1600), limits=Limits(stream_bytes=2 * MIB))


@pytest.mark.one_lane
def test_whole_body_of_tiny_lines(flat):
    """However many they are, only their bytes are kept."""
    raw = Raw(b'{"choices": [\n', *[b"12\n" * 21_845] * 1600)

    flat(raw, limits=Limits(stream_bytes=MIB))


def test_error_names_the_limit(fails):
    """And says that it can be raised."""
    raw = Raw(b"data: ", *[BLOCK] * 40)
    failure = fails(raw, error=StreamTooLargeError, limits=Limits(event_bytes=100_000)).error

    assert "100000" in str(failure)
    assert "Limits" in str(failure)


@pytest.mark.one_lane
def test_long_event_within_the_limits_is_a_reply(succeeds):
    """Image parts need the limit raised, and then work."""
    text = "y" * (3 * MIB)
    raw = Reply([text], split=65536)

    succeeds(raw, text=text, limits=Limits(event_bytes=4 * MIB))
