"""Ends, usage and errors of the Responses API, in streams."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import (
    BadRequestError,
    ContextLengthError,
    RateLimitError,
    ServerError,
    StreamProtocolError,
)
from cloudllm_sync.values import Message, MessageChunk, TokenUsage


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list
    message: Message
    decoder: object

    @property
    def error(self):
        return self.decoder.error


def as_event(said):
    if isinstance(said, ServerSentEvent):
        return said
    if isinstance(said, str):
        return ServerSentEvent(said.encode())
    return ServerSentEvent(json.dumps(said).encode(), said.get("type", "message"))


def read(*events):
    decoder = OpenAIResponsesCodec("Acme").decoder()
    chunks = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def said(kind, **fields):
    return {"type": f"response.{kind}", **fields}


def text(delta, item=0, part=0, **fields):
    return said("output_text.delta", delta=delta, output_index=item, content_index=part, **fields)


def added(item, index=0, **fields):
    return said("output_item.added", output_index=index, item=item, **fields)


def call(call_id="call_1", name="f", arguments="", **fields):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **fields,
    }


def message(*parts):
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts)}


def response(status="completed", **fields):
    return {"object": "response", "id": "r", "model": "m", "status": status, **fields}


def end(status="completed", **fields):
    return said(status, response=response(status, **fields))


END = end()


@pytest.mark.parametrize(
    ("last", "word", "raw"),
    [
        (end(), "stop", "completed"),
        (said("completed", response={}), "stop", "completed"),
        (said("completed"), "stop", "completed"),
        (said("completed", response={"status": "in_progress"}), "stop", "completed"),
        (
            end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "length",
            "max_output_tokens",
        ),
        (
            end("incomplete", incomplete_details={"reason": "content_filter"}),
            "content_filter",
            "content_filter",
        ),
        (end("incomplete", incomplete_details={"reason": "new"}), "unknown", "new"),
        (end("incomplete", incomplete_details={}), "unknown", "incomplete"),
        (end("incomplete", incomplete_details=None), "unknown", "incomplete"),
    ],
)
def test_end_and_its_reason(last, word, raw):
    """The status, or why the reply is incomplete."""
    reading = read(text("a"), last, text("never read"))

    assert (reading.message.finish_reason, reading.message.raw_finish_reason) == (word, raw)
    assert reading.message.content == "a"
    assert reading.decoder.complete()
    assert reading.error is None


def test_length_cut_wins_over_calls():
    """The last call is then usually cut."""
    last = end("incomplete", incomplete_details={"reason": "max_output_tokens"})

    assert read(added(call()), last).message.finish_reason == "length"


@pytest.mark.parametrize("events", [[], [text("a")], [text("a"), "[DONE]"], ["[DONE]"], [""]])
def test_without_an_end_mark_nothing_is_complete(events):
    """[DONE] is OpenRouter's, after the real end."""
    reading = read(said("created", response=response("in_progress")), *events)

    assert not reading.decoder.complete()
    assert reading.error is None
    assert reading.message.finish_reason is None


def test_done_mark_ends_the_stream():
    """Nothing is waited for after it."""
    assert read("[DONE]").decoder.ended


def test_facts_come_with_the_first_event():
    """And stay, should the last one say otherwise."""
    reading = read(
        said("created", response={"id": "r\ud800", "model": "m-1"}), end(id="x", model="m")
    )

    assert (reading.message.response_id, reading.message.model) == ("r\ufffd", "m-1")


USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 17,
}


def test_usage():
    """It comes with the end, after the finish reason."""
    reading = read(text("a"), end(usage=USAGE))

    assert reading.chunks[-1] == MessageChunk(usage=TokenUsage(10, 7, 17, 4, 2, 5))
    assert reading.chunks[-2].finish_reason == "stop"


@pytest.mark.parametrize("usage", [None, {}, [], "odd", {"input_tokens": None}])
def test_no_usage(usage):
    """Nothing counted is None, not zero."""
    assert read(text("a"), end(usage=usage)).message.usage is None


