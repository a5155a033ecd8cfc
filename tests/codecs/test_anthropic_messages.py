"""The request that the Messages API gets, and a strict check of it written from WIRE.md."""

from __future__ import annotations

import base64
import json

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.codecs import FEATURES, WHOLE_BODY, ChatRequest, ServerSentEvent, WireRequest
from cloudllm_sync.codecs.accumulator import Accumulator
from cloudllm_sync.codecs.anthropic_messages import AnthropicMessagesCodec
from cloudllm_sync.codecs.conversation import check_order
from cloudllm_sync.errors import (
    BadRequestError,
    ConfigurationError,
    UnsupportedOptionError,
)
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall, ToolDefinition

PNG = b"\x89PNG\r\n\x1a\n"
CODEC = AnthropicMessagesCodec("Acme")
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CALLS = (ToolCall("a", "weather", '{"city":"Köln"}'), ToolCall("b", "weather", ""))
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
BLOCKS = [
    THOUGHT,
    {"type": "text", "text": "Let me look"},
    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Köln"}},
    {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
]
MARK = {"cache_control": {"type": "ephemeral"}}
NEW, OLD = "claude-sonnet-5", "claude-sonnet-4-5"


def system(text):
    return Message(Role.SYSTEM, text)


def user(text, *attachments):
    return Message(Role.USER, text, attachments=attachments)


def said(text, *calls, **fields):
    return Message(Role.ASSISTANT, text, tool_calls=calls, **fields)


def result(call_id, text):
    return Message(Role.TOOL, text, tool_call_id=call_id)


def wire(*messages, model=NEW, tools=(), stream=False, **options):
    return CODEC.encode(
        ChatRequest(model, messages or (user("hi"),), tuple(tools), ChatOptions(**options), stream)
    )


def encoded(*messages, **options):
    body = json.loads(wire(*messages, **options).body)
    if "extra_body" not in options:
        check_body(body)
    return body


def turns(*messages, **options):
    return encoded(*messages, **options)["messages"]


# What WIRE.md, section 3, lets a request hold.
BODY = {
    "model", "max_tokens", "messages", "system", "stream", "temperature", "top_p",
    "stop_sequences", "tools", "tool_choice", "thinking", "output_config",
}  # fmt: skip
FIELDS = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
SIDES = {
    "user": {"text", "image", "document", "tool_result"},
    "assistant": {"text", "tool_use", "thinking", "redacted_thinking"},
}
SOURCES = {"base64": {"media_type", "data"}, "url": {"url"}, "text": {"media_type", "data"}}


def check_block(block):
    kind = block["type"]
    assert set(block) - {"type", "cache_control"} == FIELDS[kind]
    assert block.get("cache_control") in (None, MARK["cache_control"])
    if kind == "text":
        assert block["text"].strip()
    if kind == "tool_use":
        assert isinstance(block["input"], dict)
    if kind in ("image", "document"):
        source = block["source"]
        assert set(source) - {"type"} == SOURCES[source["type"]]
        if source["type"] == "base64":
            base64.b64decode(source["data"], validate=True)


def check_turns(messages):
    roles = [turn["role"] for turn in messages]
    assert roles[0] == "user"
    assert all(left != right for left, right in zip(roles, roles[1:]))
    open_calls = []
    for turn in messages:
        assert set(turn) == {"role", "content"}
        kinds = [block["type"] for block in turn["content"]]
        assert kinds
        assert set(kinds) <= SIDES[turn["role"]]
        for block in turn["content"]:
            check_block(block)
        if turn["role"] == "user":
            results = kinds.count("tool_result")
            assert kinds[:results] == ["tool_result"] * results
            assert open_calls == [block["tool_use_id"] for block in turn["content"][:results]]
        open_calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
    assert not open_calls


def check_body(body):
    """Refuse what the Messages API would."""
    assert set(body) <= BODY
    assert isinstance(body["max_tokens"], int)
    assert body["max_tokens"] >= 1
    check_turns(body["messages"])
    if isinstance(body.get("system"), list):
        for block in body["system"]:
            assert block["type"] == "text"
            check_block(block)
    assert json.dumps(body).count('"cache_control"') <= 4
    for tool in body.get("tools", ()):
        assert set(tool) <= {"name", "description", "input_schema"}
        assert tool["input_schema"]["type"] == "object"
    assert 0 <= body.get("temperature", 1) <= 1
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    if thinking["type"] != "disabled":
        assert body.get("temperature", 1) == 1
        assert body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none")
    if "tool_choice" in body:
        assert body["tools"]


def test_plain_request_says_no_more_than_it_has_to():
    """What is not set is left to the provider, but for the limit that it wants."""
    assert encoded() == {
        "model": NEW,
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": False,
    }


@pytest.mark.parametrize("stream", [True, False])
def test_stream_is_said_in_the_body(stream):
    """The path is the same for both."""
    assert wire(stream=stream).path == "/v1/messages"
    assert encoded(stream=stream)["stream"] is stream


def test_options_have_the_names_of_this_wire():
    """Limits, sampling and stop words."""
    body = encoded(max_output_tokens=7, temperature=0.5, top_p=0.9, stop=("a", "b"))

    assert body["max_tokens"] == 7
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert body["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"tool_choice": "auto"}, "without tools"),
        ({"tool_choice": "rain", "tools": [WEATHER]}, "'rain'.*weather"),
        ({"reasoning_effort": "minimal"}, "'minimal'.*xhigh"),
        ({"reasoning_effort": "xhigh", "model": OLD}, "'xhigh'.*high"),
        ({"reasoning_effort": "low", "temperature": 0.5}, "temperature"),
        ({"reasoning_effort": "low", "model": OLD, "temperature": 0}, "temperature"),
        ({"reasoning_effort": "low", "tool_choice": "required", "tools": [WEATHER]}, "required"),
        ({"reasoning_effort": "low", "tool_choice": "weather", "tools": [WEATHER]}, "weather"),
        ({"reasoning_effort": "high", "model": OLD, "max_output_tokens": 16384}, "16384"),
    ],
)
def test_what_the_wire_cannot_say_is_refused(options, words):
    """Before any I/O, naming option and provider or tool."""
    with pytest.raises(UnsupportedOptionError, match=words):
        wire(**options)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("weather", {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choice_is_an_object(choice, expected):
    """`required` is `any` here."""
    assert encoded(tools=[WEATHER], tool_choice=choice)["tool_choice"] == expected


def test_tools_have_an_input_schema():
    """It is an object's, even if nobody says so."""
    bare = ToolDefinition("now", "", {})

    assert encoded(tools=[WEATHER, bare])["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather",
            "input_schema": {"type": "object", "properties": {}},
        },
        {"name": "now", "input_schema": {"type": "object"}},
    ]


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-7-sonnet-latest",
        "claude-3-5-haiku-20241022",
        "claude-sonnet-4",
        "claude-opus-4-0",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4@20250514",
        "claude-opus-4-1",
        "claude-opus-4-1-20250805",
        "claude-haiku-4-5",
        "claude-sonnet-4-5-20250929",
        "anthropic/claude-sonnet-4.5",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
    ],
)
def test_older_models_think_by_budget(model):
    """Dated names are of the same generation."""
    assert encoded(model=model, reasoning_effort="medium")["thinking"] == {
        "type": "enabled",
        "budget_tokens": 4096,
    }


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "claude-opus-4-8",
        "claude-opus-4-10",
        "claude-sonnet-4.6",
        "claude-opus-4-6-20260101",
        "claude-sonnet-5",
        "claude-fable-5",
        "something-else",
    ],
)
@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
def test_newer_models_think_as_they_see_fit(model, effort):
    """The effort is a word, not a budget."""
    body = encoded(model=model, reasoning_effort=effort)

    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": effort}
    assert body["max_tokens"] == 8192


