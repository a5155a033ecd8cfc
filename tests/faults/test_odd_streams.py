"""Streams that are right, but odd in their bytes: line ends, splits, charsets, fields of SSE."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from families import TEXT, sse

from cloudllm_sync.testing import Raw, Reply

WORDS = "Grüße, 世界! 👋 fin"


@pytest.fixture
def events(family):
    """A reply in several alphabets, its lines ended by LF."""
    said = family.encode(Reply(WORDS, usage=None))
    return [event.replace(b"\r\n", b"\n") for event in said]


def cut(data, size):
    """In pieces of that size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def mixed(body):
    """LF, CRLF and CR by turns; never CR before an LF that ends another line."""
    ends = itertools.cycle([b"\n", b"\r\n", b"\r"])
    written = b""
    for line in body.split(b"\n")[:-1]:
        end = next(ends)
        if not line and written.endswith(b"\r") and end == b"\n":
            end = b"\r"
        written += line + end
    return written


def parts_of(event):
    """The name of an event, if it has one, and its data."""
    name = re.match(rb"event: (.*)\n", event)
    return (name[1] if name else None), event[event.index(b"data: ") + 6 :].strip()


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize(
    "line_end", [b"\n", b"\r\n", b"\r", None], ids=["LF", "CRLF", "CR", "mixed"]
)
@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.each_wire_once
def test_line_ends_and_splits_do_not_matter(succeeds, events, size, line_end, framing):
    """One byte a segment splits CRLF and every character."""
    body = b"".join(events)
    body = mixed(body) if line_end is None else body.replace(b"\n", line_end)

    succeeds(Raw(*cut(body, size), framing=framing), text=WORDS)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_end_at_the_end_of_a_segment(succeeds, events, line_end):
    """CR, a new segment, LF: one line end, after every line of every event."""
    body = b"".join(events).replace(b"\n", line_end)

    succeeds(Raw(*re.split(rb"(?<=\r)", body)), text=WORDS)


@pytest.mark.parametrize("size", [1, 2, 5, 100_000])
@pytest.mark.each_wire_once
def test_byte_order_mark_is_dropped(succeeds, events, size):
    """Also when it comes in pieces."""
    succeeds(Raw(*cut(b"\xef\xbb\xbf" + b"".join(events), size)), text=WORDS)


STRUCTURE = re.compile(rb'("(?:[^"\\]|\\.)*"|[^\s",:\[\]{}]+|[\[\]{},:])')


@pytest.mark.each_wire_once
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_data_in_lines_of_a_byte(succeeds, events, line_end):
    """Every bracket, colon and comma of the JSON is a line of its own; LF joins them."""
    lines = []
    for name, data in map(parts_of, events):
        tokens = STRUCTURE.findall(data) if data[:1] == b"{" else [data]
        lines += [b"event: " + name] if name else []
        lines += [*(b"data: " + token for token in tokens), b""]
    body = line_end.join([*lines, b""])

    succeeds(Raw(*re.split(rb"(?<=\r)", body)), text=WORDS)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x7f", "\ufeff", "\u0000"])
def test_other_separators_are_text(succeeds, family, separator):
    """Only CR and LF end a line; a NUL comes escaped."""
    text = json.dumps(f"a{separator}b", ensure_ascii=separator == "\0").encode()

    succeeds(Raw(family.opening, family.says(text), family.rest), text=f"a{separator}b")


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1e", "\x00"])
@pytest.mark.each_wire_once
def test_control_characters_as_escapes_are_text(succeeds, family, separator):
    """They split no line, and no string."""
    text = json.dumps(f"a{separator}b").encode()

    succeeds(Raw(family.opening, family.says(text), family.rest), text=f"a{separator}b")


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "content_type",
    [
        "text/event-stream; charset=latin-1",
        "text/event-stream; charset=utf-16",
        "text/event-stream; charset=nonsense",
        "text/event-stream;charset",
        "TEXT/EVENT-STREAM",
        "text/plain",
        "text/html",
        "application/json",
        "application/octet-stream",
        "nonsense",
        "",
        None,
    ],
)
def test_event_streams_are_utf_8_whatever_is_declared(succeeds, events, content_type):
    """The standard knows no other encoding, and servers name any type."""
    succeeds(Raw(*events, content_type=content_type), text=WORDS)


def test_bytes_that_are_no_utf_8_become_replacement_characters(succeeds, family):
    """The rest of the text stays."""
    bad = family.says(b'"a\xff\xfeb"')
    outcome = succeeds(Raw(family.opening, bad, family.rest), text="a\ufffd\ufffdb")

    assert outcome.text.encode("utf-8")