@pytest.mark.parametrize(
    ("event", "cls", "code", "kind"),
    [
        (
            {
                "type": "error",
                "sequence_number": 3,
                "error": {"type": "invalid_request_error", "code": "bad", "message": "Oh no"},
            },
            BadRequestError,
            "bad",
            "invalid_request_error",
        ),
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "Oh no", "param": None},
            RateLimitError,
            "rate_limit_exceeded",
            "error",
        ),
        (
            {"type": "error", "error": None, "code": "context_length_exceeded", "message": "Oh no"},
            ContextLengthError,
            "context_length_exceeded",
            "error",
        ),
        ({"error": {"code": 502, "message": "Oh no"}}, ServerError, "502", None),
        ({"error": "Oh no"}, ServerError, None, None),
        (ServerSentEvent(b"Oh no", "error"), ServerError, None, None),
        (ServerSentEvent(b'"Oh no"', "error"), ServerError, None, None),
        (ServerSentEvent(b'{"message": "Oh no"}', "error"), ServerError, None, None),
        (ServerSentEvent(b'{"error": "Oh no"}', BARE_JSON), ServerError, None, None),
        (said("error", error={"message": "Oh no"}), ServerError, None, None),
        (
            end("failed", error={"code": "server_error", "message": "Oh no"}),
            ServerError,
            "server_error",
            None,
        ),
    ],
)
def test_error_in_the_stream(event, cls, code, kind):
    """In every shape; it ends the stream, and what had come stays."""
    reading = read(text("a"), event, text("never read"))

    assert type(reading.error) is cls
    assert "Oh no" in str(reading.error)
    assert (reading.error.code, reading.error.type) == (code, kind)
    assert reading.message.content == "a"


def test_failure_after_an_error_event_is_the_same_error():
    """The first says more."""
    error = {"type": "error", "error": {"type": "t", "code": "c", "message": "Oh no"}}
    decoder = OpenAIResponsesCodec("Acme").decoder()
    decoder.feed(as_event(error))
    decoder.feed(as_event(end("failed", error={"code": "c", "message": "Other"})))

    assert "Oh no" in str(decoder.error)
    assert decoder.error.type == "t"


def test_failure_in_mid_reply_has_a_finish_reason():
    """What had come is told to have failed."""
    reading = read(text("a"), end("failed", error={"message": "Oh no"}, usage=USAGE))

    assert (reading.message.finish_reason, reading.message.raw_finish_reason) == ("error", "failed")
    assert reading.message.usage.total_tokens == 17


def test_failure_before_anything_hands_nothing_on():
    """So that the request may be sent again."""
    reading = read(end("failed", error={"code": "server_error", "message": "x"}, usage=USAGE))

    assert reading.chunks == []
    assert reading.error.retryable


@pytest.mark.parametrize("event", [end("failed"), said("failed"), ServerSentEvent(b"{}", "error")])
def test_failure_without_a_word(event):
    """Is an error all the same."""
    reading = read(event)

    assert type(reading.error) is ServerError


@pytest.mark.parametrize(
    "event",
    [
        said("new_thing", x=1),
        {"type": "keepalive", "sequence_number": 5},
        {"type": 5},
        {},
        "[]",
        "5",
        "null",
        '"text"',
        ServerSentEvent(b"x", "ping"),
        ServerSentEvent(b"{oops", BARE_JSON),
        ServerSentEvent(b'{"type": "response.completed"}', BARE_JSON),
        said("output_text.delta", delta="", error=None),
        said("output_item.added", item=None),
        said("output_item.done", item=[]),
        said("output_item.moved", item={"type": "message"}),
        said("created", response=None),
        said("created", response={"tools": "odd", "id": "", "model": True}),
    ],
)
def test_unknown_and_empty_events_are_passed_over(event):
    """Providers add events at any time."""
    reading = read(event, text("a"), END)

    assert reading.message.content == "a"
    assert (reading.message.response_id, reading.message.model) == ("r", "m")
    assert reading.error is None


@pytest.mark.parametrize(
    "event",
    [
        "{oops",
        ServerSentEvent(b"{oops", "response.output_text.delta"),
        ServerSentEvent(b"{oops", "response.created"),
        ServerSentEvent(b"{oops", WHOLE_BODY),
        "[" * 100_000,
        '{"type": "response.output_text.delta", "delta": "a", "x": ' + "9" * 5000 + "}",
    ],
)
def test_invalid_json_is_a_protocol_error(event):
    """Never a ValueError or a RecursionError."""
    if isinstance(event, str) and "9" * 5000 in event:
        try:
            int("9" * 5000)
        except ValueError:
            pass
        else:
            pytest.skip("this Python reads numbers of any length")
    with pytest.raises(StreamProtocolError):
        read(event)


def test_bytes_that_are_not_utf_8():
    """Become U+FFFD."""
    data = json.dumps(text("@")).encode().replace(b"@", b"a\xff")

    assert read(ServerSentEvent(data), END).message.content == "a\ufffd"


def test_long_delta_is_read():
    """By the other reader."""
    assert read(text("a"), text("b" * 5000), text("c"), END).message.content == f"a{'b' * 5000}c"
