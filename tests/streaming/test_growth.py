"""A handle's reply, followed by threads that did not begin it."""

from __future__ import annotations

import threading

import pytest

from cloudllm_sync import Message, MessageChunk, Role, ServerError, StreamCancelled, ToolCall
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.streaming.growth import Growth, grown
from cloudllm_sync.testing import Raw, Reply, Stall, WaitFor, openai_events
from cloudllm_sync.values import TokenUsage, ToolCallDelta

EVENTS = openai_events(Reply("one two three", usage=None))
NOTHING = Accumulator().message()

STATES = [
    {"content": "Hel"},
    {"content": "Hello", "reasoning": "Hm"},
    {"content": "Hello", "reasoning": "Hm", "refusal": "No"},
    {"content": "Hello", "reasoning": "Hm", "tool_calls": (ToolCall("1", "f", ""),)},
    {
        "content": "Hello",
        "reasoning": "Hm",
        "tool_calls": (ToolCall("1", "f", '{"a": 1}'), ToolCall("2", "g", "{}")),
        "finish_reason": "tool_calls",
        "raw_finish_reason": "tool_use",
        "usage": TokenUsage(1, 2, 3),
    },
]


def message(content="", **fields):
    return Message(Role.ASSISTANT, content, **fields)


@pytest.mark.parametrize("skipped", [(), (0,), (1, 2), (0, 1, 2, 3)])
def test_chunks_of_growth_make_up_the_reply(skipped):
    """However many states were seen on the way; each piece once."""
    states = [message(**state) for at, state in enumerate(STATES) if at not in skipped]
    collected = Accumulator()
    for before, after in zip([NOTHING, *states], states):
        for chunk in grown(before, after):
            collected.add(chunk)
    last = message(**STATES[-1])
    refused = "" if 2 in skipped else "No"

    assert collected.message() == message(**{**STATES[-1], "refusal": refused})
    assert list(grown(last, last)) == []


def test_calls_grow_by_their_arguments():
    """Id and name come once."""
    before = message(tool_calls=(ToolCall("1", "f", '{"a"'),))
    after = message(tool_calls=(ToolCall("1", "f", '{"a": 1}'),))
    delta = ToolCallDelta(0, None, None, ": 1}")

    assert list(grown(before, after)) == [MessageChunk(tool_call_delta=delta)]


def test_late_follower_misses_nothing(serve, make_client):
    """What had come is its first chunk; what comes follows, with the end."""
    gate, first = threading.Event(), threading.Event()
    server = serve(Raw(*EVENTS[:2], WaitFor(gate), *EVENTS[2:]))
    handle = make_client(server).start_message_stream("hi", on_chunk=lambda chunk: first.set())
    assert first.wait(5)
    followed = Growth(handle)
    chunks = iter(followed)
    seen = [next(chunks)]
    gate.set()
    seen += chunks

    assert seen[0] == MessageChunk("one")
    assert "".join(chunk.content for chunk in seen) == "one two three"
    assert seen[-1].finish_reason == "stop"
    assert followed.result() is handle.result()
    assert followed.partial is handle.partial


def test_reply_that_is_over_is_followed_from_its_beginning(serve, make_client):
    """At once, and as often as one likes."""
    handle = make_client(serve("one two")).start_message_stream("hi")
    handle.result(5)
    texts = ["".join(chunk.content for chunk in Growth(handle)) for _ in range(2)]

    assert texts == ["one two", "one two"]


def test_failure_ends_the_chunks_and_is_the_result(serve, make_client):
    """What had come was handed on."""
    error = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
    handle = make_client(serve(Raw(*EVENTS[:2], error))).start_message_stream("hi")
    followed = Growth(handle)
    text = "".join(chunk.content for chunk in followed)

    with pytest.raises(ServerError):
        followed.result()
    assert text == "one"


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_follower_may_end_the_reply(serve, make_client, end):
    """For all who follow it."""
    handle = make_client(serve(Raw(*EVENTS[:2], Stall()))).start_message_stream("hi")
    followed = Growth(handle)
    chunks = iter(followed)
    next(chunks)
    getattr(followed, end)()

    assert list(chunks) == []
    assert isinstance(handle.exception(5), StreamCancelled)
