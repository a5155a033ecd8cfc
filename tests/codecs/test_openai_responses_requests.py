"""Requests of the Responses API, held against what wire/WIRE.md, section 10, says they are."""

from __future__ import annotations

import base64
import json

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.conversation import check_order
from cloudllm_sync.codecs.openai_responses import OpenAIResponsesCodec
from cloudllm_sync.errors import (
    ConfigurationError,
    UnsupportedOptionError,
)
from cloudllm_sync.values import (
    Attachment,
    ChatOptions,
    Message,
    Role,
    ToolCall,
    ToolDefinition,
)

PNG = b"\x89PNG\r\n\x1a\n0000"
TOOL = ToolDefinition("get_time", "The time.", {"type": "object", "properties": {}})
CALL = ToolCall("call_1", "get_time", '{"zone": "UTC"}')
HI = Message(Role.USER, "Hi")

_FIELDS = {
    "model": str,
    "input": list,
    "instructions": str,
    "max_output_tokens": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "stream": bool,
    "store": bool,
    "include": list,
    "tools": list,
    "tool_choice": (str, dict),
    "text": dict,
    "reasoning": dict,
}
_PARTS = {
    "user": {
        "input_text": {"text"},
        "input_image": {"image_url"},
        "input_file": {"filename", "file_data"},
        "input_file at an address": {"file_url"},
    },
    "assistant": {"output_text": {"text"}, "refusal": {"refusal"}},
}
_ITEMS = {
    "function_call": {"call_id", "name", "arguments"},
    "function_call_output": {"call_id", "output"},
}


def check_part(part, role):
    kind = part["type"] + (" at an address" if "file_url" in part else "")
    assert kind in _PARTS[role], f"{kind} is no part of a message of {role}"
    assert set(part) - {"type"} == _PARTS[role][kind]
    assert all(isinstance(value, str) for value in part.values())


def check_item(item, called, answered):
    if "role" in item:
        assert set(item) == {"role", "content"}
        assert item["content"]
        assert called == answered, "a message between a call and its output"
        for part in item["content"]:
            check_part(part, item["role"])
        return
    assert set(item) - {"type"} == _ITEMS[item["type"]]
    assert all(isinstance(value, str) for value in item.values())
    if item["type"] == "function_call":
        called.add(item["call_id"])
    else:
        assert item["call_id"] in called - answered
        answered.add(item["call_id"])


def check_body(body):
    """Whether a body is what section 10 allows; items that a server made are not looked into."""
    assert {"model", "input", "stream", "store"} <= set(body) <= set(_FIELDS)
    for name, value in body.items():
        assert isinstance(value, _FIELDS[name]), name
    assert body["input"]
    called, answered = set(), set()
    for item in body["input"]:
        check_item(item, called, answered)
    assert called == answered
    for tool in body.get("tools", ()):
        assert set(tool) == {"type", "name", "description", "parameters", "strict"}
        assert tool["type"] == "function"
    assert body.get("max_output_tokens", 16) >= 16


def encode(*messages, tools=(), stream=True, **options):
    request = ChatRequest("m", messages or (HI,), tuple(tools), ChatOptions(**options), stream)
    wire = OpenAIResponsesCodec("Acme").encode(request)
    assert wire.path == "/responses"
    return json.loads(wire.body.decode())


def with_calls(*calls, content="", state=None):
    return Message(Role.ASSISTANT, content, tool_calls=calls, provider_state=state)


def result(call=CALL, content="noon"):
    return Message(Role.TOOL, content, tool_call_id=call.id)


def test_plain_request():
    """Nothing is asked for that nobody wants, and nothing is stored."""
    assert encode() == {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_whole_conversation_passes_a_strict_check():
    """System, images, documents, parallel calls, results, refusals and all options at once."""
    other = ToolCall("call_2", "get_time", "")
    image = Attachment.from_bytes(PNG)
    document = Attachment.from_bytes(b"%PDF-1.7", name="a.pdf")
    body = encode(
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "What is this?", attachments=(image, document)),
        with_calls(CALL, other, content="Let me see."),
        result(),
        result(other, ""),
        Message(Role.ASSISTANT, "", refusal="No."),
        Message(Role.ASSISTANT, ""),
        Message(Role.USER, ""),
        tools=(TOOL,),
        stream=False,
        max_output_tokens=16,
        temperature=0.5,
        top_p=1,
        reasoning_effort="low",
        tool_choice="get_time",
        response_schema={"title": "a b", "type": "object"},
        cache=True,
    )

    check_body(body)


def test_system_prompts_become_instructions():
    """They are joined by blank lines, empty ones left out."""
    system = [Message(Role.SYSTEM, text) for text in ("One.", "", "Two.")]

    assert encode(*system, HI)["instructions"] == "One.\n\nTwo."
    assert "instructions" not in encode(Message(Role.SYSTEM, ""), HI)


