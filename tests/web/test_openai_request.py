"""What a client of OpenAI's asks for, read from the body that it posts."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync import (
    Attachment,
    ChatOptions,
    ConfigurationError,
    Message,
    Role,
    ToolCall,
    ToolDefinition,
)
from cloudllm_sync.codecs import ChatRequest
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec
from cloudllm_sync.web.protocols.openai_request import request_of, wants_usage

PNG = b"\x89PNG\r\n\x1a\n"
HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
FIND = ToolDefinition("find", "Finds", SCHEMA)
DEEP = b"[" * 100_000


def body_of(**fields):
    return json.dumps({"model": "m", "messages": [HI], **fields}).encode()


def parts(*found):
    return body_of(messages=[{"role": "user", "content": list(found)}])


def asked(*messages, stream=False, tools=(), **options):
    return ChatRequest("m", messages, tools, ChatOptions(**options), stream)


USER = Message(Role.USER, "Hi")

REQUESTS = {
    "one message": asked(USER),
    "all roles": asked(
        Message(Role.SYSTEM, "Be brief"),
        USER,
        Message(Role.ASSISTANT, "Well", tool_calls=(ToolCall("a", "find", '{"q": "x"}'),)),
        Message(Role.TOOL, "found", tool_call_id="a"),
        Message(Role.ASSISTANT, "", refusal="No"),
        USER,
        tools=(FIND,),
    ),
    "a call without text": asked(
        USER,
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall("a", "find", "{}"),)),
        Message(Role.TOOL, "", tool_call_id="a"),
    ),
    "files": asked(
        Message(
            Role.USER,
            "Look",
            attachments=(
                Attachment.from_bytes(PNG, "image/png"),
                Attachment.from_url("https://example.org/a.webp"),
                Attachment.from_bytes(b"%PDF-", name="a.pdf"),
                Attachment.from_bytes(b"RIFF....WAVE", "audio/wav"),
                Attachment.from_bytes(b"ID3\x04", "audio/mpeg"),
            ),
        )
    ),
    "all options": asked(
        USER,
        stream=True,
        tools=(FIND,),
        max_output_tokens=9,
        temperature=0.5,
        top_p=1.0,
        stop=("a", "b"),
        seed=-3,
        reasoning_effort="low",
        tool_choice="find",
        response_schema=SCHEMA,
    ),
    "some tool": asked(USER, tools=(FIND,), tool_choice="required"),
}


@pytest.mark.parametrize("limit_field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_request_of_our_own_client_comes_out_as_it_went_in(request_, limit_field):
    """What one side writes, the other reads."""
    codec = OpenAIChatCodec("Acme", Dialect(token_limit_field=limit_field))

    assert request_ == request_of(codec.encode(request_).body)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"stop": "x"}, ChatOptions(stop=("x",))),
        ({"stop": None, "n": 1, "temperature": 1}, ChatOptions(temperature=1.0)),
        ({"max_tokens": 5, "max_completion_tokens": 7}, ChatOptions(max_output_tokens=7)),
        ({"response_format": {"type": "text"}}, ChatOptions()),
        ({"tool_choice": "none"}, ChatOptions(tool_choice="none")),
        ({"logit_bias": {"7": 1}, "user": "u", "frequency_penalty": 1}, ChatOptions()),
    ],
)
def test_options_are_read_in_all_their_forms(fields, options):
    """What ChatOptions cannot say is passed over, as servers do."""
    assert options == request_of(body_of(**fields)).options


def test_fields_that_are_null_are_as_if_they_were_not_there():
    """Some clients send all they know."""
    names = (
        "stream",
        "stream_options",
        "n",
        "tools",
        "tool_choice",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "reasoning_effort",
        "response_format",
    )

    assert asked(USER) == request_of(body_of(**dict.fromkeys(names)))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"role": "developer", "content": "x"}, Message(Role.SYSTEM, "x")),
        ({"role": "user", "content": []}, Message(Role.USER, "")),
        ({"role": "user"}, Message(Role.USER, "")),
        (
            {
                "role": "user",
                "name": "Eve",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            Message(Role.USER, "a\nb"),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
            Message(Role.ASSISTANT, "", refusal="No"),
        ),
        (
            {"role": "assistant", "content": "So", "reasoning_content": "Hm"},
            Message(Role.ASSISTANT, "So", reasoning="Hm"),
        ),
    ],
)
def test_messages_are_read_in_all_their_forms(said, message):
    """Parts of text are lines."""
    assert (message,) == request_of(body_of(messages=[said])).messages


def test_tool_without_parameters_takes_none():
    """OpenAI: leaving them out defines a function with an empty parameter list."""
    tools = [{"type": "function", "function": {"name": "now"}}]

    none = {"type": "object", "properties": {}}
    assert (ToolDefinition("now", "", none),) == request_of(body_of(tools=tools)).tools


@pytest.mark.parametrize(
    ("url", "attachment"),
    [
        ("https://example.org/a", Attachment.from_url("https://example.org/a", "image/jpeg")),
        (
            f"data:image/png;charset=x;base64,{base64.b64encode(PNG).decode()}",
            Attachment.from_bytes(PNG, "image/png;charset=x"),
        ),
        (f"data:;base64,{base64.b64encode(PNG).decode()}", Attachment.from_bytes(PNG)),
    ],
)
def test_images_are_taken_whose_address_does_not_tell_their_type(url, attachment):
    """The bytes tell it, or the provider finds out."""
    found = request_of(parts({"type": "image_url", "image_url": {"url": url, "detail": "low"}}))

    assert (attachment,) == found.messages[0].attachments


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({"include_usage": True}, True), ({"include_usage": None}, False), ({}, False), (None, False)],
)
def test_usage_is_wanted_where_it_is_asked_for(options, wanted):
    """`stream_options` is for whoever writes the stream, and no option of the model's."""
    assert wanted is wants_usage(body_of(stream_options=options))


