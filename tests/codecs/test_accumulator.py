"""Chunks to a message, at any moment."""

from __future__ import annotations

import pytest

from cloudllm_sync.codecs import ReplyFacts
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.values import Message, MessageChunk, Role, TokenUsage, ToolCall, ToolCallDelta


def gathered(*chunks):
    arrived = Accumulator()
    for chunk in chunks:
        arrived.add(chunk)
    return arrived


def test_nothing_makes_an_empty_message():
    """Asked before the first chunk."""
    arrived = gathered()

    assert arrived.message() == Message(Role.ASSISTANT, "")
    assert arrived.is_empty()


def test_texts_are_joined_with_nothing_between():
    """Each kind for itself."""
    message = gathered(
        MessageChunk("a", "r", "n"), MessageChunk(" b"), MessageChunk(reasoning="s", refusal="o")
    ).message()

    assert (message.content, message.reasoning, message.refusal) == ("a b", "rs", "no")


def test_calls_are_put_together_by_index_in_its_order():
    """The first id and name of each count; gaps do not matter."""
    deltas = [
        ToolCallDelta(5, "b", "g", ""),
        ToolCallDelta(2, None, "f", "{"),
        ToolCallDelta(2, "a", None, "}"),
        ToolCallDelta(5, "c", "h", "[]"),
        ToolCallDelta(7, None, None, ""),
    ]
    message = gathered(*(MessageChunk(tool_call_delta=delta) for delta in deltas)).message()

    assert message.tool_calls == (
        ToolCall("a", "f", "{}"),
        ToolCall("b", "g", "[]"),
        ToolCall("call_7", "", ""),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x", "x", "x"], ["x", "x_1", "x_2"]),
        (["x", "x_2", "x"], ["x", "x_2", "x_2_2"]),
        (["call_1", None], ["call_1", "call_1_1"]),
    ],
)
def test_calls_of_one_id_are_told_apart(given, expected):
    """Some servers count by name, or leave ids out: each result has to find its call."""
    deltas = [ToolCallDelta(index, name, "f", "") for index, name in enumerate(given)]
    message = gathered(*(MessageChunk(tool_call_delta=delta) for delta in deltas)).message()

    assert expected == [call.id for call in message.tool_calls]


def test_last_reason_and_usage_count():
    """Both may come more than once."""
    message = gathered(
        MessageChunk(finish_reason="stop", raw_finish_reason="eos", usage=TokenUsage(1, 1, 2)),
        MessageChunk("late"),
        MessageChunk(finish_reason="length", raw_finish_reason="max_tokens"),
        MessageChunk(usage=TokenUsage(2, 3, 5)),
    ).message()

    assert (message.finish_reason, message.raw_finish_reason) == ("length", "max_tokens")
    assert message.usage == TokenUsage(2, 3, 5)


def test_facts_complete_the_message():
    """What the reply says about itself, and a usage that no chunk has carried yet."""
    facts = ReplyFacts("m", "i", {"u1": None, "u2": None}, {"s": 1}, TokenUsage(1, 1, 2))
    message = gathered(MessageChunk("a")).message(facts)

    assert (message.model, message.response_id) == ("m", "i")
    assert message.citations == ("u1", "u2")
    assert message.provider_state == {"s": 1}
    assert message.usage == TokenUsage(1, 1, 2)


@pytest.mark.parametrize(
    ("chunk", "empty"),
    [
        (MessageChunk("a"), False),
        (MessageChunk(reasoning="a"), False),
        (MessageChunk(refusal="a"), False),
        (MessageChunk(tool_call_delta=ToolCallDelta(0, None, None, "")), False),
        (MessageChunk(), True),
        (MessageChunk(usage=TokenUsage(1, 1, 2)), True),
        (MessageChunk(finish_reason="stop"), True),
    ],
)
def test_empty_is_what_a_reader_would_see_nothing_of(chunk, empty):
    """Counts and reasons are no content."""
    assert empty == gathered(chunk).is_empty()