def test_system_prompt_alone_is_refused():
    """The API wants input."""
    with pytest.raises(ConfigurationError, match="beside the system prompt"):
        encode(Message(Role.SYSTEM, "Be brief."))


def test_attachments_follow_the_text():
    """Bytes go as data URLs, images and documents at an address by it."""
    user = Message(
        Role.USER,
        "See",
        attachments=(
            Attachment.from_bytes(PNG),
            Attachment.from_url("https://x.org/a.jpg"),
            Attachment.from_bytes(b"%PDF-1"),
            Attachment.from_url("https://x.org/a.pdf"),
        ),
    )
    image = base64.b64encode(PNG).decode()
    document = base64.b64encode(b"%PDF-1").decode()

    assert encode(user)["input"][0]["content"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{image}"},
        {"type": "input_image", "image_url": "https://x.org/a.jpg"},
        {
            "type": "input_file",
            "filename": "document.pdf",
            "file_data": f"data:application/pdf;base64,{document}",
        },
        {"type": "input_file", "file_url": "https://x.org/a.pdf"},
    ]


def test_image_needs_no_text():
    """No empty part goes with it."""
    user = Message(Role.USER, "", attachments=(Attachment.from_bytes(PNG),))

    assert [part["type"] for part in encode(user)["input"][0]["content"]] == ["input_image"]


@pytest.mark.parametrize("kind", ["audio/wav", "audio/mpeg", "text/csv"])
def test_other_attachments_are_refused(kind):
    """The error names the provider and the type."""
    user = Message(Role.USER, "", attachments=(Attachment(kind, b"0"),))

    with pytest.raises(UnsupportedOptionError, match=f"Acme's Responses API takes no {kind}"):
        encode(user)


def test_calls_and_results_are_items():
    """A call without arguments has an empty object."""
    other = ToolCall("call_2", "now", "")
    body = encode(HI, with_calls(CALL, other, content="Hm"), result(), result(other, "1"))

    assert body["input"][1:] == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hm"}]},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "get_time",
            "arguments": '{"zone": "UTC"}',
        },
        {"type": "function_call", "call_id": "call_2", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
        {"type": "function_call_output", "call_id": "call_2", "output": "1"},
    ]


def own_items(kind="function_call", call_id="call_1"):
    return [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "phase": "commentary", "content": []},
        {"type": kind, "id": "fc_1", "call_id": call_id, "name": "get_time", "arguments": "{}"},
    ]


def test_output_items_go_back_unchanged():
    """The model's reasoning leads to the call, and is lost without its items."""
    items = own_items()
    called = with_calls(CALL, content="Hm", state={"openai_output": items})

    assert encode(HI, called, result())["input"][1:4] == items


def test_result_of_a_custom_call_has_its_own_type():
    """The API pairs calls and results by type."""
    items = own_items("custom_tool_call")
    called = with_calls(CALL, state={"openai_output": items})
    sent = encode(HI, called, result(), HI, with_calls(CALL), result())["input"]

    assert sent[4] == {"type": "custom_tool_call_output", "call_id": "call_1", "output": "noon"}
    assert sent[-1] == {"type": "function_call_output", "call_id": "call_1", "output": "noon"}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"openai_output": None},
        {"openai_output": "odd"},
        {"openai_output": []},
        {"openai_output": [5, None]},
        {"openai_output": own_items(call_id="call_9")},
        {"openai_output": own_items() + own_items(call_id="call_2")},
        {"reasoning_details": []},
    ],
)
def test_items_of_other_calls_are_not_sent(state):
    """A message that was changed, or came from elsewhere, is said anew."""
    sent = encode(HI, with_calls(CALL, state=state), result())["input"]

    assert [item.get("type") for item in sent[1:]] == ["function_call", "function_call_output"]


def test_items_go_back_with_calls_only():
    """A plain reply needs none."""
    said = Message(Role.ASSISTANT, "Hm", provider_state={"openai_output": own_items()})

    assert encode(HI, said, HI)["input"][1] == {
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hm"}],
    }


