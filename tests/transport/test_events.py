"""Lines to events: the WHATWG table, bare JSON, whole bodies."""

from __future__ import annotations

import tracemalloc

import pytest

from cloudllm_sync import StreamProtocolError, StreamTooLargeError
from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY
from cloudllm_sync.transport.events import EventReader, reply_events


def events_of(body, *, limit=10_000, content_type="text/event-stream"):
    """Data, name and completeness of the events of a body with LF line ends."""
    lines = body.split(b"\n")
    # As iter_lines gives them: a line end at the end of the body is no further line.
    lines = lines[:-1] if lines[-1] == b"" else lines
    events = reply_events(
        iter(lines), event_limit=limit, source="the server", content_type=content_type
    )
    return [(event.data, event.event, event.terminated) for event in events]


def one(data, name="message"):
    return [(data, name, True)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"data: a\n\n", one(b"a"), id="plain"),
        pytest.param(b"data:a\n\n", one(b"a"), id="no space"),
        pytest.param(b"data:  a \n\n", one(b" a "), id="one space is taken, no more"),
        pytest.param(b"data: a\ndata: b\n\n", one(b"a\nb"), id="two data lines"),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", one(b"a\n\nb"), id="an empty one between"),
        pytest.param(b"event: x\ndata: a\n\n", one(b"a", "x"), id="name first"),
        pytest.param(b"data: a\nevent: x\n\n", one(b"a", "x"), id="name last"),
        pytest.param(b"event:x\ndata:a\n\n", one(b"a", "x"), id="name without a space"),
        pytest.param(b"event: x\nevent: y\ndata: a\n\n", one(b"a", "y"), id="the last name wins"),
        pytest.param(b"event: \ndata: a\n\n", one(b"a"), id="an empty name is none"),
        pytest.param(b"event: x\ndata: a\ndata: b\n\n", one(b"a\nb", "x"), id="name and two"),
        pytest.param(b"event: x\n\n", [], id="a name alone is no event"),
        pytest.param(b"event: x\n\ndata: a\n\n", one(b"a"), id="a name does not outlive its event"),
        pytest.param(b"id: 1\n\n", [], id="an id alone"),
        pytest.param(b"retry: 10\n\n", [], id="a retry alone"),
        pytest.param(b"id: 1\nretry: 10\ndata: a\n\n", one(b"a"), id="id and retry beside data"),
        pytest.param(b"id: \x00\ndata: a\n\n", one(b"a"), id="NUL in an id"),
        pytest.param(b"retry: soon\ndata: a\n\n", one(b"a"), id="a retry that is no number"),
        pytest.param(b"more: x\ndata: a\n\n", one(b"a"), id="an unknown field"),
        pytest.param(b"words\ndata: a\n\n", one(b"a"), id="a field without a colon"),
        pytest.param(b" data: x\ndata: a\n\n", one(b"a"), id="a field with a space before it"),
        pytest.param(b"Data: x\ndata: a\n\n", one(b"a"), id="names have a case"),
        pytest.param(b": c\ndata: a\n\n", one(b"a"), id="a comment before"),
        pytest.param(b"data: a\n: c\n\n", one(b"a"), id="a comment after"),
        pytest.param(b"data: a\n:\ndata: b\n\n", one(b"a\nb"), id="a comment between"),
        pytest.param(b": c\n\n: d\n\n", [], id="comments alone"),
        pytest.param(b"\n\n\ndata: a\n\n\n\n", one(b"a"), id="blank lines around"),
        pytest.param(b"data: a\n\ndata: b\n\n", one(b"a") + one(b"b"), id="two events"),
        pytest.param(b"data: a", [(b"a", "message", False)], id="cut"),
        pytest.param(b"data: a\n", [(b"a", "message", False)], id="cut before the empty line"),
        pytest.param(b"event: x\ndata: a\n", [(b"a", "x", False)], id="named, cut"),
        pytest.param(b"event: x", [], id="a name, cut"),
        pytest.param(b"data: a\n\n: c", one(b"a"), id="a comment, cut"),
        pytest.param(b"data: \xe2\x80\xa8\n\n", one(b"\xe2\x80\xa8"), id="U+2028"),
        pytest.param("data: ü\nevent: ö\n\n".encode(), one("ü".encode(), "ö"), id="UTF-8 name"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\n \n\t\n", [], id="blanks"),
    ],
)
def test_event_stream_format(body, expected):
    """As the standard reads it, but an event that is cut is marked, not dropped."""
    assert events_of(body) == expected


