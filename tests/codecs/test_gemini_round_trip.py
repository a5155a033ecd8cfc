"""Replies of Gemini that are sent back, and any other conversation."""

from __future__ import annotations

import json

import attrs
import pytest
from gemini_request import (
    CLOCK,
    MADE,
    PNG,
    WEATHER,
    assistant,
    body,
    result,
)
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import WHOLE_BODY, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.testing import Reply, gemini_events
from cloudllm_sync.values import (
    Attachment,
    Message,
    Role,
    ToolCall,
)


def reply(*parts):
    """A reply as its client would have it."""
    decoder = GeminiCodec("Gemini").decoder()
    candidate = {"content": {"parts": list(parts)}, "finishReason": "STOP"}
    arrived = Accumulator()
    data = json.dumps({"candidates": [candidate]}).encode()
    for chunk in [*decoder.feed(ServerSentEvent(data, WHOLE_BODY)), *decoder.finish()]:
        arrived.add(chunk)
    return arrived.message(decoder.facts)


SIGNED = [
    {"text": "hm", "thought": True},
    {"text": "Let me see"},
    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "g"}},
]


def test_parts_with_signatures_go_back_unchanged():
    """Gemini 3 refuses calls without them."""
    asked = reply(*SIGNED)
    first, second = (call.id for call in asked.tool_calls)
    said = body([Message(Role.USER, "Hi"), asked, result(second, "2"), result(first, "1")])

    assert said["contents"][1] == {"role": "model", "parts": SIGNED}


def test_parts_that_no_longer_fit_the_calls_are_left():
    """Whoever changed the calls means the calls."""
    asked = reply(*SIGNED)
    changed = attrs.evolve(asked, tool_calls=asked.tool_calls[:1], content="")
    said = body([Message(Role.USER, "Hi"), changed, result(asked.tool_calls[0].id, "1")])

    (part,) = said["contents"][1]["parts"]
    assert {"name": "f", "args": {"a": 1}} == part["functionCall"]
    assert "c2ln" != part["thoughtSignature"]


def test_unsigned_parts_are_marked_for_newer_models_only():
    """As those of Gemini 2.5; what the caller has stays as it is."""
    text, *calls = [
        {"text": "Hm"},
        {"functionCall": {"name": "f"}},
        {"functionCall": {"name": "g"}},
    ]
    asked = reply(text, *calls)
    results = [result(call.id, "1") for call in asked.tool_calls]
    conversation = [Message(Role.USER, "Hi"), asked, *results]

    marked = body(conversation)["contents"][1]["parts"]
    plain = body(conversation, model="gemini-2.5-flash")["contents"][1]["parts"]

    signature = {"thoughtSignature": "skip_thought_signature_validator"}
    assert [text, {**calls[0], **signature}, calls[1]] == marked
    assert [text, *calls] == plain


def streamed(script):
    """The message that a stream of this script is, event by event."""
    decoder = GeminiCodec("Gemini").decoder()
    arrived = Accumulator()
    for said in gemini_events(script):
        for chunk in decoder.feed(ServerSentEvent(said[len(b"data: ") :].rstrip())):
            arrived.add(chunk)
    for chunk in decoder.finish():
        arrived.add(chunk)
    assert decoder.complete()
    return arrived.message(decoder.facts)