def test_tools_are_flat_and_not_strict():
    """Left out, strict would be true, which refuses most schemas."""
    assert encode(tools=(TOOL,))["tools"] == [
        {
            "type": "function",
            "name": "get_time",
            "description": "The time.",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        }
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("get_time", {"type": "function", "name": "get_time"}),
    ],
)
def test_tool_choice(choice, said):
    """One of three words, or one tool."""
    assert encode(tools=(TOOL,), tool_choice=choice)["tool_choice"] == said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stop": ("x",)}, "stop: Acme"),
        ({"seed": 0}, "seed: Acme"),
        ({"max_output_tokens": 15}, "max_output_tokens 15: Acme's Responses API takes 16 or more"),
        ({"tool_choice": "auto"}, "'auto' without tools: Acme"),
        ({"tool_choice": "other", "tools": (TOOL,)}, "the tools are get_time"),
        ({"extra_body": {"x": object()}}, "cannot be said in JSON"),
    ],
)
def test_what_the_wire_cannot_say_is_refused(options, named):
    """Nothing is dropped in silence."""
    with pytest.raises(UnsupportedOptionError, match=named):
        encode(**options)


def test_options():
    """Each under the API's own name."""
    schema = {"title": "My reply!", "type": "object"}
    body = encode(max_output_tokens=16, temperature=0, top_p=0.5, response_schema=schema)

    assert (body["max_output_tokens"], body["temperature"], body["top_p"]) == (16, 0, 0.5)
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "My_reply_", "schema": schema, "strict": True}
    }


def test_reasoning_effort_asks_for_a_summary():
    """The reasoning itself is never shown; without effort there is nothing to sum up."""
    assert encode(reasoning_effort="high")["reasoning"] == {"effort": "high", "summary": "auto"}
    assert encode(reasoning_effort="none")["reasoning"] == {"effort": "none"}


def test_extra_body_wins():
    """It is merged last."""
    body = encode(temperature=1, extra_body={"temperature": 2, "store": True, "include": []})

    assert (body["temperature"], body["store"], body["include"]) == (2, True, [])


def test_lone_surrogates_become_replacement_characters():
    """UTF-8 cannot say them."""
    text = encode(Message(Role.USER, "a\ud800b"))["input"][0]["content"][0]["text"]

    assert text == "a\ufffdb"


def test_features():
    """What the table of providers says."""
    assert OpenAIResponsesCodec("Acme").features == {
        "tools",
        "tool_choice",
        "images",
        "documents",
        "response_schema",
        "reasoning_effort",
    }


TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", "\ud83c"]), st.text(st.characters(exclude_categories=()))
)
ATTACHMENTS = st.sampled_from(
    [
        Attachment.from_bytes(PNG),
        Attachment.from_url("https://x.org/a.png"),
        Attachment.from_bytes(b"%PDF-1"),
        Attachment.from_url("https://x.org/a.pdf"),
        Attachment.from_bytes(b"ID3"),
        Attachment.from_bytes(b"text", "text/plain"),
    ]
)
ARGUMENTS = st.sampled_from(["", " ", "{}", '{"a":[1,null,"ü"]}', '{"cut":', "[]"])
STATES = st.sampled_from(
    [None, {}, {"openai_output": "odd"}, {"openai_output": own_items(call_id="call_9")}]
)


@st.composite
def conversations(draw):
    """Any order that providers take."""
    messages = []
    for number in range(draw(st.integers(1, 6))):
        role = draw(st.sampled_from([Role.SYSTEM, Role.USER, Role.USER, Role.ASSISTANT]))
        message = Message(role, draw(TEXTS))
        if role is Role.USER:
            chosen = draw(st.lists(ATTACHMENTS, max_size=2))
            message = attrs.evolve(message, attachments=tuple(chosen))
        if role is Role.ASSISTANT:
            written = draw(st.lists(ARGUMENTS, max_size=3))
            calls = [ToolCall(f"{number}-{at}", "f", text) for at, text in enumerate(written)]
            message = attrs.evolve(
                message, tool_calls=calls, refusal=draw(TEXTS), provider_state=draw(STATES)
            )
        messages.append(message)
        messages += [
            result(call, draw(TEXTS)) for call in draw(st.permutations(message.tool_calls))
        ]
    check_order(messages)
    return messages


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_output_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.lists(st.just("a"), max_size=1),
        "seed": st.none() | st.integers(0, 9),
        "reasoning_effort": st.sampled_from(["none", "low", "high"]),
        "tool_choice": st.sampled_from(["auto", "none", "required", "get_time", "unknown"]),
        "response_schema": st.sampled_from([{}, {"type": "object", "title": "Über %"}]),
        "tools": st.sampled_from([(), (TOOL,)]),
        "stream": st.booleans(),
    },
)


@given(conversations(), OPTIONS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_conversation_is_encoded_or_refused(messages, options):
    """What leaves is what the API takes; all else is an error before any I/O."""
    try:
        body = encode(*messages, **options)
    except ConfigurationError:
        return
    check_body(body)


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_blank_arguments_become_an_empty_object(blank):
    """Servers parse them."""
    call = ToolCall("call_1", "get_time", blank)

    assert encode(HI, with_calls(call), result(call))["input"][1]["arguments"] == "{}"
