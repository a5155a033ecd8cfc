"""Errors that come with status 200: inside the stream, or in place of it."""

from __future__ import annotations

import json

import pytest
from families import PIECES, TEXT, sse

from cloudllm_sync import (
    AuthenticationError,
    BadRequestError,
    LLMSession,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    StreamProtocolError,
)
from cloudllm_sync.testing import Cut, Raw, Reply, Reset, Stall, Wait, openai_events

KINDS = {
    "broken": ServerError,
    "overloaded": ServerError,
    "rate": RateLimitError,
    "quota": QuotaExceededError,
    "key": AuthenticationError,
    "request": BadRequestError,
    "unnamed": ServerError,
}


@pytest.fixture
def reported(fails):
    """Runs a stream that reports an error; the provider's words must be in it."""

    def run(*steps, error=ServerError, words="it broke", **expected):
        raw = Raw(*steps, **expected.pop("framed", {}))
        outcome = fails(raw, error=error, gone=False, max_retries=0, **expected)
        assert words in str(outcome.error)
        return outcome.error

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
def test_error_in_the_stream_is_of_its_class(reported, family, kind, later):
    """With the provider's message, and what had come."""
    before, partial = (family.begun, PIECES[0]) if later else (family.opening, None)

    reported(before, family.reports(kind), error=KINDS[kind], partial=partial)


SHAPES = {
    "object": sse({"error": {"message": "it broke"}}),
    "string": sse({"error": "it broke"}),
    "event, object": b'event: error\ndata: {"message": "it broke"}\n\n',
    "event, object in error": b'event: error\ndata: {"error": {"message": "it broke"}}\n\n',
    "event, string": b'event: error\ndata: "it broke"\n\n',
    "event, words": b"event: error\ndata: it broke\n\n",
    "event named after its data": b'data: {"message": "it broke"}\nevent: error\n\n',
    "type error": sse({"type": "error", "message": "it broke"}),
    "bare line": b'{"error": {"message": "it broke"}}\n\n',
    "bare line, string": b'{"error": "it broke"}\n',
    "in a list": sse([{"error": {"message": "it broke"}}]),
    "beside choices": sse({"choices": [], "candidates": [], "error": {"message": "it broke"}}),
    "code an integer": sse({"error": {"message": "it broke", "code": 500}}),
    "code a string": sse({"error": {"message": "it broke", "code": "500"}}),
    "code null": sse({"error": {"message": "it broke", "code": None, "type": None}}),
    "code a list": sse({"error": {"message": "it broke", "code": ["a"], "type": {"b": 1}}}),
    "code a boolean": sse({"error": {"message": "it broke", "code": True}}),
    "code a float": sse({"error": {"message": "it broke", "code": 500.5}}),
    "message null": sse({"error": {"message": None, "note": "it broke"}}),
    "message an object": sse({"error": {"message": {"text": "it broke"}}}),
    "message a list": sse({"error": {"message": ["it broke"]}}),
    "message empty": sse({"error": {"message": "", "note": "it broke"}}),
    "error a list": sse({"error": ["it broke"]}),
    "with a NUL": sse({"error": {"message": "it broke\0"}}),
    "with half a character": b'data: {"error": {"message": "it broke \\ud83d"}}\n\n',
    "not UTF-8": b'data: {"error": {"message": "it broke \xff"}}\n\n',
    "of 100 KB": sse({"error": {"message": "it broke " + "x" * 100_000}}),
}


# What a codec makes of an event does not depend on who reads.
@pytest.mark.each_wire_once
@pytest.mark.parametrize("shape", SHAPES)
def test_error_of_another_shape_is_read(reported, family, shape):
    """Gateways put their own errors into anybody's stream."""
    failure = reported(family.begun, SHAPES[shape], partial=PIECES[0])

    assert str(failure).encode()
    assert all(field is None or isinstance(field, str) for field in (failure.code, failure.type))


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.startswith(("object", "string", "event", "bare"))]
)
def test_error_of_another_shape_comes_first(reported, family, shape):
    """Before any text; a bare line as the first of all would be a whole body."""
    reported(family.opening or family.keep_alive, SHAPES[shape])


ENDS = {
    "end of the body": (),
    "end mark": (b"data: [DONE]\n\n",),
    "cut": (Cut(),),
    "reset": (Wait(0.02), Reset()),
    "left open": (Stall(),),
}