ASKED = [
    Message(Role.SYSTEM, "Be brief"),
    Message(Role.SYSTEM, "Be kind"),
    Message(
        Role.USER,
        "What is this?",
        attachments=[Attachment.from_bytes(PNG), Attachment.from_bytes(b"%PDF-1")],
    ),
    Message(Role.USER, "And that?", attachments=[Attachment.from_bytes(b"x", "text/plain")]),
]
ANSWERS = ["sun", "", '{"degrees": 7}']
SCRIPTED = (
    ToolCall("fc_1", "weather", '{"city": "Köln", "days": [1, 2]}'),
    ToolCall("", "weather", '{"deep":{"a":null}}'),
    ToolCall("", "clock", ""),
)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3.5-flash"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_streamed_conversation_can_be_sent_back(model, order):
    """Two rounds of thoughts and parallel calls, results in any order, then an answer."""
    scripts = [
        Reply("I look.", reasoning="Hm, so.", tool_calls=SCRIPTED),
        Reply(reasoning="Well.", tool_calls=(ToolCall("", "clock", "{}"),)),
        Reply("Sunny.", reasoning="Now I know.", citations=("https://a.example",)),
    ]
    conversation = list(ASKED)
    for script in scripts:
        said = streamed(script)
        results = [result(call.id, ANSWERS[at]) for at, call in enumerate(said.tool_calls)]
        conversation += [said, *(results[at] for at in order if at < len(results))]
    contents = body(
        [*conversation, Message(Role.USER, "Thanks")],
        model=model,
        tools=[WEATHER, CLOCK],
        reasoning_effort="low",
    )["contents"]

    assert ["user", "model", "user", "model", "user", "model", "user"] == [
        content["role"] for content in contents
    ]
    assert ["text", "inlineData", "inlineData", "text", "inlineData"] == [
        next(iter(part)) for part in contents[0]["parts"]
    ]
    calls = [part for part in contents[1]["parts"] if "functionCall" in part]
    assert [call.parsed() for call in SCRIPTED] == [p["functionCall"]["args"] for p in calls]
    assert ["sun", "", None] == [
        part["functionResponse"]["response"].get("result") for part in contents[2]["parts"]
    ]
    thoughts = [p["text"] for c in contents for p in c["parts"] if p.get("thought")]
    assert ["Hm, so.", "Well."] == thoughts
    assert [{"text": "Sunny."}] == contents[5]["parts"]


TEXTS = st.text(max_size=5) | st.sampled_from(["a", "\ud800", "{}", '{"a": 1}'])


SAID = st.text(min_size=1, max_size=5)


NAMES = st.sampled_from(["weather", "clock"])


ARGUMENTS = st.sampled_from(["", "{}", '{"a": [1, "ü", null]}', '{"a": 1e400}'])


@st.composite
def conversations(draw):
    messages = [Message(Role.SYSTEM, draw(TEXTS)), Message(Role.USER, draw(SAID))]
    for turn in range(draw(st.integers(0, 3))):
        asked = [
            ToolCall(draw(st.sampled_from([MADE, "call_"])) + f"{turn}_{n}", name, draw(ARGUMENTS))
            for n, name in enumerate(draw(st.lists(NAMES, max_size=3)))
        ]
        said = assistant(draw(TEXTS), *asked, reasoning=draw(TEXTS))
        if asked and draw(st.booleans()):
            said = attrs.evolve(reply(*SIGNED), content="", reasoning="")
            asked = list(said.tool_calls)
        messages.append(said)
        messages += [result(call.id, draw(TEXTS)) for call in draw(st.permutations(asked))]
        pictures = [Attachment.from_bytes(PNG)] * draw(st.integers(0, 2))
        messages.append(Message(Role.USER, draw(SAID), attachments=pictures))
    return messages


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tool_choice": st.sampled_from(["auto", "none", "required", "clock"]),
        "reasoning_effort": st.sampled_from(["minimal", "low", "medium", "high"]),
        "max_output_tokens": st.integers(1, 9),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.lists(SAID, max_size=5),
        "seed": st.integers(0, 9),
        "response_schema": st.just({"type": "object"}),
        "model": st.sampled_from(["gemini-2.5-flash", "gemini-3.5-flash"]),
    },
)


@given(conversations(), OPTIONS)
def test_any_conversation_is_said_as_documented(messages, options):
    """System, pictures, parallel calls in any order of results, replies of Gemini and others."""
    body(messages, tools=[WEATHER, CLOCK], **options)
