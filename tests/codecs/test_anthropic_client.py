"""ClaudeClient over a real socket: its headers, its path, its errors in mid-stream."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync import (
    ConfigurationError,
    Message,
    Role,
    ServerError,
    StreamInterrupted,
    ToolDefinition,
)
from cloudllm_sync.clients.claude import ClaudeClient, Model
from cloudllm_sync.testing import FakeServer, Raw

KEY = "sk-ant-0123456789"
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}


def stream(*events):
    return Raw(
        *(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    )


START = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def opened(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, **fields):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def text(said):
    return delta(0, "text_delta", text=said)


def reason(word):
    return {
        "type": "message_delta",
        "delta": {"stop_reason": word},
        "usage": {"output_tokens": 2},
    }


HELLO = (START, opened(0, type="text", text=""), text("Hel"), text("lo"), reason("end_turn"), STOP)


@pytest.fixture
def server():
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server):
    with ClaudeClient(Model.CLAUDE_SONNET_5, api_key=KEY, base_url=server.url) as client:
        yield client


def test_request_has_the_key_and_the_version(server, client):
    """In headers of this provider's own."""
    server.add(stream(*HELLO))
    reply = client.send_message_stream("hi").result()
    (request,) = server.requests

    assert reply.content == "Hello"
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert request.json["model"] == "claude-sonnet-5"


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/messages", "/v1/messages/"])
@pytest.mark.parametrize("start", ["", "/anthropic"])
def test_base_url_is_taken_with_and_without_its_path(start, end, server):
    """Documentation and other tools give all of these."""
    server.add(stream(*HELLO))
    with ClaudeClient("m", api_key=KEY, base_url=server.url + start + end) as client:
        client.send_message("hi")

    assert [f"{start}/v1/messages"] == [request.path for request in server.requests]


def test_host_is_no_part_of_the_path():
    """It may be named as the path begins."""
    with ClaudeClient("m", api_key=KEY, base_url="https://v1") as client:
        assert "https://v1" == client._transport.endpoint.base_url


@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "CLAUDE_API_KEY"])
def test_key_is_read_from_the_environment(variable, server, monkeypatch):
    """Either name will do."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("CLAUDE_API_KEY", raising=False)
    monkeypatch.setenv(variable, KEY)
    server.add(stream(*HELLO))
    with ClaudeClient("m", base_url=server.url) as client:
        client.send_message_stream("hi").result()

    assert server.requests[0].headers["x-api-key"] == KEY


def test_missing_key_names_its_variables(monkeypatch):
    """Before any I/O."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("CLAUDE_API_KEY", raising=False)

    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY or CLAUDE_API_KEY"):
        ClaudeClient("m")


def test_overload_before_any_text_is_tried_again(server, client, no_backoff):
    """The caller does not notice."""
    server.add(stream(START, OVERLOADED), stream(*HELLO))

    assert client.send_message_stream("hi").result().content == "Hello"
    assert len(server.requests) == 2


def test_overload_in_mid_stream_keeps_the_partial_text(server, client):
    """It is not tried again: text has been handed on."""
    server.add(stream(*HELLO[:3], OVERLOADED))
    reply = client.send_message_stream("hi")

    with pytest.raises(ServerError, match="Overloaded") as caught:
        reply.result()
    assert caught.value.partial.content == "Hel"
    assert len(server.requests) == 1


def test_cut_stream_is_interrupted(server, client):
    """Neither reason nor end mark: no proof."""
    server.add(stream(*HELLO[:4]))

    with pytest.raises(StreamInterrupted) as caught:
        client.send_message_stream("hi").result()
    assert caught.value.partial.content == "Hello"


def test_thinking_survives_a_tool_loop(server, client):
    """The reply that the client gives can be sent back as it is."""
    server.add(
        stream(
            START,
            opened(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="h"),
            delta(0, "thinking_delta", thinking="m"),
            delta(0, "signature_delta", signature="sig"),
            opened(1, type="tool_use", id="toolu_1", name="now", input={}),
            delta(1, "input_json_delta", partial_json='{"zone":"UTC"}'),
            reason("tool_use"),
            STOP,
        ),
        stream(*HELLO),
    )
    tools = [ToolDefinition("now", "", {})]
    asked = [Message(Role.USER, "What time is it?")]
    reply = client.send_message_stream(asked, tools).result()
    client.send_message_stream(
        [*asked, reply, Message(Role.TOOL, "noon", tool_call_id="toolu_1")], tools
    ).result()

    assert server.requests[1].json["messages"][1] == {
        "role": "assistant",
        "content": [
            THOUGHT,
            {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {"zone": "UTC"}},
        ],
    }
