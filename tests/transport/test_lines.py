"""Pieces of a body to whole lines."""

from __future__ import annotations

import itertools
import time

import pytest
import requests

from cloudllm_sync import StreamTooLargeError
from cloudllm_sync.transport.lines import LineBlocks
from cloudllm_sync.values import Limits


def blocks_of(pieces, limits=None):
    """The blocks of a body that comes in these pieces."""
    return list(LineBlocks(iter(pieces), limits or Limits(), "the server").stream())


def align(pieces):
    """The lines that requests makes of those blocks."""
    response = requests.Response()
    response.raw = LineBlocks(iter(pieces), Limits(), "the server")
    return list(response.iter_lines(chunk_size=None))


def test_crlf_split_between_reads_keeps_the_event_name():
    """A CRLF cut by a read boundary is one line end, not an empty line."""
    lines = align([b"event: delta\r", b"\ndata: {}\r\n\r\n"])

    assert [b"event: delta", b"data: {}", b""] == lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_lines_do_not_depend_on_the_pieces(size, end):
    """However the body is cut."""
    lines = [b"event: a", b"data: b", b"", b"data: \xc3\xbc", b"", b"", b": c", b""]
    body = b"".join(line + end for line in lines)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    assert align(pieces) == lines


def test_every_cut_of_mixed_line_ends_gives_the_same_lines():
    """All ways to cut it in two or three."""
    body = b"a\r\nb\rc\n\r\n\rd\n\ne\r\n"
    cuts = itertools.combinations(range(len(body) + 1), 2)
    seen = {tuple(align([body[:i], body[i:k], body[k:]])) for i, k in cuts}

    assert seen == {tuple(body.splitlines())}


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_long_run_of_empty_lines_is_handed_on_as_two(end):
    """They say no more than one, and reading each takes longer than unpacking them."""
    run = end * 65536

    assert blocks_of([run, run + b"data: 1\n"]) == [end * 2, end * 2 + b"data: 1\n"]


def test_long_run_of_empty_lines_counts_as_it_came():
    """As bytes of the stream."""
    with pytest.raises(StreamTooLargeError, match="more than 100000 bytes"):
        blocks_of([b"\n" * 65536] * 2, Limits(stream_bytes=100_000))


def test_line_end_before_a_long_run_of_empty_lines_is_one():
    """Its second half may be the run's first byte."""
    body = [b"data: 1\r", b"\n" * 5000 + b"data: 2\n", b"\n"]

    assert [b"data: 1", b"", b"data: 2", b""] == align(body)


def test_line_is_handed_on_with_the_piece_that_ends_it():
    """Nothing is held back, not even after CR, which LF may follow."""
    handed = []

    def pieces():
        for piece in (b"data: 1\r", b"\ndata: 2\n", b"data", b": 3\r\r", b"x"):
            yield piece
            handed.append(len(blocks))

    blocks = []
    for block in LineBlocks(pieces(), Limits(), "the server").stream():
        blocks.append(block)

    assert blocks == [b"data: 1\r", b"data: 2\n", b"data: 3\r\r", b"x"]
    assert handed == [1, 2, 2, 3, 3]


def test_last_line_without_an_end_is_handed_on_at_the_end():
    """Whether it is whole is for others to judge."""
    assert blocks_of([b"a\nb", b"c"]) == [b"a\n", b"bc"]


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_nothing_gives_nothing(pieces):
    """No block, rather than an empty one that means the end to requests."""
    assert blocks_of(pieces) == []


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_byte_order_mark_is_dropped_at_the_beginning_only(size):
    """In however many pieces it comes."""
    mark = b"\xef\xbb\xbf"
    body = mark + b"data: " + mark + b"\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    assert b"".join(blocks_of(pieces)) == b"data: " + mark + b"\n"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 100])
def test_second_byte_order_mark_is_text(size):
    """Even if the first one fills a piece."""
    mark = b"\xef\xbb\xbf"
    body = mark + mark + b"x\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    assert b"".join(blocks_of(pieces)) == mark + b"x\n"


@pytest.mark.parametrize("body", [b"\xef", b"\xef\xbb", b"\xef\xbbx\n", b"\xef\xbb\xbf"])
def test_half_a_byte_order_mark_is_text(body):
    """Only a whole one is dropped."""
    whole = b"\xef\xbb\xbf"

    assert b"".join(blocks_of([body[:1], body[1:]])) == (b"" if body == whole else body)


