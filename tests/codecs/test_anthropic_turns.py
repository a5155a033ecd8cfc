"""Conversations as the Messages API gets them: turns, calls, earlier replies."""

from __future__ import annotations

import attrs
import pytest
from anthropic_request import (
    BLOCKS,
    CALLS,
    THOUGHT,
    encoded,
    result,
    said,
    system,
    turns,
    user,
    wire,
)

from cloudllm_sync.errors import (
    ConfigurationError,
)
from cloudllm_sync.values import ToolCall


def test_system_messages_are_hoisted():
    """The system prompt is no message here; one is a string, several are blocks."""
    one = encoded(system("Be brief"), user("hi"))
    two = encoded(system("Be brief"), system(" "), user("hi"), said("yo"), system("B"), user("x"))

    assert one["system"] == "Be brief"
    assert [block["text"] for block in two["system"]] == ["Be brief", "B"]
    assert [turn["role"] for turn in two["messages"]] == ["user", "assistant", "user"]
    assert "system" not in encoded(system(""), user("hi"))


def test_messages_of_one_side_are_one_turn():
    """Results of parallel calls and the text after them are one user's message."""
    got = turns(
        user("one"), user("two"), said("Let me look", *CALLS), result("a", "sun"),
        result("b", ""), user("and?"), said("It is"), said("sunny"), user("thanks"),
    )  # fmt: skip

    assert got == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": BLOCKS[1:]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "sun"},
                {"type": "tool_result", "tool_use_id": "b", "content": ""},
                {"type": "text", "text": "and?"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "It is"}, {"type": "text", "text": "sunny"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "thanks"}]},
    ]


def test_reply_without_text_leaves_no_block():
    """A thought that was cut says nothing that could be sent."""
    got = turns(user("one"), said("", reasoning="hm"), user("two"))

    assert [block["text"] for turn in got for block in turn["content"]] == ["one", "two"]


def test_refusal_is_what_the_assistant_said():
    """Other wires have it apart."""
    got = turns(user("one"), said("", refusal="I won't"), user("two"))

    assert got[1]["content"] == [{"type": "text", "text": "I won't"}]


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_user_message_is_refused(text):
    """By its position in what the caller gave."""
    with pytest.raises(ConfigurationError, match=r"messages\[1\]"):
        wire(system("s"), user(text))


def test_first_message_has_to_be_the_users():
    """System prompts aside."""
    with pytest.raises(ConfigurationError, match=r"messages\[1\]"):
        wire(system("s"), said("hello"), user("hi"))


def test_system_prompt_alone_is_refused():
    """There is nothing to answer."""
    with pytest.raises(ConfigurationError, match="system prompt only"):
        wire(system("s"))


@pytest.mark.parametrize("arguments", ['{"city":"K', "[1]", "null"])
def test_call_that_is_no_object_is_refused(arguments):
    """As after a length cut: the wire wants the parsed input."""
    with pytest.raises(ConfigurationError, match=r"messages\[1\].*token limit"):
        wire(user("hi"), said("", ToolCall("a", "weather", arguments)), result("a", "x"))


def test_reply_blocks_go_back_unchanged_in_a_tool_loop():
    """Thinking and its signature must survive, in their order."""
    reply = said("Let me look", *CALLS, provider_state={"anthropic_blocks": BLOCKS})
    got = turns(user("hi"), reply, result("a", "x"), result("b", "y"))

    assert got[1]["content"] == BLOCKS


def test_reply_blocks_go_back_after_a_pause():
    """The server goes on from them."""
    blocks = [THOUGHT, {"type": "text", "text": "so far"}]
    reply = said("so far", finish_reason="pause", provider_state={"anthropic_blocks": blocks})

    assert turns(user("hi"), reply)[1]["content"] == blocks


@pytest.mark.parametrize(
    "reply",
    [
        said("x", finish_reason="stop", provider_state={"anthropic_blocks": BLOCKS}),
        said("x", finish_reason="pause", provider_state={"reasoning_details": []}),
        said("x", finish_reason="pause", provider_state={"anthropic_blocks": BLOCKS}),
        said("x", finish_reason="pause"),
    ],
)
def test_reply_blocks_stay_at_home_elsewhere(reply):
    """Finished replies need no thinking; blocks with other calls than the message are stale."""
    assert turns(user("hi"), reply)[1]["content"] == [{"type": "text", "text": "x"}]


@pytest.mark.parametrize("call_id", [None, 7, ["a"]])
def test_reply_blocks_whose_call_has_no_name_for_it_stay_at_home(call_id):
    """Read from a store that somebody else wrote: an id that is no text cannot be answered."""
    blocks = [THOUGHT, {"type": "tool_use", "id": call_id, "name": "weather", "input": {}}]
    reply = said("x", finish_reason="pause", provider_state={"anthropic_blocks": blocks})

    assert turns(user("hi"), reply)[1]["content"] == [{"type": "text", "text": "x"}]


