"""Conversations that cannot be sent, found before any I/O."""

from __future__ import annotations

import pytest

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.codecs.conversation import as_messages, as_tools, check_order
from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.values import Message, Role, ToolCall, ToolDefinition

SYSTEM = Message(Role.SYSTEM, "s")
USER = Message(Role.USER, "u")
REPLY = Message(Role.ASSISTANT, "a")
ASKS = Message(Role.ASSISTANT, "", tool_calls=[ToolCall("x", "f", ""), ToolCall("y", "g", "")])
X = Message(Role.TOOL, "1", tool_call_id="x")
Y = Message(Role.TOOL, "2", tool_call_id="y")
FILE = Attachment.from_url("https://e.com/a.png")


def test_string_is_one_user_message():
    """The short form of a question."""
    assert as_messages("hi") == (Message(Role.USER, "hi"),)


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [SYSTEM, USER, REPLY, USER],
        [USER, ASKS, X, Y],
        [USER, ASKS, Y, X, REPLY, USER],
        [USER, ASKS, X, Y, ASKS, X, Y],
        [REPLY],
        [USER, USER, SYSTEM],
        [Message(Role.USER, "", attachments=[FILE])],
    ],
)
def test_conversation_in_order_passes(messages):
    """Any sequence, also one that can be read only once."""
    assert as_messages(iter(messages)) == tuple(messages)


BROKEN = {
    "empty": ([], "messages is empty: send at least one"),
    "result first": (
        [X],
        "before it does not make: put it right after that message",
    ),
    "result without an id": (
        [USER, ASKS, Message(Role.TOOL, "1")],
        "messages[2] is a tool result without tool_call_id: say which call",
    ),
    "result twice": ([USER, ASKS, X, X], "messages[3] is the result of 'x', a call that"),
    "result of another": (
        [USER, ASKS, Message(Role.TOOL, "1", tool_call_id="z")],
        "messages[2] is the result of 'z', a call that",
    ),
    "result after a user": ([USER, ASKS, X, Y, USER, X], "messages[5] is the result of 'x'"),
    "call without a result": (
        [USER, ASKS, X, USER],
        ("the tool call 'y' (g) has no result before messages[3]: add a Message(Role.TOOL, "),
    ),
    "call at the end": (
        [USER, ASKS],
        "the tool call 'x' (f) has no result before the conversation's end: add a",
    ),
    "two calls of one id": (
        [USER, Message(Role.ASSISTANT, "", tool_calls=[*ASKS.tool_calls, ToolCall("x", "h", "")])],
        "messages[1] has two tool calls of the id 'x': results could not be told apart",
    ),
    "call of a user": (
        [Message(Role.USER, "", tool_calls=ASKS.tool_calls)],
        "messages[0] has tool calls, which only an ASSISTANT can make",
    ),
    "id on a user": (
        [Message(Role.USER, "", tool_call_id="x")],
        "messages[0] has a tool_call_id: its role must be Role.TOOL",
    ),
    "attachment of an assistant": (
        [USER, Message(Role.ASSISTANT, "", attachments=[FILE])],
        "messages[1] has attachments, which only a USER can send",
    ),
}


@pytest.mark.parametrize(("messages", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_order_is_told_with_what_to_do(messages, expected):
    """The message and the call are named."""
    with pytest.raises(ConfigurationError) as info:
        check_order(messages)

    assert expected in str(info.value)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (USER, "messages must be a string or a sequence of Message, not Message"),
        (5, "messages must be a string or a sequence of Message, not int"),
        (None, "messages must be a string or a sequence of Message, not NoneType"),
        ([USER, "hi"], "messages[1] must be a Message, not str: write Message(Role.USER, text)"),
        ([{"role": "user"}], "messages[0] must be a Message, not dict: write"),
        (b"hi", "messages[0] must be a Message, not int: write"),
        ([], "messages is empty"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, expected):
    """A slip is named by its place and type."""
    with pytest.raises(ConfigurationError) as info:
        as_messages(messages)

    assert expected in str(info.value)


F = ToolDefinition("f", "d", {})


@pytest.mark.parametrize(("tools", "expected"), [(None, ()), ([], ()), ([F], (F,)), ((F,), (F,))])
def test_tools_become_a_tuple(tools, expected):
    """None is none."""
    assert expected == as_tools(tools)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (F, "tools must be a sequence of ToolDefinition, not ToolDefinition"),
        ("f", "tools must be a sequence of ToolDefinition, not str"),
        (5, "tools must be a sequence of ToolDefinition, not int"),
        ([F, {"name": "g"}], "tools[1] must be a ToolDefinition, not dict"),
        ([F, ToolDefinition("f", "", {})], "two tools are named 'f': rename one"),
    ],
)
def test_what_are_no_tools_is_refused(tools, expected):
    """Before a provider answers with something harder to read."""
    with pytest.raises(ConfigurationError) as info:
        as_tools(tools)

    assert expected in str(info.value)
