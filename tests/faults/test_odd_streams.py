"""Streams that are right, but odd: line ends, splits, charsets, fields that say nothing."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from cloudllm_sync.testing import Raw, Reply, openai_events

TEXT = "Grüße, 世界! 👋 fin"
EVENTS = openai_events(Reply(TEXT, usage=None))
BODY = b"".join(EVENTS)


def chunk(content=None, **fields):
    """One event of a reply."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return _event({"choices": [choice], **fields})


def _event(payload):
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def cut(data, size):
    """In pieces of that size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def mixed(body):
    """LF, CRLF and CR by turns."""
    ends = itertools.cycle([b"\n", b"\r\n", b"\r"])
    lines = body.split(b"\n")[:-1]
    # LF after CR would be one line end, so that an empty line never follows a CR with LF.
    chosen = []
    for line in lines:
        end = next(ends)
        if not line and end == b"\n" and chosen and chosen[-1] == b"\r":
            end = b"\r\n" if chosen[-1] != b"\r" else b"\r"
        chosen += [line, end]
    return b"".join(chosen)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize(
    "line_end", [b"\n", b"\r\n", b"\r", None], ids=["LF", "CRLF", "CR", "mixed"]
)
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_line_ends_and_splits_do_not_matter(succeeds, size, line_end, framing):
    """One byte a segment splits CRLF and every character."""
    body = mixed(BODY) if line_end is None else BODY.replace(b"\n", line_end)

    succeeds(Raw(*cut(body, size), framing=framing), text=TEXT)


@pytest.mark.parametrize("size", [1, 2, 5, 100_000])
def test_byte_order_mark_is_dropped(succeeds, size):
    """Also when it comes in pieces."""
    succeeds(Raw(*cut(b"\xef\xbb\xbf" + BODY, size)), text=TEXT)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_end_split_inside_an_event_of_several_data_lines(succeeds, line_end):
    """CR, a new segment, LF: one line end."""
    payload = b'event: message\ndata: {"choices": [{"index": 0,\ndata: "delta": {"content":\n'
    payload += b'data: "ok"}}]}\n\n'
    body = (payload + EVENTS[-2] + EVENTS[-1]).replace(b"\n", line_end)
    pieces = [piece for piece in re.split(rb"(?<=\r)", body) if piece]

    succeeds(Raw(*pieces), text="ok")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_other_line_separators_are_text(succeeds, separator):
    """Only CR and LF end a line."""
    raw_json = {"choices": [{"index": 0, "delta": {"content": f"a{separator}b"}}]}

    succeeds(Raw(_event(raw_json), *EVENTS[-2:]), text=f"a{separator}b")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/event-stream; charset=latin-1",
        "text/event-stream; charset=utf-16",
        "text/event-stream; charset=nonsense",
        "text/plain",
        "application/octet-stream",
        None,
    ],
)
def test_event_streams_are_utf_8_whatever_is_declared(succeeds, content_type):
    """The standard knows no other encoding."""
    succeeds(Raw(*EVENTS, content_type=content_type), text=TEXT)


def test_bytes_that_are_no_utf_8_become_replacement_characters(succeeds):
    """The rest of the text stays."""
    bad = b'data: {"choices":[{"index":0,"delta":{"content":"a\xff\xfeb"}}]}\n\n'

    outcome = succeeds(Raw(bad, *EVENTS[-2:]), text="a\ufffd\ufffdb")

    assert outcome.text.encode("utf-8")


def test_surrogates_split_over_two_events_are_joined(succeeds):
    """And half a pair alone is U+FFFD."""
    halves = [b'"\\ud83d"', b'"\\udc4b"', b'" \\ud83d"', b'"x"']
    events = [b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % h for h in halves]

    succeeds(Raw(*events, *EVENTS[-2:]), text="👋 \ufffdx")


@pytest.mark.parametrize(
    "extra",
    [
        b": comment\n\n",
        b": comment\n",
        b"id: 7\n\n",
        b"retry: 3000\n\n",
        b"retry: soon\nid\n\n",
        b"nonsense: yes\n\n",
        b"no colon\n\n",
        b"event: ping\ndata: {}\n\n",
        b'event: ping\ndata: {"type": "ping"}\n\n',
        b'event: unheard.of\ndata: {"x": 1}\n\n',
        b"data:\n\n",
        b"data\n\n",
        b"\n\n\n",
        _event({"choices": []}),
        _event({"object": "something.else"}),
        _event({"choices": [{"index": 0, "delta": None}]}),
        _event({"choices": [{"index": 0}]}),
        _event({"choices": [{"index": 0, "delta": {}}]}),
        _event({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        _event({"choices": None, "error": None, "new": {"field": [1, 2]}}),
    ],
)
def test_what_says_nothing_is_skipped(succeeds, extra):
    """Before, between and after the chunks of the reply."""
    events = [part for event in EVENTS for part in (extra, event)]

    succeeds(Raw(*events), text=TEXT)


def test_usage_after_the_finish_reason_is_read(succeeds):
    """It comes with an empty choice, or with none."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    late = _event({"choices": [{"index": 0, "delta": {"content": ""}}], "usage": usage})
    outcome = succeeds(Raw(*EVENTS[:-1], late, EVENTS[-1]), text=TEXT)

    assert outcome.message.usage.total_tokens == 7


@pytest.mark.parametrize("form", [b"data:%b\n\n", b"data: %b\nid: 1\n\n", b"id: 1\ndata:%b\n\n"])
def test_forms_of_the_data_field(succeeds, form):
    """The space is optional, other fields may stand beside."""
    payloads = [event[len(b"data: ") :].strip() for event in EVENTS]

    succeeds(Raw(*(form % payload for payload in payloads)), text=TEXT)


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("split", [None, 0, 1, 7])
@pytest.mark.parametrize("framing", ["chunked", "length", "close", "http1.0"])
def test_framing_and_compression_do_not_matter(succeeds, framing, split, gzip):
    """Every way that a body can come."""
    succeeds(Reply(TEXT, framing=framing, split=split, gzip=gzip), text=TEXT)
