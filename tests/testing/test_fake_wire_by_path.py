"""The path of a request chooses the wire format of its answer."""

from __future__ import annotations

import json

import pytest
from bare_http import connected, post

from cloudllm_sync.testing import (
    FakeServer,
    Reply,
    anthropic_body,
    anthropic_events,
    gemini_body,
    gemini_events,
    openai_body,
    openai_events,
    responses_body,
    responses_events,
)
from cloudllm_sync.values import ToolCall

REPLY = Reply("Hello there", reasoning="hm", model="m")
EVENT_STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("path", "events"),
    [
        ("/v1/messages", anthropic_events(REPLY)),
        ("/v1/messages?beta=true", anthropic_events(REPLY)),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", gemini_events(REPLY)),
        ("/v1/publishers/google/models/m:streamGenerateContent?alt=sse", gemini_events(REPLY)),
        ("/v1/responses", responses_events(REPLY)),
        ("/responses", responses_events(REPLY)),
        ("/v1/chat/completions", openai_events(REPLY, include_usage=False)),
        ("/anything/else", openai_events(REPLY, include_usage=False)),
    ],
)
def test_streams(path, events):
    """Each path gets the events of its wire."""
    with FakeServer(REPLY) as server, connected(server) as connection:
        response, body = post(connection, {"stream": True}, path)

    assert body == b"".join(events)
    assert response.headers["content-type"].partition(";")[0] == EVENT_STREAM


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", anthropic_body(REPLY)),
        ("/v1beta/models/m:generateContent", gemini_body(REPLY)),
        ("/v1/responses", responses_body(REPLY)),
        ("/v1/chat/completions", openai_body(REPLY)),
    ],
)
def test_whole_bodies(path, expected):
    """A request that asks for no stream gets one JSON body."""
    with FakeServer(REPLY) as server, connected(server) as connection:
        response, body = post(connection, {}, path)

    assert body == expected
    assert response.headers["content-type"] == "application/json"


def test_gemini_stream_that_is_not_asked_for_as_sse_is_an_array():
    """As at Google: who forgets alt=sse gets one JSON document in pieces."""
    path = "/v1beta/models/m:streamGenerateContent"
    with FakeServer(REPLY) as server, connected(server) as connection:
        response, body = post(connection, {}, path)

    assert response.headers["content-type"].startswith("application/json")
    assert json.loads(body) == [json.loads(event[6:]) for event in gemini_events(REPLY)]


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("/v1/messages", {"model": "a/b"}, "model"),
        ("/v1/responses", {"model": "a/b"}, "model"),
        ("/v1beta/models/a%2Fb:generateContent", {}, "modelVersion"),
    ],
)
def test_reply_is_from_the_model_that_was_asked(path, fields, field):
    """Gemini's is named in the path."""
    with FakeServer("hi") as server, connected(server) as connection:
        _, body = post(connection, fields, path)

    assert json.loads(body)[field] == "a/b"


def test_what_a_wire_cannot_say_is_answered_with_status_500():
    """The message names the call."""
    cut = Reply(tool_calls=(ToolCall("c", "find", '{"ci'),))
    with FakeServer(cut) as server, connected(server) as connection:
        response, body = post(connection, {}, "/v1beta/models/m:generateContent")

    assert response.status == 500
    assert "'find'" in json.loads(body)["error"]["message"]
