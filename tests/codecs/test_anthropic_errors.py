"""Errors in streams of the Messages API, and what is no event of it."""

from __future__ import annotations

import pytest
from anthropic_reading import (
    STOP,
    Reading,
    begin,
    named,
    opened,
    reason,
    text,
)

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.errors import RateLimitError, ServerError, StreamProtocolError

OVERLOADED = {"details": None, "type": "overloaded_error", "message": "Overloaded"}


@pytest.mark.parametrize("before", [[], [begin(input_tokens=1, output_tokens=1)]])
def test_overloaded_error_before_any_text_leaves_no_chunk(before):
    """Without one the call may be sent again."""
    reading = Reading(*before, named("error", error=OVERLOADED, request_id="req_1"))

    assert reading.chunks == []
    assert isinstance(reading.decoder.error, ServerError)
    assert reading.decoder.error.retryable
    assert reading.decoder.ended


def test_overloaded_error_in_mid_stream_keeps_what_came():
    """The reply is not whole, and says what the provider said."""
    reading = Reading(
        begin(), opened(0), text(0, "a"), named("error", error=OVERLOADED), text(0, "b"), reason()
    )

    assert reading.message.content == "a"
    assert reading.message.finish_reason is None
    assert isinstance(reading.decoder.error, ServerError)
    assert reading.decoder.error.type == "overloaded_error"
    assert "Overloaded" in str(reading.decoder.error)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (ServerSentEvent(b'{"error":{"type":"api_error","message":"Oh"}}'), "Oh"),
        (ServerSentEvent(b'{"type":"error","error":"Oh"}'), "Oh"),
        (ServerSentEvent(b'{"type":"error","message":"Oh"}'), "Oh"),
        (ServerSentEvent(b'{"type":"error"}', "error"), '"type":"error"'),
        (ServerSentEvent(b'{"message":"Oh"}', "error"), "Oh"),
        (ServerSentEvent(b"{}", "error"), "{}"),
        (ServerSentEvent(b"upstream gone", "error"), "upstream gone"),
        (ServerSentEvent(b'["upstream gone"]', "error"), "upstream gone"),
        (ServerSentEvent(b'{"error":{"message":"Oh"}}', BARE_JSON), "Oh"),
        (ServerSentEvent(b'[{"error":{"message":"Oh"}}]', WHOLE_BODY), "Oh"),
        (ServerSentEvent(b'{"type":"error","error":{"message":"Oh"}}', WHOLE_BODY), "Oh"),
    ],
)
def test_errors_of_every_shape_are_errors(event, words):
    """HTTP 200 does not mean success."""
    reading = Reading(begin(), event)

    assert words in str(reading.decoder.error)
    assert reading.decoder.ended


def test_rate_limit_in_mid_stream_is_a_rate_limit():
    """The class is told by the type, as there is no status."""
    error = {"type": "rate_limit_error", "message": "Slow down"}
    reading = Reading(begin(), named("error", error=error))

    assert isinstance(reading.decoder.error, RateLimitError)


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(b""),
        ServerSentEvent(b"  "),
        ServerSentEvent(b"{}"),
        ServerSentEvent(b"[]"),
        ServerSentEvent(b"[1]"),
        ServerSentEvent(b"17"),
        ServerSentEvent(b"null"),
        ServerSentEvent(b'{"hello":1}', BARE_JSON),
        ServerSentEvent(b"{not json", BARE_JSON),
        named("ping"),
        named("invented", index=0),
        named("message_start"),
        named("message_start", message=[]),
        named("content_block_start"),
        named("content_block_start", index=9, content_block="x"),
        named("content_block_delta", index=0),
        named("content_block_delta", index=0, delta=[]),
        named("content_block_delta", index=0, delta={"type": ["x"]}),
        named("content_block_delta", index=0, delta={"type": True}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": None}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": 7}),
        named("content_block_stop"),
        named("message_delta"),
        named("message_delta", delta=None, usage=None),
        named("message_delta", delta={"stop_reason": None}),
    ],
)
def test_what_says_nothing_is_no_chunk(event):
    """Unknown, empty or odd events are ignored, and the reply goes on."""
    reading = Reading(begin(), opened(0), text(0, "a"), event, text(0, "b"), reason(), STOP)

    assert [chunk.content for chunk in reading.chunks] == ["a", "b", ""]
    assert reading.message.finish_reason == "stop"


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(b'{"type":"content_block_delta"', "content_block_delta"),
        ServerSentEvent(b"nonsense"),
        ServerSentEvent(b"{", WHOLE_BODY),
        ServerSentEvent(b"{}", WHOLE_BODY),
        ServerSentEvent(b"[]", WHOLE_BODY),
        ServerSentEvent(b'{"status":"ok"}', WHOLE_BODY),
        ServerSentEvent(b'{"content":"ok"}', WHOLE_BODY),
        ServerSentEvent(b'{"content":[]}', WHOLE_BODY),
    ],
)
def test_what_is_no_event_and_no_reply_is_a_protocol_error(event):
    """Not an empty reply."""
    with pytest.raises(StreamProtocolError):
        Reading(event)
