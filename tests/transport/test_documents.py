"""JSON without `data:`: documents in lines, laid out ones, arrays, and how they are told apart."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import StreamTooLargeError
from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY
from cloudllm_sync.transport.documents import are_json_lines
from cloudllm_sync.transport.events import reply_events

A, B, C = b'{"a": 1}', b'{"b": {"}": 2}}', b'{"c": "[{"}'
LAID_OUT = json.dumps({"error": {"message": 'a "quoted" }', "list": [1, [2]]}}, indent=2).encode()
ERROR_ARRAY = b"[" + LAID_OUT + b"\n]"


class Lines:
    """Lines as iter_lines gives them, counted, and whether the last one had no end."""

    def __init__(self, body):
        self.taken = 0
        self.is_cut = False
        self._lines = body.split(b"\n")

    def __iter__(self):
        *whole, rest = self._lines
        for line in whole:
            self.taken += 1
            yield line
        if rest:
            self.is_cut = True
            yield rest


def events_of(body, *, json_lines=True, limit=10_000):
    lines = Lines(body)
    events = reply_events(
        iter(lines),
        event_limit=limit,
        source="the server",
        content_type="none",
        json_lines=json_lines,
        is_open_ended=True,
        is_cut=lambda: lines.is_cut,
    )
    return [(event.data.strip(), event.event, event.terminated) for event in events]


def plain(*documents):
    return [(document, "message", True) for document in documents]


def cut(document):
    return [(document, "message", False)]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/x-ndjson", True),
        ("application/x-ndjson; charset=utf-8", True),
        ("application/NDJSON", True),
        ("application/jsonl", True),
        ("application/x-jsonlines", True),
        ("application/json", False),
        ("text/event-stream; was=ndjson", False),
        ("none", False),
    ],
)
def test_content_type_tells_lines_of_json(content_type, expected):
    """By its name, whatever the parameters are."""
    assert expected == are_json_lines(content_type)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(A + b"\n" + B + b"\n", plain(A, B), id="two"),
        pytest.param(A + b"\n\n \t\n" + B + b"\n\n", plain(A, B), id="blank lines between"),
        pytest.param(b"\n" + b" " + A + b" \n" + B + b"\n", plain(A, B), id="spaces around"),
        pytest.param(A + b"\n", plain(A), id="one"),
        pytest.param(A, cut(A), id="no line end, may be whole"),
        pytest.param(A + b"\n" + B, plain(A) + cut(B), id="no last line end"),
        pytest.param(A + b"\n" + B[:-1], plain(A) + cut(B[:-1]), id="cut in a line"),
        pytest.param(A + b"\n" + B[:3] + b"\n", plain(A, B[:3]), id="broken, not cut"),
        pytest.param(A + b"\n" + B[:3] + b"\n" + C + b"\n", plain(A, B[:3], C), id="broken inside"),
        pytest.param(LAID_OUT + b"\n", plain(LAID_OUT), id="laid out"),
        pytest.param(A + b"\n" + LAID_OUT + b"\n" + C + b"\n", plain(A, LAID_OUT, C), id="amid"),
        pytest.param(A + b"\n" + LAID_OUT, plain(A) + cut(LAID_OUT), id="laid out, no line end"),
        pytest.param(
            A + b"\n" + LAID_OUT[:40], plain(A) + cut(LAID_OUT[:40]), id="cut in a laid out one"
        ),
        pytest.param(b"{\n}\n" + A + b"\n", plain(b"{\n}", A), id="nothing, laid out"),
        pytest.param(A + b"\nwords\n" + B + b"\n", plain(A, b"words", B), id="words"),
        pytest.param(A + b"\n" + ERROR_ARRAY + b"\n", plain(A, ERROR_ARRAY), id="laid out array"),
    ],
)
def test_lines_of_json(body, expected):
    """A line is an event, blank ones are none, and what may be half of one is marked."""
    assert expected == events_of(body)


def test_line_of_json_does_not_wait_for_the_next():
    """Each event comes with its own line."""
    lines = Lines(A + b"\n" + B + b"\n" + LAID_OUT + b"\n" + C + b"\n")
    events = reply_events(
        iter(lines), event_limit=999, source="the server", content_type="none", json_lines=True
    )

    assert [1, 2, 2 + len(LAID_OUT.split(b"\n"))] == [lines.taken for _, _ in zip(range(3), events)]


def test_lines_that_nothing_announced_are_told_by_the_second():
    """From then on each comes with its own line."""
    lines = Lines(A + b"\n\n" + B + b"\n" + C + b"\n")
    events = reply_events(iter(lines), event_limit=999, source="the server", content_type="none")

    assert [(A, 3), (B, 3), (C, 4)] == [(event.data, lines.taken) for event in events]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": {"b": 1}\n}',
        b'{"a": {}\n,"b": {}}',
        b'{"a": [{}\n,\n{}]}',
        b'{"a": 1}\n\n',
        b"{\n}\n{\n}",
        LAID_OUT,
        A + b"\nwords",
    ],
)
def test_document_over_many_lines_is_still_one(body):
    """Only a brace that opens after one that closes makes a second document."""
    assert [(body.strip(), WHOLE_BODY, True)] == events_of(body, json_lines=False)


def test_event_stream_is_one_though_lines_were_asked_for():
    """A gateway may answer in a form of its own."""
    assert plain(A, B) == events_of(b"data: %s\n\ndata: %s\n\n" % (A, B))


@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("body", [A + b"\n" + b'{"x": "%s"}\n' % (b"x" * 90), LAID_OUT * 3])
def test_document_of_a_line_is_bounded(body, json_lines):
    """Also one that is laid out, where it is one of many; a whole body has the stream's limit."""
    if not json_lines:
        body = A + b"\n" + A + b"\n" + body

    with pytest.raises(StreamTooLargeError, match="an event of more than 80 bytes"):
        events_of(body, json_lines=json_lines, limit=80)


