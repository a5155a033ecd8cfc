"""Any conversation in Chat Completions, held against what wire/WIRE.md, section 1, says it is."""

from __future__ import annotations

import base64
import json
import re

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync import LLMSession
from cloudllm_sync.attachments import Attachment
from cloudllm_sync.clients.azure import AzureOpenAIClient
from cloudllm_sync.clients.compatible import OpenAICompatibleClient
from cloudllm_sync.clients.grok import GrokClient
from cloudllm_sync.clients.openai import OpenAIClient
from cloudllm_sync.errors import ConfigurationError, UnsupportedOptionError
from cloudllm_sync.testing import FakeServer, Raw
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall, ToolDefinition

PNG = b"\x89PNG\r\n\x1a\n"
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CLOCK = ToolDefinition("clock", "Tells the time", {})

# What differs from vendor to vendor: the limit's name, the seed's, the word for "some tool".
VENDORS = {
    "openai": ("max_completion_tokens", "seed", "required"),
    "azure": ("max_completion_tokens", "seed", "required"),
    "xai": ("max_completion_tokens", "seed", "required"),
    "mistral": ("max_tokens", "random_seed", "any"),
    "perplexity": ("max_tokens", None, "required"),
    "openrouter": ("max_tokens", "seed", "required"),
    "deepseek": ("max_tokens", "seed", "required"),
}
_FIELDS = {
    "model": str,
    "messages": list,
    "stream": bool,
    "stream_options": dict,
    "temperature": (int, float),
    "top_p": (int, float),
    "stop": list,
    "reasoning_effort": str,
    "tools": list,
    "tool_choice": (str, dict),
    "response_format": dict,
}


def client_of(vendor, address="http://127.0.0.1:1"):
    if vendor == "azure":
        return AzureOpenAIClient("m", base_url=f"{address}/openai/v1", api_key="k")
    if vendor in ("openai", "xai"):
        kind = {"openai": OpenAIClient, "xai": GrokClient}[vendor]
        return kind("m", base_url=f"{address}/v1", api_key="k")
    return OpenAICompatibleClient("m", base_url=f"{address}/v1", provider_name=vendor)


def only(said, required, optional=()):
    """An object with all of the required fields, and no others than the optional ones."""
    assert isinstance(said, dict)
    assert set(required) <= set(said) <= {*required, *optional}


def check_body(said, vendor):
    """The body is what section 1 documents, and no field of it is unknown or empty."""
    limit, seed, _ = VENDORS[vendor]
    kinds = {**_FIELDS, limit: int, **({seed: int} if seed else {})}
    only(said, ["model", "messages", "stream"], kinds)
    for name, value in said.items():
        assert isinstance(value, kinds[name]), name
        assert value or not isinstance(value, (str, list, dict)), name
    assert "stream_options" not in said or said["stream"]
    assert said.get("stream_options", {"include_usage": True}) == {"include_usage": True}
    assert all(isinstance(word, str) and word for word in said.get("stop", []))
    assert len(said.get("stop", [])) <= 4 or vendor not in ("openai", "azure")
    check_tools(said, vendor)
    waiting = []
    for message in said["messages"]:
        if message["role"] != "tool":
            assert waiting == [], "a call without a result"
        waiting = check_message(message, waiting)
        if vendor == "mistral":
            assert all(re.fullmatch(r"[A-Za-z0-9]{9}", call_id) for call_id in waiting)
    assert waiting == [], "a call without a result"


def check_tools(said, vendor):
    names = []
    for tool in said.get("tools", []):
        only(tool, ["type", "function"])
        assert tool["type"] == "function"
        only(tool["function"], ["name", "description", "parameters"])
        assert isinstance(tool["function"]["parameters"], dict)
        names.append(tool["function"]["name"])
    assert len(names) == len(set(names))
    choice = said.get("tool_choice")
    if isinstance(choice, dict):
        only(choice, ["type", "function"])
        assert choice["type"] == "function"
        only(choice["function"], ["name"])
        assert choice["function"]["name"] in names
    elif choice is not None:
        assert names
        assert choice in ("auto", "none", VENDORS[vendor][2])
    if "response_format" in said:
        only(said["response_format"], ["type", "json_schema"])
        assert said["response_format"]["type"] == "json_schema"
        only(said["response_format"]["json_schema"], ["name", "schema", "strict"])
        assert re.fullmatch(r"[\w-]{1,64}", said["response_format"]["json_schema"]["name"], re.A)


def check_message(message, waiting):
    """The ids of the calls that have no result yet, once this message has been said."""
    role, content = message["role"], message["content"]
    if role == "tool":
        only(message, ["role", "content", "tool_call_id"])
        assert isinstance(content, str)
        assert message["tool_call_id"] in waiting
        return [call_id for call_id in waiting if call_id != message["tool_call_id"]]
    if role == "assistant":
        return check_assistant(message)
    assert role in ("system", "user")
    only(message, ["role", "content"])
    if role == "user" and isinstance(content, list):
        assert content
        for at, part in enumerate(content):
            check_part(part, first=at == 0)
    else:
        assert isinstance(content, str)
    return []