@pytest.mark.parametrize("model", [NEW, OLD])
def test_no_reasoning_is_thinking_disabled(model):
    """Then temperature and forced tools are free."""
    body = encoded(
        model=model, reasoning_effort="none", temperature=0, tools=[WEATHER], tool_choice="required"
    )

    assert body["thinking"] == {"type": "disabled"}
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("effort", "given", "budget", "limit"),
    [
        ("low", None, 1024, 8192),
        ("medium", None, 4096, 8192),
        ("high", None, 16384, 24576),
        ("high", 16385, 16384, 16385),
    ],
)
def test_limit_leaves_room_beside_the_budget(effort, given, budget, limit):
    """Thinking counts into max_tokens."""
    body = encoded(model=OLD, reasoning_effort=effort, max_output_tokens=given, temperature=1)

    assert body["thinking"]["budget_tokens"] == budget
    assert body["max_tokens"] == limit


def test_schema_and_effort_share_output_config():
    """Neither may push the other out."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = encoded(response_schema=schema, reasoning_effort="low")

    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    assert encoded(response_schema=schema)["output_config"] == {
        "format": {"type": "json_schema", "schema": schema}
    }


def test_extra_body_is_merged_last():
    """It wins over all."""
    body = encoded(max_output_tokens=5, extra_body={"max_tokens": 6, "top_k": 3})

    assert (body["max_tokens"], body["top_k"]) == (6, 3)


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


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (
            Attachment.from_bytes(PNG),
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/png",
                    "data": base64.b64encode(PNG).decode(),
                },
            },
        ),
        (
            Attachment.from_url("https://x.org/a.jpg"),
            {"type": "image", "source": {"type": "url", "url": "https://x.org/a.jpg"}},
        ),
        (
            Attachment.from_bytes(b"%PDF-1", name="a.pdf"),
            {
                "type": "document",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": base64.b64encode(b"%PDF-1").decode(),
                },
            },
        ),
        (
            Attachment.from_url("https://x.org/a.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://x.org/a.pdf"}},
        ),
        (
            Attachment.from_bytes("Größe".encode(), "text/plain"),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Größe"},
            },
        ),
    ],
)
@pytest.mark.parametrize("text", ["look", ""])
def test_attachments_come_before_the_text(attachment, expected, text):
    """Claude reads images best so; text is not needed beside them."""
    blocks = turns(user(text, attachment))[0]["content"]

    assert blocks == [expected] + ([{"type": "text", "text": text}] if text else [])


@pytest.mark.parametrize(
    "attachment",
    [
        Attachment.from_bytes(b"ID3..."),
        Attachment.from_bytes(b"RIFF....WAVE"),
        Attachment.from_bytes(b"<svg/>", "image/svg+xml"),
        Attachment.from_bytes(b"PK", "application/zip"),
        Attachment.from_url("https://x.org/a.txt"),
        Attachment.from_url("https://x.org/a.wav"),
    ],
)
def test_attachments_that_the_wire_cannot_say_are_refused(attachment):
    """Audio, formats that Claude does not read, and addresses of anything but images and PDF."""
    with pytest.raises(UnsupportedOptionError, match="Acme takes no"):
        wire(user("hi", attachment))


@pytest.mark.parametrize(("name", "shown"), [("a.txt", "a.txt"), (None, "an attachment")])
def test_text_that_is_not_utf_8_is_refused(name, shown):
    """It would be sent mangled."""
    with pytest.raises(ConfigurationError, match=shown):
        wire(user("hi", Attachment.from_bytes(b"\xff\xfe", "text/plain", name=name)))


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


def test_cut_call_is_refused_with_reply_blocks_too():
    """The blocks have no more of the arguments than the message."""
    call = ToolCall("a", "weather", '{"city":')
    reply = said("", call, provider_state={"anthropic_blocks": BLOCKS[:3]})

    with pytest.raises(ConfigurationError, match="token limit"):
        wire(user("hi"), reply, result("a", "x"))


def marks(turn):
    return [block.get("cache_control") == {"type": "ephemeral"} for block in turn["content"]]


def test_cache_marks_system_history_and_newest_turn():
    """What the next request repeats, and what this one repeats."""
    body = encoded(
        system("a"), system("b"), user("one"), said("two"), said("three"), user("4"), user("5"),
        cache=True,
    )  # fmt: skip

    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **MARK}]
    assert [marks(turn) for turn in body["messages"]] == [[False], [False, True], [False, True]]


def test_cache_marks_the_only_turn():
    """One system prompt becomes a block, to carry its mark."""
    body = encoded(system("a"), user("one"), cache=True)

    assert body["system"] == [{"type": "text", "text": "a", **MARK}]
    assert marks(body["messages"][0]) == [True]
    assert "cache_control" not in json.dumps(encoded(system("a"), user("one"), cache=False))


def test_cache_never_marks_thinking_nor_the_callers_blocks():
    """The API refuses marks on thinking; the reply may be sent again without them."""
    blocks = [{"type": "text", "text": "a"}, THOUGHT]
    reply = said("a", finish_reason="pause", provider_state={"anthropic_blocks": blocks})
    only = said("", finish_reason="pause", provider_state={"anthropic_blocks": [THOUGHT]})
    got = turns(user("hi"), reply, user("go on"), cache=True)

    assert [marks(turn) for turn in got] == [[False], [True, False], [True]]
    assert blocks == [{"type": "text", "text": "a"}, THOUGHT]
    assert marks(turns(user("hi"), only, user("go on"), cache=True)[1]) == [False]


def test_prefill_is_the_assistants_last_word():
    """Older models go on from it; the newest user turn is still the one that is marked."""
    got = turns(user("one"), said("{"), cache=True)

    assert [turn["role"] for turn in got] == ["user", "assistant"]
    assert [marks(turn) for turn in got] == [[True], [False]]


def test_lone_surrogates_do_not_crash():
    """No UTF-8 can say them."""
    reply = said("", ToolCall("a", "weather", '{"c":"\\ud83c"}'))
    body = encoded(system("\ud83c"), user("a\udf27"), reply, result("a", "\ud83c"))

    assert body["system"] == "\ufffd"
    assert body["messages"][0]["content"][0]["text"] == "a\ufffd"


def test_features_are_all_but_audio_and_seed():
    """Declared for the table of providers."""
    assert CODEC.features == frozenset(FEATURES) - {"audio", "seed"}


def test_refused_requests_are_not_amended():
    """There is nothing that this wire says in two ways."""
    assert CODEC.amend(WireRequest("/v1/messages", b"{}"), BadRequestError("x")) is None


def test_whole_reply_can_be_sent_back():
    """From the reply's body to the next request, nothing of its blocks is lost."""
    data = json.dumps({"type": "message", "content": BLOCKS, "stop_reason": "tool_use"})
    decoder = CODEC.decoder()
    arrived = Accumulator()
    for chunk in decoder.feed(ServerSentEvent(data.encode(), WHOLE_BODY)):
        arrived.add(chunk)
    reply = arrived.message(decoder.facts)

    assert turns(user("hi"), reply, result("a", "x"), result("b", "y"))[1]["content"] == BLOCKS


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
            calls = [ToolCall(f"{number}-{at}", "f", text) for at, text in enumerate(written)]
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