@pytest.mark.parametrize("error", [LAID_OUT, ERROR_ARRAY, b'{\n"error":\n{\n"x": "}"\n}\n}'])
@pytest.mark.parametrize("after", [b"", b"data: b\n\n"])
def test_laid_out_document_amid_events_is_one(error, after):
    """Some servers report errors so."""
    found = events_of(b"data: a\n\n" + error + b"\n\n" + after, json_lines=False)

    assert [(error, BARE_JSON, True)] == [event for event in found if event[1] == BARE_JSON]
    assert (b"a", "message", True) == found[0]


def test_laid_out_document_at_the_end_may_be_cut():
    """The end of the body stands for the empty line."""
    found = events_of(b"data: a\n\n" + LAID_OUT, json_lines=False)

    assert [*plain(b"a"), (LAID_OUT, BARE_JSON, False)] == found


def test_laid_out_document_before_events_is_bare():
    """And the events are read."""
    found = events_of(LAID_OUT + b"\n\ndata: a\n\n", json_lines=False)

    assert [(LAID_OUT, BARE_JSON, True), *plain(b"a")] == found


def test_half_a_document_amid_events_says_nothing():
    """The data beside it does."""
    assert plain(b"b") == events_of(b'{\n"a": \ndata: b\n\n', json_lines=False)[-1:]


def in_arrays(*documents):
    return plain(*(b"[" + document + b"]" for document in documents))


@pytest.mark.parametrize("between", [b",\n", b"\n,\n", b"\n,", b" , \n", b"\n,\n\n"])
@pytest.mark.parametrize("around", [(b"[", b"]"), (b"[\n", b"\n]\n"), (b" [ ", b" ] ")])
@pytest.mark.parametrize("parts", [(A, B, C), (LAID_OUT, B, LAID_OUT)])
def test_elements_of_an_array_are_events(parts, between, around):
    """Wherever commas and brackets stand."""
    found = events_of(around[0] + between.join(parts) + around[1], json_lines=False)

    assert [[json.loads(part)] for part in parts] == [json.loads(data) for data, _, _ in found]
    assert {("message", True)} == {(name, terminated) for _, name, terminated in found}


def test_element_comes_with_its_comma():
    """Not with the end of the body."""
    lines = Lines(b"[{\n}\n,\n{\n}\n,\n{}\n]\n")
    events = reply_events(iter(lines), event_limit=999, source="the server", content_type="none")

    assert [3, 6, 8] == [lines.taken for _ in events]


@pytest.mark.parametrize(
    "body", [b"[]", b"[1, 2]", b"[" + A + b"]", ERROR_ARRAY, b"[%b,%b]" % (A, B)]
)
def test_array_on_a_line_or_of_one_element_is_a_whole_body(body):
    """It is an error or a reply, as a rule."""
    assert [(body, WHOLE_BODY, True)] == events_of(body, json_lines=False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" + A + b",\n" + B[:4], [*in_arrays(A), *cut(b"[" + B[:4] + b"\n]")]),
        (b"[" + A + b",\n" + B, [*in_arrays(A), *cut(b"[" + B + b"\n]")]),
        (b"[" + A + b",\n", in_arrays(A)),
        (b"[" + A[:4], [(b"[" + A[:4], WHOLE_BODY, False)]),
        (b"[" + A, [(b"[" + A, WHOLE_BODY, False)]),
    ],
)
def test_array_that_is_cut_keeps_what_came(body, expected):
    """What follows the last comma is marked: it may be whole."""
    assert expected == events_of(body, json_lines=False)


def test_several_elements_on_a_line_come_together():
    """A line is not taken apart."""
    found = events_of(b"[%b, %b,\n%b]" % (A, B, C), json_lines=False)

    assert plain(b"[%b, %b]" % (A, B), b"[" + C + b"]") == found


def test_array_before_events_does_not_hide_them():
    """As a bare object does not."""
    assert plain(b"a") == events_of(b"[1]\n\ndata: a\n\n", json_lines=False)