def test_surrogates_split_over_two_events_are_joined(succeeds, family):
    """And half a pair alone is U+FFFD, in the middle and at the end."""
    halves = [b'"\\ud83d"', b'"\\udc4b"', b'" \\ud83d"', b'"x"', b'"\\ud83d"']
    events = [family.says(half) for half in halves]
    outcome = succeeds(Raw(family.opening, *events, family.rest), text="👋 \ufffdx\ufffd")

    assert outcome.text.encode("utf-8")


EXTRAS = {
    "comment": b": comment\n\n",
    "comment line": b": comment\n",
    "bare colon": b":\n",
    "id": b"id: 7\n\n",
    "id with NUL": b"id: a\0b\n\n",
    "id alone": b"id\n\n",
    "retry": b"retry: 3000\n\n",
    "retry in words": b"retry: soon\n\n",
    "unknown field": b"nonsense: yes\n\n",
    "no colon": b"no colon\n\n",
    "space before a field": b" data: no\n\n",
    "NUL": b"\0\n\n",
    "not UTF-8": b"\xff\xfe: x\n\n",
    "ping": b"event: ping\ndata: {}\n\n",
    "ping, typed": b'event: ping\ndata: {"type": "ping"}\n\n',
    "ping, words": b"event: ping\ndata: pong\n\n",
    "heartbeat": b"event: heartbeat\ndata:\n\n",
    "unknown event": b'event: unheard.of\ndata: {"x": 1}\n\n',
    "event without data": b"event: unheard.of\n\n",
    "name of 100 KB": b"event: " + b"n" * 100_000 + b'\ndata: {"x": 1}\n\n',
    "empty data": b"data:\n\n",
    "data without colon": b"data\n\n",
    "blank data": b"data:  \n\n",
    "blank lines": b"\n\n\n",
    "null": b"data: null\n\n",
    "a number": b"data: 42\n\n",
    "a string": b'data: "hello"\n\n',
    "an empty list": b"data: []\n\n",
    "an empty object": b"data: {}\n\n",
    "a thousand comments": b": OPENROUTER PROCESSING\n\n" * 1000,
}


@pytest.mark.each_wire_once
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_says_nothing_is_skipped(succeeds, family, events, extra):
    """Before, between and after the events of the reply."""
    parts = [part for event in events for part in (EXTRAS[extra], event)]

    succeeds(Raw(*parts), text=WORDS)


def test_events_that_say_nothing_are_skipped(succeeds, family):
    """Those of this wire, between its own: nulls, empty lists, what is not known yet."""
    parts = [part for event in family.events[1:] for part in (*family.silent, event)]

    succeeds(Raw(family.events[0], *parts), text=TEXT)


FORMS = {
    "no space": b"data:%b\n\n",
    "id after": b"data: %b\nid: 1\n\n",
    "id before": b"id: 1\ndata:%b\n\n",
    "retry before": b"retry: 1\ndata: %b\n\n",
    "comment before": b": c\ndata: %b\n\n",
    "comment after": b"data: %b\n: c\n\n",
    "two blank lines": b"data: %b\n\n\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.each_wire_once
def test_forms_of_the_data_field(succeeds, events, form):
    """The space is optional, other fields may stand beside; names are where they are."""
    written = []
    for name, data in map(parts_of, events):
        head = b"event: " + name + b"\n" if name else b""
        written.append(head + FORMS[form] % data)

    succeeds(Raw(*written), text=WORDS)


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "form", [b"data: %(data)b\nevent: %(name)b\n\n", b"event:%(name)b\ndata:%(data)b\n\n"]
)
def test_place_of_the_name_does_not_matter(succeeds, events, form):
    """It may follow its data; on wires without names `message` is the one that all events have."""
    named = [(name or b"message", data) for name, data in map(parts_of, events)]

    succeeds(Raw(*(form % {b"name": n, b"data": d} for n, d in named)), text=WORDS)


@pytest.mark.each_wire_once
def test_names_may_be_missing(succeeds, events):
    """What an event is stands in its data, too."""
    succeeds(Raw(*(b"data: " + data + b"\n\n" for _, data in map(parts_of, events))), text=WORDS)


def test_unknown_fields_are_ignored(succeeds, family):
    """In every event."""
    new = b'data: {"new_field":{"deep":[1,null,"x"]},"newField":1.5e300,'

    succeeds(Raw(*(event.replace(b"data: {", new) for event in family.events)), text=TEXT)


@pytest.mark.one_lane
def test_usage_after_the_finish_reason_is_read(succeeds, family):
    """It comes with an empty choice, or with none."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    late = sse({"choices": [{"index": 0, "delta": {"content": ""}}], "usage": usage})
    raw = Raw(family.begun, family.second, family.finish, late, family.end)
    outcome = succeeds(raw, text=TEXT)

    assert outcome.message.usage.total_tokens == 7


def test_usage_is_that_of_the_provider(succeeds, family):
    """Wherever the wire says it."""
    outcome = succeeds(Reply(TEXT), text=TEXT)

    assert outcome.message.usage.total_tokens == 10 + 2