def check_assistant(message):
    reasoning = ["reasoning_details", "reasoning_content"]
    only(message, ["role", "content"], ["refusal", "tool_calls", *reasoning])
    calls = message.get("tool_calls")
    assert isinstance(message["content"], str) or (calls and message["content"] is None)
    assert message.get("refusal", "no") != ""
    if calls is None:
        assert not set(reasoning) & set(message)
        return []
    assert calls
    for call in calls:
        only(call, ["id", "type", "function"])
        assert call["id"]
        assert call["type"] == "function"
        only(call["function"], ["name", "arguments"])
        assert call["function"]["name"]
        assert call["function"]["arguments"].strip()
    ids = [call["id"] for call in calls]
    assert len(ids) == len(set(ids))
    return ids


def check_part(part, *, first):
    kind = part["type"]
    only(part, ["type", {"text": "text", "file": "file"}.get(kind, kind)])
    if kind == "text":
        assert first
        assert part["text"]
    elif kind == "image_url":
        only(part["image_url"], ["url"], ["detail"])
        assert re.match(r"https?://|data:image/\w+;base64,", part["image_url"]["url"])
        check_base64(part["image_url"]["url"])
    elif kind == "input_audio":
        only(part["input_audio"], ["data", "format"])
        assert part["input_audio"]["format"] in ("wav", "mp3")
        base64.b64decode(part["input_audio"]["data"], validate=True)
    else:
        only(part["file"], ["filename", "file_data"])
        assert part["file"]["filename"]
        assert part["file"]["file_data"].startswith("data:application/pdf;base64,")
        check_base64(part["file"]["file_data"])


def check_base64(url):
    if url.startswith("data:"):
        assert base64.b64decode(url.partition(",")[2], validate=True)


# --- any conversation ---

TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", "\ud83c"]), st.text(st.characters(exclude_categories=()))
)
ATTACHMENTS = st.sampled_from(
    [
        Attachment.from_bytes(PNG),
        Attachment.from_url("https://x.org/a.png"),
        Attachment.from_bytes(b"%PDF-1"),
        Attachment.from_bytes(b"%PDF-1", name="a.pdf"),
        Attachment.from_bytes(b"ID3"),
        Attachment.from_bytes(b"RIFF....WAVE"),
        Attachment.from_url("https://x.org/a.pdf"),
        Attachment.from_bytes(b"text", "text/plain"),
    ]
)
ARGUMENTS = st.sampled_from(["", " \n", "{}", '{"a":[1,null,"ü"]}', '{"cut":', "[]"])
STATES = st.sampled_from(
    [
        None,
        {},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}]},
        {"reasoning_content": "hm", "gemini_parts": [{}], "anthropic_blocks": [{}]},
    ]
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
                message,
                tool_calls=tuple(calls),
                reasoning=draw(TEXTS),
                refusal=draw(TEXTS),
                provider_state=draw(STATES),
            )
        messages.append(message)
        for call in draw(st.permutations(message.tool_calls)):
            messages.append(Message(Role.TOOL, draw(TEXTS), tool_call_id=call.id))
    return messages


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_output_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.lists(st.sampled_from(["a", "\n", "\ud83c"]), max_size=6),
        "seed": st.integers(-5, 2**40),
        "reasoning_effort": st.sampled_from(["none", "low", "high"]),
        "tool_choice": st.sampled_from(["auto", "none", "required", "weather", "unknown"]),
        "response_schema": st.sampled_from([{}, {"type": "object", "title": "Über %"}]),
        "cache": st.booleans(),
    },
)
TOOLS = st.sampled_from([(), (WEATHER,), (WEATHER, CLOCK)])


CLIENTS = {vendor: client_of(vendor) for vendor in VENDORS}  # they open nothing until asked


def body_of(vendor, messages, tools, options, *, stream):
    """What the client of this vendor would post."""
    client = CLIENTS[vendor]
    request = client._request(messages, tools, ChatOptions(**options), stream=stream)
    return json.loads(client._codec.encode(request).body.decode("utf-8"))