@pytest.mark.each_wire_once
@pytest.mark.also_over_tls
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_what_follows_an_error_does_not_change_it(fails, family, end, framing):
    """The error is the end: nothing after it is waited for."""
    steps = ENDS[end]
    raw = Raw(family.begun, family.reports("broken"), *steps, framing=framing)
    gone = bool(steps) and not isinstance(steps[0], bytes)
    outcome = fails(raw, error=ServerError, partial=PIECES[0], gone=gone)

    assert outcome.seconds < 2.0


def test_error_after_the_finish_reason_is_an_error(reported, succeeds, family):
    """The provider takes its word back; on Responses the finish is the end, and nobody hears it."""
    steps = (family.begun, family.second, family.finish, family.reports("broken"))

    if family.name == "responses":
        succeeds(Raw(*steps), text=TEXT)
    else:
        reported(*steps, partial=TEXT)


def test_null_error_in_good_events_is_ignored(succeeds, family):
    """Some gateways send the field always."""
    events = [event.replace(b"data: {", b'data: {"error":null,') for event in family.events]

    succeeds(Raw(*events), text=TEXT)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("nothing", [b"{}", b'""', b"[]", b"false"])
def test_empty_error_in_good_events_is_ignored(succeeds, family, nothing):
    """It says nothing."""
    events = [event.replace(b"data: {", b'data: {"error":%b,' % nothing) for event in family.events]

    succeeds(Raw(*events), text=TEXT)


def test_key_in_a_reported_error_is_masked(reported, family):
    """`fails` looks into every field."""
    message = "it broke for key sk-test-0123456789abcdef"
    failure = reported(family.begun, family.reports("broken", message), partial=PIECES[0])

    assert "***" in str(failure)


@pytest.mark.each_wire_once
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", None])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_json_error_with_status_200_is_the_error(reported, family, content_type, framing):
    """The body counts, neither the status nor the content type."""
    body = json.dumps(family.refuse({**family.errors["request"], "message": "it broke"}))
    framed = {"content_type": content_type, "framing": framing}

    reported(body.encode(), error=BadRequestError, framed=framed)


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"hello": 1}', b"[1, 2]", b'{"detail": null}', b"{", b"[[[["]
)
def test_json_that_is_no_reply_is_a_protocol_error(fails, body):
    """Neither a reply nor an error: another service answered."""
    raw = Raw(body, content_type="application/json")

    fails(raw, error=StreamProtocolError, gone=False)


@pytest.mark.each_wire_once
@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><h1>Sign in</h1>", b"\n  <html></html>", b"\xef\xbb\xbf<html>"]
)
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_page_is_a_protocol_error_that_names_the_content_type(fails, body, framing):
    """A captive portal, a wrong base URL."""
    raw = Raw(body, content_type="text/html; charset=utf-8", framing=framing)
    failure = fails(raw, error=StreamProtocolError, gone=False).error

    assert "text/html" in str(failure)
    assert "base_url" in str(failure)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_whole_reply_in_answer_to_a_stream_request_is_read(succeeds, family, framing):
    """Some servers do not stream."""
    body = family.body(Reply("not streamed"))

    succeeds(Raw(body, content_type="application/json", framing=framing), text="not streamed")


@pytest.mark.parametrize("where", ["in a word", "at its end"])
def test_whole_reply_that_is_cut_is_no_reply(read, serve, make_client, family, where):
    """Half a document proves nothing."""
    body = family.body(Reply("not streamed"))
    body = body[: body.index(b"streamed")] if where == "in a word" else body.rstrip()[:-1]
    server = serve(Raw(body, content_type="application/json", framing="close"), "fine again")
    client = make_client(server)
    outcome = read(client)

    assert type(outcome.error) is StreamInterrupted
    assert outcome.text == ""
    assert read(client).text == "fine again"


@pytest.mark.one_lane
def test_finish_reason_error_is_an_error(fails, family):
    """A reply that says of itself that it failed; only Chat Completions has the word."""
    last = sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]})

    fails(Raw(family.begun, last), error=ServerError, partial=PIECES[0], gone=False)


@pytest.mark.one_lane
def test_finish_reason_error_is_no_reply_for_who_leaves_there(serve, make_client):
    """The loop is left at the finish reason; the turn has failed all the same."""
    events = openai_events(Reply("half an ans", finish_reason="error"))
    session = LLMSession(make_client(serve(Raw(*events))))
    stream = session.stream("hi")
    for chunk in stream:
        if chunk.finish_reason:
            break
    stream.close()

    with pytest.raises(ServerError):
        stream.result()
    assert session.history == ()
