"""Replies of the Messages API that are sent back, and any other conversation."""

from __future__ import annotations

import json

import attrs
import pytest
from anthropic_reading import STOP, Reading, arguments, begin, closed, delta, opened, reason, text
from anthropic_request import (
    BLOCKS,
    CODEC,
    NEW,
    OLD,
    PNG,
    WEATHER,
    check_body,
    encoded,
    result,
    system,
    turns,
    user,
    wire,
)
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.conversation import check_order
from cloudllm_sync.errors import (
    ConfigurationError,
)
from cloudllm_sync.testing import Reply, anthropic_events
from cloudllm_sync.values import Message, Role, ToolCall


def test_whole_reply_can_be_sent_back():
    """From the reply's body to the next request, nothing of its blocks is lost."""
    data = json.dumps({"type": "message", "content": BLOCKS, "stop_reason": "tool_use"})
    decoder = CODEC.decoder()
    arrived = Accumulator()
    for chunk in decoder.feed(ServerSentEvent(data.encode(), WHOLE_BODY)):
        arrived.add(chunk)
    reply = arrived.message(decoder.facts)

    assert turns(user("hi"), reply, result("a", "x"), result("b", "y"))[1]["content"] == BLOCKS


def streamed(reply):
    """The message that a stream of this script is, event by event."""
    decoder = CODEC.decoder()
    arrived = Accumulator()
    for event in anthropic_events(reply):
        name, data = event.rstrip(b"\n").split(b"\n")
        said = ServerSentEvent(data[len(b"data: ") :], name[len(b"event: ") :].decode())
        for chunk in decoder.feed(said):
            arrived.add(chunk)
    for chunk in decoder.finish():
        arrived.add(chunk)
    assert decoder.complete()
    return arrived.message(decoder.facts)


ASKED = [
    system("Be brief"),
    system("Be kind"),
    user("What is this?", Attachment.from_bytes(PNG), Attachment.from_bytes(b"%PDF-1")),
    user("And that?", Attachment.from_bytes("Größe".encode(), "text/plain")),
]
ANSWERS = ["sun", "", '{"degrees": 7}']
SCRIPTED = (
    ToolCall("toolu_1", "weather", '{"city": "Köln", "days": [1, 2]}'),
    ToolCall("toolu_2", "weather", '{"deep":{"a":null}}'),
    ToolCall("toolu_3", "weather", ""),
)


@pytest.mark.parametrize("model", [NEW, OLD])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_streamed_conversation_can_be_sent_back(model, cache, order):
    """Two rounds of thinking and parallel calls, results in any order, then an answer."""
    scripts = [
        Reply("I look.", reasoning="Hm, so.", tool_calls=SCRIPTED),
        Reply(reasoning="Well.", tool_calls=(ToolCall("toolu_4", "weather", "{}"),)),
        Reply("Sunny.", reasoning="Now I know.", citations=("https://a.example",)),
    ]
    conversation = list(ASKED)
    for script in scripts:
        reply = streamed(script)
        results = [result(call.id, ANSWERS[at]) for at, call in enumerate(reply.tool_calls)]
        conversation += [reply, *(results[at] for at in order if at < len(results))]
    body = encoded(
        *conversation,
        user("Thanks"),
        model=model,
        tools=[WEATHER],
        reasoning_effort="low",
        cache=cache,
    )

    plain = [
        {name: v for name, v in block.items() if name != "cache_control"}
        for turn in body["messages"]
        if turn["role"] == "assistant"
        for block in turn["content"]
    ]
    inputs = [call.parsed() for call in SCRIPTED] + [{}]
    assert [block["input"] for block in plain if block["type"] == "tool_use"] == inputs
    assert [block["thinking"] for block in plain if block["type"] == "thinking"] == [
        "Hm, so.", "Well.",
    ]  # fmt: skip
    assert all(block["signature"] for block in plain if block["type"] == "thinking")
    assert [block["text"] for block in plain if block["type"] == "text"] == ["I look.", "Sunny."]
    assert [block["type"] for block in body["messages"][0]["content"]] == [
        "image", "document", "text", "document", "text",
    ]  # fmt: skip


def test_paused_turn_goes_on_from_what_was_streamed():
    """The assistant's content goes back unchanged, a server's call with the input it had."""
    call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    reply = Reading(
        begin(), opened(0, "thinking", thinking="", signature=""),
        delta(0, "signature_delta", signature="sig"), closed(0),
        opened(1), text(1, "I search. "), closed(1),
        opened(2, "server_tool_use", id=call["id"], name=call["name"], input={}),
        arguments(2, '{"query":'), arguments(2, '"x"}'), closed(2),
        opened(3, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[]), closed(3),
        reason("pause_turn"), STOP,
    ).message  # fmt: skip

    assert "pause" == reply.finish_reason
    assert [
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "text", "text": "I search. "},
        {**call, "input": {"query": "x"}},
        found,
    ] == turns(user("hi"), reply)[-1]["content"]


TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", "\ud83c"]), st.text(st.characters(exclude_categories=()))
)


ATTACHMENTS = st.sampled_from(
    [
        Attachment.from_bytes(PNG),
        Attachment.from_url("https://x.org/a.png"),
        Attachment.from_bytes(b"%PDF-1"),
        Attachment.from_bytes(b"ID3"),
        Attachment.from_bytes(b"text", "text/plain"),
    ]
)


ARGUMENTS = st.sampled_from(["", "{}", '{"a":[1,null,"ü"]}', '{"cut":', "[]"])


@st.composite
def conversations(draw):
    """Any order that a session allows."""
    messages = []
    for number in range(draw(st.integers(1, 5))):
        role = draw(st.sampled_from([Role.SYSTEM, Role.USER, Role.USER, Role.ASSISTANT]))
        message = Message(role, draw(TEXTS))
        if role is Role.USER:
            chosen = draw(st.lists(ATTACHMENTS, max_size=2))
            message = attrs.evolve(message, attachments=tuple(chosen))
        if role is Role.ASSISTANT:
            written = draw(st.lists(ARGUMENTS, max_size=2))
            first = draw(st.sampled_from([f"{number}-", "functions.f:", "functions_f_"]))
            calls = [ToolCall(f"{first}{at}", "f", text) for at, text in enumerate(written)]
            message = attrs.evolve(message, tool_calls=tuple(calls))
        messages.append(message)
        messages += [result(call.id, draw(TEXTS)) for call in message.tool_calls]
    check_order(messages)
    return messages


@given(conversations(), st.booleans(), st.sampled_from([None, "none", "low", "high", "max"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_conversation_is_encoded_or_refused(messages, cache, effort):
    """What leaves is what the API takes; all else is an error before any I/O."""
    try:
        body = json.loads(wire(*messages, cache=cache, reasoning_effort=effort, model=OLD).body)
    except ConfigurationError:
        return
    check_body(body)
