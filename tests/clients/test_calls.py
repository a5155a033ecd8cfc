"""Calls of a client: those that are never made, connections, closing, observers."""

from __future__ import annotations

import pytest

from cloudllm_sync import (
    BadRequestError,
    ChatOptions,
    ConfigurationError,
    Message,
    Role,
    ToolCall,
    ToolDefinition,
)
from cloudllm_sync.testing import error_reply

WEATHER = ToolDefinition("weather", "The weather", {"type": "object", "properties": {}})

CALLS = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c1", "weather", "{}"),))


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        ((None,), {}, "must be a string or a sequence of Message"),
        ((5,), {}, "must be a string or a sequence of Message"),
        ((Message(Role.USER, "hi"),), {}, "must be a string or a sequence of Message"),
        (([],), {}, "messages is empty"),
        ((["hi"],), {}, r"messages\[0\] must be a Message, not str"),
        (([{"role": "user", "content": "hi"}],), {}, r"messages\[0\] must be a Message, not dict"),
        (([Message(Role.TOOL, "r", tool_call_id="c1")],), {}, "c1"),
        (([Message(Role.USER, "hi"), Message(Role.TOOL, "r")],), {}, "without tool_call_id"),
        (([Message(Role.USER, "hi"), CALLS],), {}, "'c1'.*has no result"),
        (([CALLS, Message(Role.USER, "hi")],), {}, "'c1'.*has no result"),
        (([Message(Role.USER, "hi", tool_call_id="c1")],), {}, "tool_call_id"),
        (("hi", ["weather"]), {}, r"tools\[0\] must be a ToolDefinition"),
        (("hi", [WEATHER, WEATHER]), {}, "two tools are named 'weather'"),
        (("hi",), {"options": {"seed": 1}}, "options must be ChatOptions"),
        (("hi",), {"timeouts": 5}, "timeouts must be Timeouts"),
        (("hi",), {"options": ChatOptions(tool_choice="auto")}, "without tools"),
        (("hi", [WEATHER]), {"options": ChatOptions(tool_choice="no_such")}, "no tool's name"),
        (("hi",), {"options": ChatOptions(extra_body={"a": object()})}, "cannot be said in JSON"),
    ],
    ids=range(18),
)
def test_request_that_makes_no_sense_is_never_sent(make, serve, way, args, options, said, read):
    """Told by all three ways on the caller's own thread."""
    server = serve(default="Hello")
    client = make(server)
    errors = []
    if way == "callbacks":
        options = {**options, "on_error": errors.append}

    with pytest.raises(ConfigurationError, match=said):
        read(client, way, *args, **options)

    assert errors == []
    assert server.requests == ()
    assert server.connections == 0


def test_connection_is_used_again(make, serve, read):
    """Ten replies, one connection, whole or streamed."""
    server = serve(default="Hello")
    client = make(server)

    for way in ["whole", "stream"] * 5:
        read(client, way, "hi")

    assert server.connections == 1


@pytest.mark.parametrize("way_to_close", ["close", "with"])
def test_closed_client_is_not_used_again(make, serve, way, way_to_close, read):
    """Told so; idle connections are gone."""
    server = serve(default="Hello")
    client = make(server)
    if way_to_close == "with":
        with client as entered:
            assert entered is client
            read(client, way, "hi")
    else:
        read(client, way, "hi")
        client.close()

    with pytest.raises(ConfigurationError, match="client is closed"):
        read(client, way, "hi")

    assert server.wait_until_idle()
    assert len(server.requests) == 1
    client.close()


def test_running_stream_outlives_its_client(make, serve):
    """close() closes idle connections only."""
    client = make(serve("Hello there"))
    stream = client.send_message_stream("hi")

    client.close()

    assert stream.result().content == "Hello there"


class _Notes:
    """An observer that writes down what it is told."""

    def __init__(self):
        self.notes = []

    def on_start(self, call):
        self.notes.append(("start", call.provider_name, call.model_name, call.streamed))

    def on_retry(self, call, error, delay_s):
        self.notes.append(("retry", error.status_code, delay_s))

    def on_first_chunk(self, call):
        self.notes.append(("first chunk",))

    def on_finish(self, call, message):
        self.notes.append(("finish", message.content))

    def on_error(self, call, error):
        self.notes.append(("error", type(error).__name__))


def test_observers_are_told_of_every_call(make, serve, way, read):
    """Start, retries, first content, end; and of failures."""
    notes = _Notes()
    server = serve(
        error_reply(503, "busy", headers={"retry-after-ms": "1"}), "Hello", error_reply(400, "no")
    )
    client = make(server, observers=[notes], max_retries=1)

    read(client, way, "hi")
    with pytest.raises(BadRequestError):
        read(client, way, "hi")

    start = ("start", "OpenAI", "gpt-5", way != "whole")
    assert notes.notes == [
        start,
        ("retry", 503, 0.001),
        ("first chunk",),
        ("finish", "Hello"),
        start,
        ("error", "BadRequestError"),
    ]


def test_observer_that_raises_is_logged_and_harms_nobody(make, serve, caplog, way, read):
    """It is foreign code."""

    class Broken(_Notes):
        def on_start(self, call):
            raise KeyError("mine")

    notes = Broken()

    reply = read(make(serve("Hello"), observers=[notes]), way, "hi")

    assert reply.content == "Hello"
    assert notes.notes[-1] == ("finish", "Hello")
    assert "Broken" in caplog.text
