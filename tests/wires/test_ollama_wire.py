"""One Reply, said on Ollama's wire, comes out as the Message that it is on the others."""

from __future__ import annotations

import json

import attrs
import pytest

from cloudllm_sync import (
    LLMSession,
    Message,
    OllamaClient,
    Role,
    ServerError,
    StreamInterrupted,
    TokenUsage,
    ToolCall,
    ToolDefinition,
)
from cloudllm_sync.testing import Cut, Reply

CALLS = (
    ToolCall("call_1", "weather", '{"city": "Köln", "days": [1, 2]}'),
    ToolCall("call_2", "weather", '{"city":"Paris","deep":{"a":null}}'),
    ToolCall("call_3", "now", ""),
)
TOOLS = [ToolDefinition("weather", "The weather", {"type": "object", "properties": {}})]
USAGE = TokenUsage(120, 40, 160)


def assistant(content="", **fields):
    return comparable(Message(Role.ASSISTANT, content, **fields))


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
    )


SCRIPTS = {
    "text": (
        Reply("Hello, wide world", usage=USAGE),
        assistant("Hello, wide world", finish_reason="stop", usage=USAGE),
    ),
    "nothing": (Reply("", usage=None), assistant(finish_reason="stop")),
    "characters": (
        Reply(["K\u00f6ln \u2028", "\u0085\x0b\f", '\U0001f600 \\ " \n\r\n'], usage=None),
        assistant('K\u00f6ln \u2028\u0085\x0b\f\U0001f600 \\ " \n\r\n', finish_reason="stop"),
    ),
    "halves of a character": (
        Reply(["a\ud83d", "\ude00b"], usage=None),
        assistant("a\U0001f600b", finish_reason="stop"),
    ),
    "everything": (
        Reply("I look.", reasoning="Hm.\n\nWell.", tool_calls=CALLS, usage=USAGE),
        assistant(
            "I look.",
            reasoning="Hm.\n\nWell.",
            tool_calls=CALLS,
            finish_reason="tool_calls",
            usage=USAGE,
        ),
    ),
    "length": (
        Reply("Once upon a", finish_reason="length", usage=None),
        assistant("Once upon a", finish_reason="length"),
    ),
    "unknown reason": (
        Reply("Hello", finish_reason="moon_phase", usage=None),
        assistant("Hello", finish_reason="unknown"),
    ),
}


@pytest.fixture
def speak(serve):
    """Makes a client that speaks Ollama's wire, to a server with that script."""
    made = []

    def start(*script):
        server = serve(*script)
        made.append(OllamaClient("m", base_url=server.url))
        return made[-1], server

    yield start
    for client in made:
        client.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_stream_gives_the_scripted_message(speak, read, name):
    """By the generator and by callbacks."""
    reply, expected = SCRIPTS[name]

    outcome = read(speak(reply)[0])

    assert outcome.error is None
    assert expected == comparable(outcome.message)


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_body_gives_the_scripted_message(speak, name):
    """The same as in a stream."""
    reply, expected = SCRIPTS[name]

    assert expected == comparable(speak(reply)[0].send_message("hi"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [None, 1, 7, 0])
@pytest.mark.parametrize("framing", ["chunked", "length", "close", "http1.0"])
def test_delivery_does_not_matter(speak, pull, framing, split, line_end):
    """Wherever the bytes are cut, whatever ends the lines, compressed or not."""
    reply, expected = SCRIPTS["everything"]
    delivered = attrs.evolve(
        reply, split=split, line_end=line_end, framing=framing, gzip=split == 7
    )

    assert expected == comparable(pull(speak(delivered)[0]).message)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
def test_label_does_not_matter(speak, pull, content_type):
    """Ollama's wire is lines, whatever a proxy says."""
    reply, expected = SCRIPTS["everything"]
    labelled = attrs.evolve(reply, headers={"Content-Type": content_type})

    assert expected == comparable(pull(speak(labelled)[0]).message)


def test_text_and_reasoning_come_in_the_scripted_deltas(speak, read):
    """One chunk for each."""
    chunks = read(speak(Reply(["He", "llo"], reasoning=["h", "m"]))[0]).chunks

    assert ["h", "m"] == [chunk.reasoning for chunk in chunks if chunk.reasoning]
    assert ["He", "llo"] == [chunk.content for chunk in chunks if chunk.content]


def test_error_in_the_stream_keeps_what_came(speak, read):
    """Its words are all that is known of it."""
    error = {"type": "overloaded_error", "message": "Overloaded"}

    failure = read(speak(Reply("a b", error=error))[0]).error

    assert ServerError is type(failure)
    assert "Overloaded" in str(failure)
    assert "a b" == failure.partial.content


def test_cut_before_the_last_line_is_an_interruption(speak, read):
    """Half a reply is no whole one."""
    failure = read(speak(Reply("a b c d e f g", after={7: Cut()}))[0]).error

    assert StreamInterrupted is type(failure)
    assert failure.partial.content.startswith("a")


def test_tool_loop_ends_with_the_answer(speak):
    """The calls' results go back by the names of their tools, in the order of the calls."""
    client, server = speak(Reply("I look.", reasoning="Hm.", tool_calls=CALLS), "Sunny.")
    session = LLMSession(client)

    reply = session.ask("How is the weather?", TOOLS)
    for number, call in enumerate(reversed(reply.tool_calls)):
        session.inject_message(Role.TOOL, f"result {number}", tool_call_id=call.id)
    answer = session.send_current_history(TOOLS)

    assert "Sunny." == answer.content
    *_, asked, first, second, third = server.requests[1].json["messages"]
    assert ("I look.", "Hm.", 3) == (
        asked["content"],
        asked["thinking"],
        len(asked["tool_calls"]),
    )
    assert [
        {"role": "tool", "content": "result 2", "tool_name": "weather"},
        {"role": "tool", "content": "result 1", "tool_name": "weather"},
        {"role": "tool", "content": "result 0", "tool_name": "now"},
    ] == [first, second, third]
