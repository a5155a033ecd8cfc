"""Requests to Ollama, checked strictly against what WIRE.md, section 9, says of /api/chat."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, strategies as st

from cloudllm_sync.codecs import FEATURES, ChatRequest
from cloudllm_sync.codecs.ollama import OllamaCodec
from cloudllm_sync.codecs.ollama_decoder import MADE_ID_PREFIX
from cloudllm_sync.errors import BadRequestError, ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import Attachment, ChatOptions, Message, Role, ToolCall, ToolDefinition

PNG = b"\x89PNG\r\n\x1a\n"
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CLOCK = ToolDefinition("clock", "Tells the time", {})


def wire(messages="Hi", *, tools=(), stream=True, **options):
    if isinstance(messages, str):
        messages = (Message(Role.USER, messages),)
    request = ChatRequest("llama3.2", tuple(messages), tuple(tools), ChatOptions(**options), stream)
    return OllamaCodec("Ollama").encode(request)


def body(*args, **options):
    said = json.loads(wire(*args, **options).body)
    check_strictly(said)
    return said


def only(said, required, optional=()):
    """An object with all of the required fields, and no others than the optional ones."""
    assert isinstance(said, dict)
    assert set(required) <= set(said) <= {*required, *optional}


MAY_SAY = {
    "system": (["role", "content"], []),
    "user": (["role", "content"], ["images"]),
    "assistant": (["role", "content"], ["thinking", "tool_calls"]),
    "tool": (["role", "content", "tool_name"], []),
}
SETTINGS = {
    "num_predict": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "stop": list,
    "seed": int,
}


def check_strictly(said):
    """The body is what /api/chat documents, and no field of it is unknown or empty."""
    only(said, ["model", "messages", "stream"], ["tools", "format", "think", "options"])
    assert type(said["stream"]) is bool
    assert said["think"] in (False, "low", "medium", "high") if "think" in said else True
    for tool in said.get("tools", ()):
        only(tool, ["type", "function"])
        only(tool["function"], ["name", "description", "parameters"])
    assert said.get("options", {"": 0})
    for name, value in said.get("options", {}).items():
        if name in SETTINGS:
            assert isinstance(value, SETTINGS[name])
    assert said["messages"]
    open_calls: list[str] = []
    for message in said["messages"]:
        only(message, *MAY_SAY[message["role"]])
        assert isinstance(message["content"], str)
        for image in message.get("images", ("",)):
            base64.b64decode(image, validate=True)
        if message["role"] == "tool":
            assert open_calls.pop(0) == message["tool_name"]
            continue
        assert open_calls == []
        assert all(message[name] for name in ("thinking", "tool_calls") if name in message)
        for call in message.get("tool_calls", ()):
            only(call, ["function"], ["id"])
            only(call["function"], ["name", "arguments"])
            assert isinstance(call["function"]["arguments"], dict)
            open_calls.append(call["function"]["name"])


def assistant(content="", *calls, **more):
    return Message(Role.ASSISTANT, content, tool_calls=calls, **more)


def result(call_id, content):
    return Message(Role.TOOL, content, tool_call_id=call_id)


def test_plain_question():
    """Whether it is to stream is always said: Ollama would."""
    said = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}]}

    assert {**said, "stream": True} == body()
    assert {**said, "stream": False} == body(stream=False)


@pytest.mark.parametrize("stream", [True, False])
def test_stream_is_asked_for_in_lines(stream):
    """One path for both; only a stream comes line by line."""
    said = wire(stream=stream)

    assert ("/api/chat", stream) == (said.path, said.json_lines)


def test_every_role_has_its_message():
    """Where it stands; a refusal is what was said, thoughts go back beside the text."""
    messages = [
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "Hi"),
        assistant("Yes?", reasoning="Hm."),
        Message(Role.SYSTEM, "Be long."),
        Message(Role.USER, ""),
        assistant(refusal="No."),
    ]

    assert [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?", "thinking": "Hm."},
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "No."},
    ] == body(messages)["messages"]


def test_images_are_base64_beside_the_text():
    """Without the head of a data URL."""
    pictures = [Attachment.from_bytes(PNG), Attachment.from_bytes(b"\xff\xd8\xff")]
    said = body([Message(Role.USER, "What is it?", attachments=pictures)])

    assert {
        "role": "user",
        "content": "What is it?",
        "images": ["iVBORw0KGgo=", "/9j/"],
    } == said["messages"][0]


@pytest.mark.parametrize(
    ("attachment", "says"),
    [
        (Attachment.from_url("https://a.example/b.png"), "no image by its address"),
        (Attachment.from_bytes(b"%PDF-1.7"), "takes no application/pdf"),
        (Attachment.from_bytes(b"ID3"), "takes no audio/mpeg"),
        (Attachment.from_url("https://a.example/b.pdf"), "takes no application/pdf"),
    ],
)
def test_other_attachments_are_refused(attachment, says):
    """The error says what is taken."""
    with pytest.raises(UnsupportedOptionError, match=f"Ollama.*{says}"):
        wire([Message(Role.USER, "Hi", attachments=[attachment])])


def test_tool_loop_of_parallel_calls():
    """Results in the order of their calls, which is all that tells two of one name apart."""
    messages = [
        Message(Role.USER, "Where is it warmer?"),
        assistant(
            "I look.",
            ToolCall(f"{MADE_ID_PREFIX}2024_0", "weather", '{"city": "Köln"}'),
            ToolCall("call_7", "weather", '{"city": "Paris"}'),
            ToolCall(f"{MADE_ID_PREFIX}2024_2", "clock", ""),
            reasoning="Both.",
        ),
        result(f"{MADE_ID_PREFIX}2024_2", "noon"),
        result("call_7", "warm"),
        result(f"{MADE_ID_PREFIX}2024_0", "cold"),
    ]

    assert [
        {
            "role": "assistant",
            "content": "I look.",
            "thinking": "Both.",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Köln"}}},
                {"id": "call_7", "function": {"name": "weather", "arguments": {"city": "Paris"}}},
                {"function": {"name": "clock", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "cold", "tool_name": "weather"},
        {"role": "tool", "content": "warm", "tool_name": "weather"},
        {"role": "tool", "content": "noon", "tool_name": "clock"},
    ] == body(messages)["messages"][1:]


@pytest.mark.parametrize("arguments", ['{"half', "[1]", "null"])
def test_call_whose_arguments_are_no_object_is_refused(arguments):
    """As after a length cut; the error names the call."""
    with pytest.raises(ConfigurationError, match="'c1' cannot be sent"):
        wire([Message(Role.USER, "Hi"), assistant("", ToolCall("c1", "f", arguments))])


@pytest.mark.parametrize("before", [[], [assistant("", ToolCall("c1", "f", "{}"))]])
def test_result_of_no_call_is_refused(before):
    """Its tool could not be named."""
    with pytest.raises(ConfigurationError, match="'c2', a call that"):
        wire([Message(Role.USER, "Hi"), *before, result("c2", "x")])


def test_tools_are_functions():
    """In OpenAI's form."""
    assert [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells the weather",
                "parameters": {"type": "object", "properties": {}},
            },
        },
        {
            "type": "function",
            "function": {"name": "clock", "description": "Tells the time", "parameters": {}},
        },
    ] == body(tools=[WEATHER, CLOCK])["tools"]