@pytest.mark.parametrize("body", [b"data\n\n", b"data:\n\n", b"data: \n\n"])
def test_empty_data_says_nothing(body):
    """An event with no data, or none at all: decoders skip both."""
    assert [data for data, _, _ in events_of(body)] in ([], [b""])


def test_bytes_that_are_no_utf_8_are_kept_or_replaced():
    """The fast path keeps them for the decoder, the library gets U+FFFD."""
    replaced = "\ufffd".encode()

    assert events_of(b"data: \xff\n\n") == one(b"\xff")
    assert events_of(b"data: \xff\ndata: x\n\n") == one(replaced + b"\nx")


@pytest.mark.parametrize(
    "body",
    [b'{"a": 1}', b'\n\n  {"a": 1}', b'[{"a":\n1}]\n', b"{\n}\n\n", b'{"a":\n\n1}'],
)
def test_json_document_is_one_event(body):
    """Blank lines before it do not matter, line ends inside neither."""
    ((data, name, terminated),) = events_of(body)

    assert data.split() == body.split()
    assert (name, terminated) == (WHOLE_BODY, True)


def test_bare_line_of_json_before_events():
    """Some servers report errors without a field name."""
    body = b'{"error": "x"}\n\ndata: a\n\n'

    assert events_of(body) == [(b'{"error": "x"}', BARE_JSON, True), (b"a", "message", True)]


def test_bare_line_of_json_between_events():
    """Alone, or beside data in one event."""
    alone = b'data: a\n\n{"error": "x"}\n\ndata: b\n\n'
    beside = b'data: a\n\ndata: b\n{"error": "x"}\n\n'

    assert [(data, name) for data, name, _ in events_of(alone)] == [
        (b"a", "message"),
        (b'{"error": "x"}', BARE_JSON),
        (b"b", "message"),
    ]
    assert (b'{"error": "x"}', BARE_JSON, True) in events_of(beside)


@pytest.mark.parametrize("body", [b"<html>", b"\n\n  <!DOCTYPE html>", b'<?xml version="1.0"?>'])
def test_page_is_refused(body):
    """With the content type that was declared."""
    with pytest.raises(StreamProtocolError, match="text/html"):
        events_of(body, content_type="text/html")


@pytest.mark.parametrize("line", [b"data: x\n", b"x\n", b": x\n", b"data\n"])
def test_event_of_many_lines_is_bounded(line):
    """All its lines count."""
    with pytest.raises(StreamTooLargeError, match="an event of more than 1000 bytes"):
        events_of(b"data: begin\n" + line * 2000, limit=1000)


def test_next_event_is_counted_anew():
    """Many events of a good size are no long one."""
    body = b"data: x\ndata: y\ndata: z\n\n" * 500

    assert events_of(body, limit=100) == one(b"x\ny\nz") * 500


@pytest.mark.parametrize("line", [b"xyz\n", b": c\n", b"data: x\n"])
def test_event_of_many_short_lines_takes_little_memory(line):
    """As separate objects they would take thirty times their size."""
    lines = (line[:-1] for _ in range(2_000_000 // len(line)))
    tracemalloc.start()
    try:
        with pytest.raises(StreamTooLargeError):
            list(EventReader(lines, 1_000_000, "somebody").events())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 3_000_000


def test_event_of_many_data_lines_is_whole():
    """More lines than the library gets at once."""
    lines = [b"%d" % n for n in range(1000)]
    body = b"event: long\n" + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"

    assert events_of(body) == one(b"\n".join(lines), "long")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(b"event: x\n" + b":\n" * 300 + b"data: a\n\n", "x", id="before"),
        pytest.param(b"data: a\n" + b":\n" * 300 + b"event: x\n\n", "x", id="behind"),
        pytest.param(b"event: x\ndata: a\n" + b":\n" * 300 + b"event\n\n", "message", id="reset"),
    ],
)
def test_name_counts_however_far_from_its_data(body, name):
    """Even where the library gets the one without the other."""
    assert events_of(body) == one(b"a", name)


def test_event_is_handed_on_with_its_empty_line():
    """Not with the first line of the next one."""
    pulled = []

    def lines():
        for line in (b"data: a", b"", b"event: x", b"data: b", b"", b"data: c", b"data: d", b""):
            pulled.append(line)
            yield line

    events = reply_events(lines(), event_limit=1000, source="the server", content_type="none")
    lengths = [len(pulled) for _ in events]

    assert lengths == [2, 5, 8]