def test_cut_call_is_refused_with_reply_blocks_too():
    """The blocks have no more of the arguments than the message."""
    call = ToolCall("a", "weather", '{"city":')
    reply = said("", call, provider_state={"anthropic_blocks": BLOCKS[:3]})

    with pytest.raises(ConfigurationError, match="token limit"):
        wire(user("hi"), reply, result("a", "x"))


def test_lone_surrogates_do_not_crash():
    """No UTF-8 can say them."""
    reply = said("", ToolCall("a", "weather", '{"c":"\\ud83c"}'))
    body = encoded(system("\ud83c"), user("a\udf27"), reply, result("a", "\ud83c"))

    assert body["system"] == "\ufffd"
    assert body["messages"][0]["content"][0]["text"] == "a\ufffd"


def ids_sent(*messages):
    """The ids of all calls and of all results."""
    blocks = [block for turn in turns(*messages) for block in turn["content"]]
    return (
        [block["id"] for block in blocks if block["type"] == "tool_use"],
        [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"],
    )


@pytest.mark.parametrize(
    ("call_id", "expected"),
    [
        ("toolu_01A-b", "toolu_01A-b"),
        ("functions.add:0", "functions_add_0"),
        ("call|fc 1", "call_fc_1"),
        ("Größe\ud83c", "Gr__e_"),
        ("0", "0"),
        ("", "call"),
    ],
)
def test_ids_of_other_providers_are_made_of_what_the_wire_takes(call_id, expected):
    """In the call and in its result."""
    call = ToolCall(call_id, "weather", "")

    assert ([expected], [expected]) == ids_sent(user("hi"), said("", call), result(call_id, "x"))


def test_ids_that_become_equal_are_told_apart():
    """Results find their calls, in whatever order they come."""
    ids = ["a.b", "a:b", "a_b"]
    calls = [ToolCall(call_id, "weather", "") for call_id in ids]
    results = [result(call_id, call_id) for call_id in reversed(ids)]

    assert (["a_b", "a_b_2", "a_b_3"], ["a_b_3", "a_b_2", "a_b"]) == ids_sent(
        user("hi"), said("", *calls), *results
    )


def test_ids_that_repeat_from_turn_to_turn_are_told_apart():
    """The API wants each call's own; what was sent before stays as it was."""
    first = [user("hi"), said("", ToolCall("call_0", "weather", "")), result("call_0", "x")]

    assert (["call_0"], ["call_0"]) == ids_sent(*first)
    assert (["call_0", "call_0_2"], ["call_0", "call_0_2"]) == ids_sent(*first, *first)


def test_ids_in_blocks_of_a_reply_are_told_apart_too():
    """All else in the blocks stays, and so do the blocks that the caller has."""
    blocks = [THOUGHT, {"type": "tool_use", "id": "f:0", "name": "weather", "input": {}}]
    call = ToolCall("f:0", "weather", "{}")
    reply = said("", call, provider_state={"anthropic_blocks": blocks})
    got = turns(user("hi"), reply, result("f:0", "x"))

    assert [THOUGHT, {**blocks[1], "id": "f_0"}] == got[1]["content"]
    assert "f_0" == got[2]["content"][0]["tool_use_id"]
    assert "f:0" == blocks[1]["id"]


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def test_reply_after_a_pause_keeps_what_the_pause_began():
    """A server's tool that was called before it has its result after it."""
    began = said("", finish_reason="pause", provider_state={"anthropic_blocks": [SEARCH]})
    ended = [FOUND, {"type": "text", "text": "Sunny"}]
    reply = said("Sunny", finish_reason="stop", provider_state={"anthropic_blocks": ended})

    assert [SEARCH, *ended] == turns(user("hi"), began, reply, user("thanks"))[1]["content"]
    assert ended[1:] == turns(user("hi"), reply, user("thanks"))[1]["content"]


def test_compaction_goes_back_always():
    """It stands for all that was said before it."""
    blocks = [{"type": "compaction", "content": "so far"}, {"type": "text", "text": "Sunny"}]
    reply = said("Sunny", finish_reason="stop", provider_state={"anthropic_blocks": blocks})

    assert blocks == turns(user("hi"), reply, user("thanks"))[1]["content"]


def spoken(*messages):
    return [block["text"] for turn in turns(*messages) for block in turn["content"]]


def test_text_before_a_refusal_of_claudes_is_not_used_again():
    """Anthropic forbids it; why it refused is what it said."""
    half = said("First, ", refusal="No", finish_reason="content_filter")
    refused = attrs.evolve(half, raw_finish_reason="refusal")
    silent = attrs.evolve(refused, refusal="")

    assert ["one", "No", "two"] == spoken(user("one"), refused, user("two"))
    assert ["one", "two"] == spoken(user("one"), silent, user("two"))
    assert ["one", "First, ", "No", "two"] == spoken(user("one"), half, user("two"))
