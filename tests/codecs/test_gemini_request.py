"""Requests to Gemini, checked strictly against what WIRE.md, section 4, says of them."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import WHOLE_BODY, ChatRequest, ServerSentEvent
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.errors import ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import (
    Attachment,
    ChatOptions,
    Message,
    Role,
    ToolCall,
    ToolDefinition,
)

PNG = b"\x89PNG\r\n\x1a\n"
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CLOCK = ToolDefinition("clock", "Tells the time", {})
MADE = "gemini_call_"


def wire(messages="Hi", *, model="gemini-3.5-flash", tools=(), stream=True, **options):
    if isinstance(messages, str):
        messages = (Message(Role.USER, messages),)
    request = ChatRequest(model, tuple(messages), tuple(tools), ChatOptions(**options), stream)
    return GeminiCodec("Gemini").encode(request)


def body(*args, **options):
    said = json.loads(wire(*args, **options).body)
    check_strictly(said)
    return said


def only(said, required, optional=()):
    """An object with all of the required fields, and no others than the optional ones."""
    assert isinstance(said, dict)
    assert set(required) <= set(said) <= {*required, *optional}


def check_strictly(said):
    """The body is what generateContent documents, and no field of it is unknown or empty."""
    only(said, ["contents"], ["systemInstruction", "tools", "toolConfig", "generationConfig"])
    assert said["contents"]
    roles = [content["role"] for content in said["contents"]]
    assert all(one != next_one for one, next_one in zip(roles, roles[1:]))
    for content in said["contents"]:
        only(content, ["role", "parts"])
        assert content["role"] in ("user", "model")
        assert content["parts"]
        for part in content["parts"]:
            check_part(part, content["role"])
    check_answers(said["contents"])
    if "systemInstruction" in said:
        only(said["systemInstruction"], ["parts"])
        for part in said["systemInstruction"]["parts"]:
            only(part, ["text"])
            assert part["text"]
    for tool in said.get("tools", []):
        only(tool, ["functionDeclarations"])
        for declared in tool["functionDeclarations"]:
            only(declared, ["name", "description"], ["parametersJsonSchema"])
    if "toolConfig" in said:
        assert said["tools"]
        only(said["toolConfig"], ["functionCallingConfig"])
        config = said["toolConfig"]["functionCallingConfig"]
        only(config, ["mode"], ["allowedFunctionNames"])
        assert config["mode"] in ("AUTO", "ANY", "NONE")
    check_generation(said.get("generationConfig", {"seed": 1}))


def check_part(part, role):
    beside = ["thought", "thoughtSignature"]
    (kind,) = set(part) - set(beside)
    value = part[kind]
    if kind == "text":
        assert isinstance(value, str)
        assert value or "thoughtSignature" in part
    elif kind == "functionCall":
        assert role == "model"
        only(value, ["name"], ["args", "id"])
        assert isinstance(value.get("args", {}), dict)
        assert not value.get("id", "").startswith(MADE)
    else:
        assert role == "user"
        fields = {
            "functionResponse": (["name", "response"], ["id"]),
            "inlineData": (["mimeType", "data"], []),
            "fileData": (["mimeType", "fileUri"], []),
        }
        only(value, *fields[kind])
        if kind == "functionResponse":
            assert isinstance(value["response"], dict)
            assert not value.get("id", "").startswith(MADE)


def check_answers(contents):
    """Every call is answered in the next turn, by a response of its name and id, in its order."""
    for content, following in zip(contents, [*contents[1:], {"parts": []}]):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answers = [p["functionResponse"] for p in following["parts"] if "functionResponse" in p]
        if calls:
            assert [(c.get("id"), c["name"]) for c in calls] == [
                (a.get("id"), a["name"]) for a in answers
            ]


def check_generation(config):
    assert config
    for name, value in config.items():
        if name == "stopSequences":
            assert 0 < len(value) <= 5
        elif name == "responseMimeType":
            assert value == "application/json"
        elif name == "thinkingConfig":
            only(value, ["includeThoughts"], ["thinkingBudget", "thinkingLevel"])
            assert len(value) == 2
        else:
            known = ("maxOutputTokens", "temperature", "topP", "seed", "responseJsonSchema")
            assert name in known


def assistant(content="", *calls, **more):
    return Message(Role.ASSISTANT, content, tool_calls=calls, **more)


def result(call_id, content):
    return Message(Role.TOOL, content, tool_call_id=call_id)


def test_plain_question_is_one_turn():
    """Nothing is said that was not asked for."""
    assert body("Hi") == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_turns_of_one_side_are_merged():
    """Roles alternate; the system prompt stands apart."""
    said = body(
        [
            Message(Role.SYSTEM, "Be brief"),
            Message(Role.USER, "One"),
            Message(Role.USER, "Two"),
            assistant("Three"),
            assistant(""),
            assistant("", refusal="No"),
            Message(Role.SYSTEM, ""),
            Message(Role.SYSTEM, "Be kind"),
            Message(Role.USER, "Four"),
        ]
    )

    assert said == {
        "systemInstruction": {"parts": [{"text": "Be brief"}, {"text": "Be kind"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            {"role": "model", "parts": [{"text": "Three"}, {"text": "No"}]},
            {"role": "user", "parts": [{"text": "Four"}]},
        ],
    }


def test_empty_reply_leaves_no_turn():
    """A blocked reply in the history has no parts, which Gemini would refuse."""
    said = body([Message(Role.USER, "One"), assistant(""), Message(Role.USER, "Two")])

    assert said["contents"] == [{"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]}]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([Message(Role.USER, "Hi"), Message(Role.USER, "")], r"messages\[1\] is empty"),
        ([Message(Role.SYSTEM, "Be brief")], "no system prompt"),
        ([Message(Role.USER, "Hi"), result("x", "1")], "'x'"),
        ([Message(Role.USER, "Hi"), assistant("", ToolCall("x", "f", "{half"))], "'x'"),
        ([Message(Role.USER, "Hi"), assistant("", ToolCall("x", "f", "[1]"))], "object"),
    ],
)
def test_what_gemini_refuses_is_refused_before(messages, says):
    """With words that say which message it is."""
    with pytest.raises(ConfigurationError, match=says):
        wire(messages)


def test_attachments_are_parts():
    """Bytes go inline, addresses as files."""
    attachments = [
        Attachment.from_bytes(PNG),
        Attachment.from_bytes(b"%PDF-1.7"),
        Attachment.from_bytes(b"x", "text/plain"),
        Attachment.from_bytes(b"ID3"),
        Attachment.from_url("https://example.com/a.jpg", "image/jpeg"),
    ]
    said = body([Message(Role.USER, "What?", attachments=attachments)])
    alone = body([Message(Role.USER, "", attachments=attachments[:1])])

    parts = said["contents"][0]["parts"]
    assert parts[:2] == [
        {"text": "What?"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ]
    assert [part["inlineData"]["mimeType"] for part in parts[2:5]] == [
        "application/pdf",
        "text/plain",
        "audio/mpeg",
    ]
    assert parts[5] == {
        "fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg"}
    }
    assert alone["contents"][0]["parts"] == parts[1:2]


def test_attachment_of_another_kind_is_refused():
    """The error names it."""
    zipped = Attachment.from_bytes(b"PK", "application/zip")

    with pytest.raises(UnsupportedOptionError, match="application/zip"):
        wire([Message(Role.USER, "", attachments=[zipped])])


def test_tool_loop_of_parallel_calls():
    """Ids that were made here are not sent; results stand in the order of their calls."""
    calls = [ToolCall(f"{MADE}r_{n}", "dice", "") for n in range(2)]
    calls.append(ToolCall("x", "weather", '{"city": "Oslo"}'))
    said = body(
        [
            Message(Role.USER, "Roll"),
            assistant("Well", *calls),
            result("x", '{"degrees": 7}'),
            result(f"{MADE}r_1", "second"),
            result(f"{MADE}r_0", "[1]"),
            Message(Role.USER, "And?"),
        ]
    )

    assert said["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Well"},
                {"functionCall": {"name": "dice", "args": {}}},
                {"functionCall": {"name": "dice", "args": {}}},
                {"functionCall": {"id": "x", "name": "weather", "args": {"city": "Oslo"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "dice", "response": {"result": "[1]"}}},
                {"functionResponse": {"name": "dice", "response": {"result": "second"}}},
                {"functionResponse": {"id": "x", "name": "weather", "response": {"degrees": 7}}},
                {"text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize("text", ["", "sunny", "{half", "null", '"x"', "[" * 100_000])
def test_result_that_is_no_object_is_wrapped(text):
    """Gemini takes objects only."""
    said = body(
        [Message(Role.USER, "Hi"), assistant("", ToolCall("x", "f", "")), result("x", text)]
    )

    assert said["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": text}


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

    assert said["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {"a": 1}}}]


def test_lone_surrogates_become_replacement_characters():
    """No UTF-8 can say them."""
    assert body("a\ud800")["contents"][0]["parts"][0]["text"] == "a\ufffd"


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