@pytest.mark.parametrize(
    ("body", "is_json"),
    [
        (b'{"a": 1}', True),
        (b"\n\r\n  [1]", True),
        (b"\xef\xbb\xbf{}", True),
        (b"data: {}\n", False),
        (b"\n\n: x\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_json_body_is_known_by_its_first_character(body, is_json, size):
    """Behind blank lines and a byte-order mark."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    blocks = LineBlocks(iter(pieces), Limits(), "the server")
    for _ in blocks.stream():
        pass

    assert blocks.is_json is is_json


def test_json_body_is_known_behind_any_number_of_blank_lines():
    """A queued request gets one every few seconds; they are handed on as they come."""
    waited = [b"\n" * 100] * 300
    blocks = LineBlocks(iter([*waited, b"{}"]), Limits(), "the server")
    handed = list(blocks.stream())

    assert handed == [*waited, b"{}"]
    assert blocks.is_json


LIMITS = Limits(event_bytes=10, stream_bytes=100)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"x" * 11],
        [b"x" * 6, b"x" * 5],
        [b"x" * 11 + b"\n"],
        [b"ok\n" + b"x" * 11 + b"\nok\n"],
        [b"ok\n" + b"x" * 11],
        [b"x" * 6, b"x" * 5 + b"\n"],
        [b"x"] * 11,
    ],
)
def test_line_over_the_limit_is_refused(pieces):
    """Whether its end has come or not."""
    with pytest.raises(StreamTooLargeError, match="an event of more than 10 bytes"):
        blocks_of(pieces, LIMITS)


@pytest.mark.parametrize(
    "pieces", [[b"x" * 10], [b"x" * 10 + b"\r\n"], [b"x" * 6, b"x" * 4 + b"\n"], [b"x\n" * 20]]
)
def test_line_at_the_limit_passes(pieces):
    """Its end does not count; other lines in the same piece do not either."""
    assert b"".join(blocks_of(pieces, LIMITS)) == b"".join(pieces)


def test_stream_over_the_limit_is_refused():
    """What came before was handed on."""
    blocks = LineBlocks(itertools.repeat(b"12345678\n"), LIMITS, "the server").stream()
    handed = []
    with pytest.raises(StreamTooLargeError, match="a stream of more than 100 bytes"):
        handed.extend(blocks)

    assert len(handed) == 11


def test_json_body_may_be_as_long_as_a_stream():
    """Its one line is the reply."""
    assert len(b"".join(blocks_of([b"{" + b"x" * 50, b"x" * 49], LIMITS))) == 100
    with pytest.raises(StreamTooLargeError, match="a stream"):
        blocks_of([b"{" + b"x" * 50, b"x" * 50], LIMITS)


@pytest.mark.parametrize("pieces", [[b"{" + b"x" * 10], [b"{}\n{" + b"x" * 6, b"x" * 4]])
def test_line_of_json_that_is_one_of_many_has_the_limit_of_an_event(pieces):
    """Where the body is known to be lines of JSON."""
    blocks = LineBlocks(iter(pieces), LIMITS, "the server", json_lines=True)

    with pytest.raises(StreamTooLargeError, match="an event of more than 10 bytes"):
        list(blocks.stream())


@pytest.mark.parametrize("body", [b"a\nb", b"a\r\nb", b"a", b"a\n", b"a\r", b""])
@pytest.mark.parametrize("size", [1, 100])
def test_last_line_is_known_to_lack_its_end(body, size):
    """Told when it comes, and of no line before it."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    response = requests.Response()
    response.raw = blocks = LineBlocks(iter(pieces), Limits(), "the server")
    told = [(line, blocks.is_cut) for line in response.iter_lines(chunk_size=None)]

    *whole, rest = body.replace(b"\r", b"\n").replace(b"\n\n", b"\n").split(b"\n")
    assert [(line, False) for line in whole] + [(rest, True)] * bool(rest) == told


def test_long_line_in_small_pieces_costs_linear_time():
    """Four times the bytes take four times as long, not sixteen times."""

    def cpu_s(size):
        pieces = [b"x" * 16] * (size // 16)
        began = time.process_time()
        (line,) = align(pieces)
        assert len(line) == size
        return time.process_time() - began

    short, long = (min(cpu_s(size) for _ in range(3)) for size in (1 << 18, 1 << 20))

    assert long < 9 * short