@pytest.mark.parametrize(("choice", "told"), [("auto", True), ("none", False)])
def test_choice_that_can_be_said_without_a_field(choice, told):
    """A model that is to call nothing is not told of the tools."""
    said = body(tools=[CLOCK], tool_choice=choice)

    assert told is ("tools" in said)


def test_all_options_have_their_place():
    """A schema is the format; numbers and stops are settings of the model."""
    schema = {"type": "object", "title": "Größe"}
    said = body(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("a", "b"),
        seed=0,
        response_schema=schema,
    )

    assert {
        "num_predict": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 0,
    } == said["options"]
    assert schema == said["format"]


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("low", "low"), (" Medium ", "medium"), ("high", "high")],
)
def test_effort_is_how_it_thinks(effort, think):
    """Or that it does not."""
    assert think == body(reasoning_effort=effort)["think"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reasoning_effort": "xhigh"}, "'xhigh': use one of none, low, medium, high"),
        ({"tool_choice": "required", "tools": [CLOCK]}, "cannot be made to call.*'required'"),
        ({"tool_choice": "clock", "tools": [CLOCK]}, "cannot be made to call.*'clock'"),
        ({"tool_choice": "auto"}, "'auto' without tools"),
    ],
)
def test_what_the_wire_cannot_say(options, says):
    """The error names the provider and what to do."""
    with pytest.raises(UnsupportedOptionError, match=says) as caught:
        wire(**options)

    assert "Ollama" in str(caught.value)


