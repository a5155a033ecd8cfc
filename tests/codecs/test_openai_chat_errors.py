"""What goes wrong in a Chat Completions reply: JSON that is none, errors of every shape."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.codecs import BARE_JSON, WHOLE_BODY, ServerSentEvent
from cloudllm_sync.errors import (
    AuthenticationError,
    BadRequestError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StreamProtocolError,
)


def choice(delta=None, finish_reason=None, index=0, **more):
    return {"index": index, "delta": delta, "finish_reason": finish_reason, **more}


def text(said, **more):
    return {"choices": [choice({"content": said})], **more}


DONE = "[DONE]"


def named(name, data):
    return ServerSentEvent(data if isinstance(data, bytes) else json.dumps(data).encode(), name)


@pytest.mark.parametrize("name", ["message", WHOLE_BODY])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "Expecting"),
        (b"not json", "Expecting"),
        (b'{"choices": [}', "Expecting"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b'{"choices":[{"delta":{"content":"a"}}],"x":' + b"7" * 10_000 + b"}", "limit"),
    ],
)
def test_invalid_json_is_a_protocol_error(name, data, why, read_events):
    """No RecursionError and no ValueError; the message tells the size, not the text."""
    with pytest.raises(StreamProtocolError, match=f"Acme sent an? .* of {len(data)} bytes") as info:
        read_events(text("a"), ServerSentEvent(data, name))

    assert why in str(info.value)


@pytest.mark.parametrize("depth", [300, 900, 975, 985, 990, 995, 1900])
@pytest.mark.parametrize("name", ["message", "error", BARE_JSON])
@pytest.mark.parametrize(
    "frame",
    [
        '{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":%s}}]}}]}',
        '{"choices":[{"delta":{"content":%s,"reasoning_details":%s,"annotations":%s}}]}',
        '{"error":{"a":%s}}',
        '{"error":%s}',
        "%s",
    ],
)
def test_no_depth_is_a_recursion_error(frame, name, depth, read_events):
    """What can be parsed can be read, or is refused as too deep."""
    event = ServerSentEvent(frame.replace("%s", "[" * depth + "]" * depth).encode(), name)
    refusal = None
    try:
        read_events(event)
    except StreamProtocolError as error:
        refusal = str(error)

    assert refusal is None or "nested too deep" in refusal


def test_deep_thinking_parts_are_passed_over(read_deltas):
    """Only parts one level down are text."""
    content = "deep"
    for _ in range(200):
        content = [{"thinking": content}]

    assert read_deltas({"content": content}).chunks == []


def test_nan_does_not_spoil_an_event(read_events):
    """Python servers write it in fields that nobody reads."""
    event = b'{"choices":[{"delta":{"content":"a"},"logprobs":NaN}],"usage":{"prompt_tokens":NaN}}'
    reading = read_events(event)

    assert reading.message.content == "a"
    assert reading.message.usage is None


ERRORS = {
    "an object": ({"error": {"message": "boom"}}, ServerError, None),
    "a string": ({"error": "boom"}, ServerError, None),
    "a string with a code": (
        {"code": "invalid-argument", "error": "boom"},
        BadRequestError,
        "invalid-argument",
    ),
    "true beside a message": ({"error": True, "message": "boom"}, ServerError, None),
    "a list": ({"error": ["boom"]}, ServerError, None),
    "in an array of one": ([{"error": {"message": "boom"}}], ServerError, None),
    "beside choices": (
        {"error": {"code": 502, "message": "boom"}, "choices": [choice({"content": ""}, "error")]},
        ServerError,
        "502",
    ),
    "object error": (
        {"object": "error", "message": "boom", "type": "BadRequestError", "code": 400},
        BadRequestError,
        "400",
    ),
    "type error": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}},
        ServerError,
        None,
    ),
    "type error, flat": ({"type": "error", "message": "boom"}, ServerError, None),
    "rate limit": (
        {"error": {"message": "boom", "type": "rate_limit_error"}},
        RateLimitError,
        None,
    ),
    "quota": (
        {"error": {"message": "boom", "code": "insufficient_quota"}},
        QuotaExceededError,
        "insufficient_quota",
    ),
    "wrong key": (
        {"error": {"message": "boom", "code": "invalid_api_key"}},
        AuthenticationError,
        "invalid_api_key",
    ),
    "with a status": (
        {"error": {"message": "boom", "status_code": 401}},
        AuthenticationError,
        None,
    ),
    "detail": ({"error": {"detail": "boom"}}, ServerError, None),
    "no message": ({"error": {"reason": "boom"}}, ServerError, None),
    "long": ({"error": {"message": "boom" + "!" * 5000}}, ServerError, None),
}


@pytest.mark.parametrize("before", [[], [text("a")]], ids=["first", "later"])
@pytest.mark.parametrize("name", ["message", "error", BARE_JSON])
@pytest.mark.parametrize(("body", "expected", "code"), ERRORS.values(), ids=ERRORS)
def test_error_in_the_stream_ends_it(body, expected, code, name, before, read_events):
    """Whatever its shape and place, it is of its class and says what the provider said."""
    reading = read_events(*before, named(name, body), text("never read"))

    assert expected is type(reading.error)
    assert "Acme reported an error: " in str(reading.error)
    assert "boom" in str(reading.error)
    assert code == reading.error.code
    assert reading.decoder.ended
    assert reading.message.content == "a" * len(before)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"upstream went away", "upstream went away"),
        (b'"upstream went away"', "upstream went away"),
        (b'{"message":"upstream went away"}', "upstream went away"),
        (b'{"detail":"upstream went away"}', "upstream went away"),
        (b'[{"error":{"message":"upstream went away"}}]', "upstream went away"),
        (b'["upstream went away"]', "upstream went away"),
        (b'{"error":null}', "error"),
        (b"null", "null"),
        (b"{}", "{}"),
        (b"5", "5"),
    ],
)
def test_event_named_error_is_always_an_error(data, said, read_events):
    """Text, or any JSON."""
    reading = read_events(text("a"), ServerSentEvent(data, "error"))

    assert type(reading.error) is ServerError
    assert said in str(reading.error)


def test_finish_reason_error_is_an_error(read_events):
    """A reason that is no proof of a whole reply."""
    reading = read_events(text("a"), {"choices": [choice({}, "error")]}, DONE)

    assert type(reading.error) is ServerError
    assert reading.message.finish_reason == "error"


def test_error_after_finish_reason_error_tells_why(read_events):
    """What the provider says wins over what is guessed."""
    failed = {"choices": [choice({}, "error")]}
    reading = read_events(text("a"), failed, {"error": {"message": "boom", "code": 401}})

    assert type(reading.error) is AuthenticationError
    assert "boom" in str(reading.error)


def test_error_body_is_bounded(read_events):
    """64 KiB, as for refusals."""
    reading = read_events({"error": {"message": "m", "raw": "x" * 100_000}})

    assert len(reading.error.body) == 64 * 1024


@pytest.mark.parametrize("body", [{}, [], {"status": "ok"}, {"choices": []}, 5, "hello", None])
def test_json_that_is_no_reply_is_a_protocol_error(body, read_whole):
    """An address of something else answers with JSON, too."""
    with pytest.raises(StreamProtocolError, match="neither a reply nor an error: check base_url"):
        read_whole(body)


@pytest.mark.parametrize("body", [{"error": "boom"}, [{"error": {"message": "boom"}}]])
def test_error_in_a_whole_reply_is_an_error(body, read_whole):
    """Status 200 does not mean success."""
    assert "boom" in str(read_whole(body).error)
