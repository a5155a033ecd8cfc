"""Gemini's errors in mid-stream, whole bodies and arrays, and what is no part of a reply."""

from __future__ import annotations

import json
from typing import Optional

import attrs
import pytest

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, Decoder, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.errors import (
    AuthenticationError,
    CloudLLMError,
    RateLimitError,
    ServerError,
    StreamProtocolError,
)
from cloudllm_sync.values import Message, MessageChunk


@attrs.frozen
class Reading:
    """What a decoder made of its events."""

    chunks: list[MessageChunk]
    message: Message
    decoder: Decoder

    @property
    def error(self) -> Optional[CloudLLMError]:
        return self.decoder.error


def as_event(said) -> ServerSentEvent:
    if isinstance(said, ServerSentEvent):
        return said
    return ServerSentEvent(said if isinstance(said, bytes) else json.dumps(said).encode())


def read(*events) -> Reading:
    decoder = GeminiCodec("Gemini").decoder()
    chunks: list[MessageChunk] = []
    for event in events:
        chunks += decoder.feed(as_event(event))
        if decoder.ended:
            break
    chunks += decoder.finish()
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return Reading(chunks, arrived.message(decoder.facts), decoder)


def named(name, data):
    return ServerSentEvent(data if isinstance(data, bytes) else json.dumps(data).encode(), name)


def whole(body):
    return named(WHOLE_BODY, body)


def event(*parts, finish=None, usage=None, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r-1"}
    return body if usage is None else {**body, "usageMetadata": usage}


def text(said, **more):
    return event({"text": said}, **more)


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "said",
    [
        ERROR,
        [ERROR],
        named("error", ERROR),
        named("error", ERROR["error"]),
        named("error", b"The model is overloaded."),
        named("error", "The model is overloaded."),
        named(BARE_JSON, ERROR),
        {**text("b"), **ERROR},
    ],
)
def test_error_in_mid_stream_ends_it(said):
    """However it is wrapped."""
    reading = read(text("a"), said, text("c"))

    assert isinstance(reading.error, ServerError)
    assert reading.error.retryable
    assert "The model is overloaded." in str(reading.error)
    assert reading.decoder.ended
    assert reading.message.content in ("a", "ab")


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}, RateLimitError),
        ({"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"},
         AuthenticationError),
    ],
)  # fmt: skip
def test_error_with_status_200_is_an_error(wrap, error, kind):
    """The body alone tells."""
    reading = read(whole(wrap({"error": error})))

    assert type(reading.error) is kind
    assert reading.chunks == []


def test_whole_body_is_a_reply():
    """It needs no reason: it is whole by itself."""
    reading = read(whole(text("Hello")))

    assert reading.message.content == "Hello"
    assert reading.decoder.complete()
    assert reading.decoder.ended


def test_array_is_a_stream_in_one_body():
    """Without alt=sse the events come as an array."""
    reading = read(whole([text("He"), None, text("llo", finish="STOP")]))

    assert [chunk.content for chunk in reading.chunks] == ["He", "llo", ""]
    assert reading.decoder.complete()


def test_array_needs_a_reason_as_a_stream_does():
    """It may have been cut between two events."""
    assert not read(whole([text("He")])).decoder.complete()


def test_error_in_an_array_ends_it():
    """What follows an error is not read."""
    reading = read(whole([text("He"), ERROR, text("llo")]))

    assert reading.message.content == "He"
    assert isinstance(reading.error, ServerError)


def test_body_without_an_answer_is_no_whole_reply():
    """Gemini at times answers with nothing but counts: that can be asked again."""
    assert not read(whole({"usageMetadata": {"promptTokenCount": 1}})).decoder.complete()


@pytest.mark.parametrize("body", [{"hello": "world"}, {}, [], [1], 5, None, b"{", b"[1,"])
def test_body_that_is_no_reply_is_refused(body):
    """Some other server answered."""
    with pytest.raises(StreamProtocolError):
        read(whole(body))


def test_event_that_is_no_json_is_refused():
    """But only where JSON is due."""
    with pytest.raises(StreamProtocolError):
        read(b"{half")


@pytest.mark.parametrize(
    "said",
    [b"", b"  ", b"5", named("ping", b"{"), named(BARE_JSON, b"{"), named(BARE_JSON, text("x"))],
)
def test_noise_is_passed_over(said):
    """Empty data, numbers, heartbeats and stray lines of JSON."""
    assert read(text("a"), said, text("b", finish="STOP")).message.content == "ab"


def test_done_of_a_gateway_ends_the_stream():
    """It proves nothing without a reason."""
    reading = read(text("a"), b"[DONE]", text("b"))

    assert reading.message.content == "a"
    assert reading.decoder.ended
    assert not reading.decoder.complete()