def test_extra_body_is_merged_last():
    """Into objects that are there, over all else."""
    extra = {"options": {"num_ctx": 8192, "seed": 2}, "keep_alive": "10m", "think": True}
    said = json.loads(wire(seed=1, top_p=1, reasoning_effort="low", extra_body=extra).body)

    assert {"num_ctx": 8192, "seed": 2, "top_p": 1} == said["options"]
    assert ("10m", True) == (said["keep_alive"], said["think"])


def test_codec_says_what_it_can():
    """And never asks again in other words."""
    codec = OllamaCodec("Ollama")

    assert {"tool_choice", "documents", "audio"} == set(FEATURES) - codec.features
    assert codec.amend(wire(), BadRequestError("refused")) is None


def test_lone_surrogates_become_replacement_characters():
    """No UTF-8 can say them."""
    assert "a\ufffd" == body("a\ud800")["messages"][0]["content"]


TEXTS = st.text(max_size=5) | st.sampled_from(["a", "\ud800", "{}", '{"a": 1}'])
NAMES = st.sampled_from(["weather", "clock"])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": [1, "ü", null]}', '{"a": 1e400}'])


@st.composite
def conversations(draw):
    messages = [Message(Role.SYSTEM, draw(TEXTS)), Message(Role.USER, draw(TEXTS))]
    for turn in range(draw(st.integers(0, 3))):
        prefix = draw(st.sampled_from([MADE_ID_PREFIX, "call_"]))
        asked = [
            ToolCall(f"{prefix}{turn}_{n}", name, draw(ARGUMENTS))
            for n, name in enumerate(draw(st.lists(NAMES, max_size=3)))
        ]
        messages.append(assistant(draw(TEXTS), *asked, reasoning=draw(TEXTS)))
        messages += [result(call.id, draw(TEXTS)) for call in draw(st.permutations(asked))]
        pictures = [Attachment.from_bytes(PNG)] * draw(st.integers(0, 2))
        messages.append(Message(Role.USER, draw(TEXTS), attachments=pictures))
    return messages


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tool_choice": st.sampled_from(["auto", "none"]),
        "reasoning_effort": st.sampled_from(["none", "low", "medium", "high"]),
        "max_output_tokens": st.integers(1, 9),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.lists(st.text(min_size=1, max_size=5), max_size=5),
        "seed": st.integers(-9, 9),
        "response_schema": st.just({"type": "object"}),
        "stream": st.booleans(),
    },
)


@given(conversations(), OPTIONS)
def test_any_conversation_is_said_as_documented(messages, options):
    """System, pictures, parallel calls in any order of results, replies of Ollama and others."""
    said = body(messages, tools=[WEATHER, CLOCK], **options)

    assert len(messages) == len(said["messages"])
