"""One Reply, said in four wire formats, comes out as one Message: only ids and words differ."""

from __future__ import annotations

import contextlib
import json

import attrs
import pytest

from cloudllm_sync import (
    BadRequestError,
    LLMSession,
    Message,
    OpenAICompatibleClient,
    Role,
    ServerError,
    StreamInterrupted,
    TokenUsage,
    ToolCall,
    ToolDefinition,
)
from cloudllm_sync.clients.claude import ClaudeClient
from cloudllm_sync.clients.gemini import GeminiClient
from cloudllm_sync.clients.responses import OpenAIResponsesClient
from cloudllm_sync.testing import Cut, Reply

CHAT, CLAUDE, GEMINI, RESPONSES = "chat", "claude", "gemini", "responses"
MAKE = {
    CHAT: lambda server: OpenAICompatibleClient("m", base_url=server.base_url),
    CLAUDE: lambda server: ClaudeClient("m", base_url=server.url, api_key="k"),
    GEMINI: lambda server: GeminiClient("m", base_url=server.url, api_key="k"),
    RESPONSES: lambda server: OpenAIResponsesClient("m", base_url=server.base_url, api_key="k"),
}
CALLS = (
    ToolCall("call_1", "weather", '{"city": "Köln", "days": [1, 2]}'),
    ToolCall("call_2", "weather", '{"city":"Paris","deep":{"a":null}}'),
    ToolCall("call_3", "now", ""),
)
USAGE = TokenUsage(120, 40, 160, 100, None, 25)
SOURCES = ("https://a.example/1", "https://b.example/2")
TOOLS = [ToolDefinition("weather", "The weather", {"type": "object", "properties": {}})]


def assistant(content="", *, calls=(), **fields):
    return comparable(Message(Role.ASSISTANT, content, tool_calls=calls, **fields))


def comparable(message):
    """The message without ids and the provider's words; arguments as what they say."""
    return attrs.evolve(
        message,
        tool_calls=[
            ToolCall("", call.name, json.dumps(call.parsed(), sort_keys=True))
            for call in message.tool_calls
        ],
        raw_finish_reason=None,
        model=None,
        response_id=None,
        provider_state=None,
    )


SCRIPTS = {
    "text": (
        Reply("Hello, wide world"),
        assistant(
            "Hello, wide world", finish_reason="stop", usage=TokenUsage(10, 3, 13, 0, None, 0)
        ),
    ),
    "only the three counts": (
        Reply("Hello", reasoning="Hm.", usage=TokenUsage(7, 5, 12)),
        assistant("Hello", reasoning="Hm.", finish_reason="stop", usage=TokenUsage(7, 5, 12)),
    ),
    "nothing": (
        Reply("", usage=None),
        assistant("", finish_reason="stop"),
    ),
    "characters": (
        Reply(["K\u00f6ln \u2028", "\u0085\x0b\f", '\U0001f600 \\ " \n\r\n'], usage=None),
        assistant('K\u00f6ln \u2028\u0085\x0b\f\U0001f600 \\ " \n\r\n', finish_reason="stop"),
    ),
    "halves of a character": (
        Reply(["a\ud83d", "\ude00b"], usage=None),
        assistant("a\U0001f600b", finish_reason="stop"),
    ),
    "reasoning": (
        Reply("Yes.", reasoning="Well, let me think.\n\nYes.", usage=USAGE),
        assistant(
            "Yes.", reasoning="Well, let me think.\n\nYes.", finish_reason="stop", usage=USAGE
        ),
    ),
    "parallel calls": (
        Reply(tool_calls=CALLS, usage=USAGE),
        assistant(calls=CALLS, finish_reason="tool_calls", usage=USAGE),
    ),
    "everything": (
        Reply("I look.", reasoning="Hm.", tool_calls=CALLS, citations=SOURCES, usage=USAGE),
        assistant(
            "I look.",
            reasoning="Hm.",
            calls=CALLS,
            citations=SOURCES,
            finish_reason="tool_calls",
            usage=USAGE,
        ),
    ),
    "length": (
        Reply("Once upon a", finish_reason="length", usage=None),
        assistant("Once upon a", finish_reason="length"),
    ),
    "filtered": (
        Reply("Once upon a", finish_reason="content_filter", usage=None),
        assistant("Once upon a", finish_reason="content_filter"),
    ),
    "refused": (
        Reply(refusal="I can not say that", finish_reason="content_filter", usage=USAGE),
        assistant(refusal="I can not say that", finish_reason="content_filter", usage=USAGE),
    ),
    "refused half-way": (
        Reply("First, ", refusal=["No", "."], finish_reason="content_filter", usage=None),
        assistant("First, ", refusal="No.", finish_reason="content_filter"),
    ),
    "unknown reason": (
        Reply("Hello", finish_reason="moon_phase", usage=None),
        assistant("Hello", finish_reason="unknown"),
    ),
}