BAD = {
    "nothing": (b"", "no Chat Completions request"),
    "no JSON": (b"{", "no Chat Completions request"),
    "no object": (b"[]", "Expected `object`"),
    "no UTF-8": (b'{"messages":[{"role":"user","content":"\xff"}]}', "utf-8"),
    "half a character": (b'{"messages":[{"role":"user","content":"\\ud800"}]}', "no Chat Comp"),
    "too deep": (b'{"messages":[],"tools":[{"function":{"name":"f","parameters":{"a":' + DEEP,
                 "nested too deep"),
    "an endless number": (b'{"messages":[],"seed":' + b"9" * 10_000 + b"}", "seed"),
    "no messages": (b"{}", "`messages`"),
    "an empty list": (body_of(messages=[]), "messages is empty"),
    "a message that is text": (body_of(messages=["Hi"]), r"messages\[0\]"),
    "an unknown role": (body_of(messages=[{"role": "function"}]), r"messages\[0\]\.role"),
    "an unknown part": (parts({"type": "video"}), r"content\[0\]\.type"),
    "a result of no call": (
        body_of(messages=[HI, {"role": "tool", "content": "x", "tool_call_id": "a"}]),
        r"messages\[1\] is the result of 'a'",
    ),
    "a call of another kind": (
        body_of(messages=[{"role": "assistant", "tool_calls": [{"id": "a", "custom": {}}]}]),
        "`function`",
    ),
    "a tool of another kind": (body_of(tools=[{"type": "custom", "custom": {}}]), "'custom'"),
    "one tool twice": (body_of(tools=[{"function": {"name": "f"}}] * 2), "two tools are named 'f'"),
    "several choices": (body_of(n=2), r"\.n"),
    "JSON mode": (body_of(response_format={"type": "json_object"}), "'json_object'"),
    "an unknown choice": (body_of(tool_choice="some"), "tool_choice"),
    "a negative temperature": (body_of(temperature=-1), "temperature must be from 0"),
    "no number": (body_of(temperature="warm"), "temperature"),
    "an endless temperature": (b'{"messages":[],"temperature":1e999}', "out of range"),
    "an empty stop word": (body_of(stop=[""]), "stop must be"),
    "an address of another kind": (
        parts({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        r"no http\(s\) address",
    ),
    "a data URL that is not base64": (
        parts({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}),
        r"messages\[0\] has a file that is no data URL",
    ),
    "an address for a file": (
        parts({"type": "file", "file": {"file_data": "https://a/b;base64,AAAA"}}),
        r"messages\[0\] has a file that is no data URL",
    ),
    "broken base64": (
        parts({"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}),
        r"messages\[0\] has a file that is not valid base64",
    ),
    "an empty file": (
        parts({"type": "file", "file": {"file_data": "data:application/pdf;base64,"}}),
        "is empty",
    ),
    "a file by its id": (parts({"type": "file", "file": {"file_id": "f"}}), "`file_data`"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "why"), BAD.values(), ids=BAD)
def test_bad_body_is_refused_with_a_reason(body, why):
    """By an error that a view can answer with status 400."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        request_of(body)

    assert len(str(caught.value)) < 300


def test_refusal_does_not_hold_the_prompt():
    """Neither in its words nor in its cause."""
    with pytest.raises(ConfigurationError) as caught:
        request_of(b'{"messages":[{"role":"user","content":"secret \xff"}]}')

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


NAMES = st.sampled_from(
    ["messages", "role", "content", "type", "tools", "function", "name", "stop", "tool_choice",
     "text", "image_url", "url", "parameters", "tool_calls", "id", "arguments", "temperature"]
)  # fmt: skip
WORDS = st.sampled_from(["user", "tool", "assistant", "text", "image_url", "data:;base64,", "a"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields=st.dictionaries(NAMES, JSON), messages=st.lists(st.dictionaries(NAMES, JSON)))
def test_any_json_is_a_request_or_refused(fields, messages):
    """Nothing but ConfigurationError comes out of a body that is no request."""
    said = [{"role": "user", **message} for message in messages]
    body = json.dumps({**fields, "messages": said}).encode()

    try:
        found = request_of(body)
    except ConfigurationError:
        return
    assert isinstance(found, ChatRequest)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary())
def test_any_bytes_are_refused(body):
    """No few random bytes are a request."""
    with pytest.raises(ConfigurationError):
        request_of(body)