@pytest.mark.parametrize("vendor", VENDORS)
@given(conversations(), TOOLS, OPTIONS, st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_any_conversation_is_encoded_or_refused(vendor, messages, tools, options, stream):
    """What leaves is what the vendor takes; all else is an error before any I/O."""
    try:
        body = body_of(vendor, messages, tools, options, stream=stream)
    except (UnsupportedOptionError, ConfigurationError):
        return
    check_body(body, vendor)
    assert len(body["messages"]) == len(messages)


@pytest.mark.parametrize(("vendor", "limit"), [("openai", 4), ("azure", 4), ("deepseek", 16)])
def test_stop_words_are_counted_where_the_vendor_counts_them(vendor, limit):
    """OpenAI takes four; others, and local servers, take more."""
    words = [str(number) for number in range(limit)]
    body = body_of(vendor, "hi", (), {"stop": words}, stream=True)

    check_body(body, vendor)
    assert body["stop"] == words


@pytest.mark.parametrize("vendor", ["openai", "azure"])
def test_more_stop_words_than_the_vendor_takes_are_refused(vendor):
    """Before any I/O, with the number."""
    with pytest.raises(UnsupportedOptionError, match=r"5 stop words: .*OpenAI takes 4 at most"):
        body_of(vendor, "hi", (), {"stop": list("abcde")}, stream=True)


def test_mistral_has_a_word_of_its_own_for_some_tool():
    """`any` is what `required` is elsewhere."""
    options = {"tool_choice": "required"}

    assert body_of("mistral", "hi", (WEATHER,), options, stream=True)["tool_choice"] == "any"


def test_mistral_gets_ids_of_nine_letters_and_digits():
    """Calls that another provider made keep their results; Mistral's own ids stay as they are."""
    ids = ["call_x9", "call_y9", "AbCd12345"]
    calls = [ToolCall(call_id, "weather", "{}") for call_id in ids]
    results = [Message(Role.TOOL, "sunny", tool_call_id=call_id) for call_id in ids]
    messages = [Message(Role.USER, "hi"), Message(Role.ASSISTANT, "", tool_calls=calls), *results]
    first, again = (body_of("mistral", messages, (), {}, stream=True) for _ in range(2))

    check_body(first, "mistral")
    sent = [call["id"] for call in first["messages"][1]["tool_calls"]]
    assert len(set(sent)) == 3
    assert sent[2] == "AbCd12345"
    assert sent == [message["tool_call_id"] for message in first["messages"][2:]]
    assert first == again


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_blank_arguments_become_an_empty_object(blank):
    """Servers parse them; a call without arguments is written in many ways."""
    call = ToolCall("a", "weather", blank)
    messages = [
        Message(Role.USER, "hi"),
        Message(Role.ASSISTANT, "", tool_calls=[call]),
        Message(Role.TOOL, "sunny", tool_call_id="a"),
    ]
    sent = body_of("openai", messages, (), {}, stream=True)["messages"][1]

    assert sent["tool_calls"][0]["function"]["arguments"] == "{}"


# --- the round trip: a reply decoded from a stream goes back as the vendor wants it ---


def events(*deltas, finish="tool_calls"):
    """A stream of these deltas."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    said = [{"id": "c1", "model": "m", "choices": [choice]} for choice in choices]
    return Raw(*(f"data: {json.dumps(event)}\n\n".encode() for event in said), b"data: [DONE]\n\n")


CALL_DELTAS = (
    {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "weather"}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Köln"}'}}]},
    {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "clock", "arguments": ""}}]},
)


def detail(text, **more):
    return {"type": "reasoning.text", "text": text, "format": "anthropic-v1", "index": 0, **more}


ENCRYPTED = {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1}
ROUND_TRIPS = {
    "openrouter": (
        (
            {"content": "", "reasoning": "Let", "reasoning_details": [detail("Let")]},
            {"content": "", "reasoning": " me", "reasoning_details": [detail(" me")]},
            {"content": "", "reasoning_details": [detail("", signature="sig")]},
            {"content": "", "reasoning_details": [ENCRYPTED]},
        ),
        {"reasoning_details": [detail("Let me", signature="sig"), ENCRYPTED]},
    ),
    "deepseek": (
        (
            {"content": None, "reasoning_content": "Let"},
            {"content": None, "reasoning_content": " me"},
            {"content": "Looking.", "reasoning_content": None},
        ),
        {"reasoning_content": "Let me"},
    ),
    "openai": (({"content": "Looking."},), {}),
    "mistral": (
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me"}]}]},),
        {},
    ),
}


@pytest.mark.parametrize("way", ["ask", "stream"])
@pytest.mark.parametrize("vendor", ROUND_TRIPS)
def test_tool_loop_goes_round(vendor, way):
    """System, image, parallel calls, their results and the reasoning: every request is strict."""
    deltas, state = ROUND_TRIPS[vendor]
    script = [events(*deltas, *CALL_DELTAS), events({"content": "Sunny."}, finish="stop")] * 2
    tools = [WEATHER, CLOCK]
    with FakeServer(*script) as server, client_of(vendor, server.url) as client:
        session = LLMSession(client, "Be brief.")
        for _ in range(2):
            image = Attachment.from_bytes(PNG)
            turn = getattr(session, way)("Where is this?", tools, attachments=[image])
            reply = turn if way == "ask" else turn.result()
            for call in reply.tool_calls:
                session.inject_message(Role.TOOL, f"{call.name}: fine", tool_call_id=call.id)
            session.send_current_history(tools)
        bodies = [request.json for request in server.requests]

    for body in bodies:
        check_body(body, vendor)
    roles = ["system", "user", "assistant", "tool", "tool"]
    assert [message["role"] for message in bodies[1]["messages"]] == roles
    names = ("reasoning_details", "reasoning_content")
    kept = [
        {name: said[name] for name in names if name in said}
        for body in (bodies[1], bodies[3])
        for said in body["messages"]
        if said.get("tool_calls")
    ]
    # The second turn sends its own reasoning only, not that of the turn before.
    assert kept == [state, {}, state]
    calls = bodies[1]["messages"][2]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ['{"city":"Köln"}', "{}"]