@pytest.fixture(params=[CHAT, CLAUDE, GEMINI, RESPONSES])
def wire(request):
    """The name of a wire format."""
    return request.param


@pytest.fixture
def speak(serve, wire):
    """Makes a client that speaks the wire, to a server with that script; closed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*script):
            server = serve(*script)
            return stack.enter_context(MAKE[wire](server)), server

        yield start


@pytest.fixture
def ask(speak):
    """Makes a client that speaks the wire, to a server with that script."""
    return lambda *script: speak(*script)[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_stream_gives_the_scripted_message(ask, read, name):
    """By the generator and by callbacks."""
    reply, expected = SCRIPTS[name]

    outcome = read(ask(reply))

    assert outcome.error is None
    assert expected == comparable(outcome.message)


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_body_gives_the_scripted_message(ask, name):
    """The same as in a stream."""
    reply, expected = SCRIPTS[name]

    assert expected == comparable(ask(reply).send_message("hi"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [1, 7, 0])
def test_delivery_does_not_matter(ask, pull, split, line_end):
    """Wherever the bytes are cut, whatever ends the lines, compressed or not."""
    reply, expected = SCRIPTS["everything"]
    delivered = attrs.evolve(reply, split=split, line_end=line_end, gzip=split == 7)

    assert expected == comparable(pull(ask(delivered)).message)


def test_text_and_reasoning_come_in_the_scripted_deltas(ask, read):
    """One chunk for each."""
    chunks = read(ask(Reply(["He", "llo"], reasoning=["h", "m"]))).chunks

    assert ["h", "m"] == [chunk.reasoning for chunk in chunks if chunk.reasoning]
    assert ["He", "llo"] == [chunk.content for chunk in chunks if chunk.content]


def test_usage_is_the_one_that_the_script_knows(ask, read):
    """Counted or given; a test can compare with it."""
    reply = Reply("a b", reasoning="c", tool_calls=CALLS)

    assert reply.reported_usage == read(ask(reply)).message.usage


def test_error_in_the_stream_keeps_what_came(ask, read):
    """The same class and text on every wire."""
    error = {"type": "overloaded_error", "message": "Overloaded"}

    failure = read(ask(Reply("a b", error=error))).error

    assert ServerError is type(failure)
    assert "Overloaded" in str(failure)
    assert "a b" == failure.partial.content


def test_error_in_a_whole_body_is_raised(ask):
    """Though the status is 200."""
    error = {"type": "invalid_request_error", "message": "Never"}
    client = ask(Reply(error=error))

    with pytest.raises(BadRequestError, match="Never"):
        client.send_message("hi")


def test_cut_before_the_finish_reason_is_an_interruption(ask, read):
    """No wire takes half a reply for a whole one."""
    failure = read(ask(Reply("a b c d e f g", after={7: Cut()}))).error

    assert StreamInterrupted is type(failure)
    assert failure.partial.content.startswith("a")


# What each provider ends a refusal with, unless the script says otherwise.
REFUSED = {
    CHAT: ("stop", "stop"),
    CLAUDE: ("content_filter", "refusal"),
    GEMINI: ("content_filter", "SAFETY"),
    RESPONSES: ("stop", "completed"),
}


def test_refusal_is_the_same_text_and_ends_in_each_wires_own_way(ask, read, wire):
    """OpenAI's wires know no reason for it but `stop`, the others none but a filter."""
    message = read(ask(Reply(refusal="I can not"))).message

    assert ("", "I can not") == (message.content, message.refusal)
    assert REFUSED[wire] == (message.finish_reason, message.raw_finish_reason)


def test_whole_refusal_is_the_same_text(ask):
    """As in a stream."""
    message = ask(Reply(refusal="I can not")).send_message("hi")

    assert ("", "I can not") == (message.content, message.refusal)


def test_tool_loop_ends_with_the_answer(speak):
    """The calls' results go back, with what the wire wants beside them."""
    client, server = speak(Reply("I look.", reasoning="Hm.", tool_calls=CALLS), "Sunny.")
    session = LLMSession(client)

    reply = session.ask("How is the weather?", TOOLS)
    for number, call in enumerate(reply.tool_calls):
        session.inject_message(Role.TOOL, f"result {number}", tool_call_id=call.id)
    answer = session.send_current_history(TOOLS)

    assert "Sunny." == answer.content
    sent = server.requests[1].body
    places = [sent.index(b"result %d" % number) for number in range(3)]
    assert sorted(places) == places


def test_all_of_them_talk_to_one_server(serve):
    """The path tells them apart."""
    server = serve(default="Hello")
    texts = []
    for make in MAKE.values():
        with make(server) as client:
            texts.append(client.send_message("hi").content)

    assert ["Hello"] * 4 == texts
    assert [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1beta/models/m:generateContent",
        "/v1/responses",
    ] == [request.path for request in server.requests]
