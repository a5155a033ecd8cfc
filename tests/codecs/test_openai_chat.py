"""The request that Chat Completions gets: every role, tool, option and attachment."""

from __future__ import annotations

import json
import types

import pytest

from cloudllm_sync.attachments import Attachment
from cloudllm_sync.codecs import FEATURES, ChatRequest, WireRequest
from cloudllm_sync.codecs.openai_chat import Dialect, OpenAIChatCodec
from cloudllm_sync.errors import BadRequestError, ServerError, UnsupportedOptionError
from cloudllm_sync.values import ChatOptions, Message, Role, ToolCall, ToolDefinition

PNG = b"\x89PNG\r\n\x1a\n"
WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CALLS = (ToolCall("a", "weather", '{"city":"Köln"}'), ToolCall("b", "weather", ""))
CODEC = OpenAIChatCodec("Acme")


def encoded(*messages, codec=CODEC, tools=(), stream=False, **options):
    request = ChatRequest(
        "m", messages or (Message(Role.USER, "hi"),), tuple(tools), ChatOptions(**options), stream
    )
    return json.loads(codec.encode(request).body)


def test_plain_request_says_no_more_than_it_has_to():
    """What is not set is left to the provider."""
    assert encoded() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }


def test_path_carries_the_query():
    """Azure wants its api-version there."""
    request = ChatRequest("m", (Message(Role.USER, "hi"),), (), ChatOptions(), True)

    assert CODEC.encode(request).path == "/chat/completions"
    assert OpenAIChatCodec("A", query="?v=1").encode(request).path == "/chat/completions?v=1"


@pytest.mark.parametrize(
    ("stream", "usage_in_stream", "expected"),
    [(True, True, {"include_usage": True}), (True, False, None), (False, True, None)],
)
def test_usage_is_asked_for_in_streams(stream, usage_in_stream, expected):
    """Servers refuse `stream_options` in other requests, some in all."""
    codec = OpenAIChatCodec("Acme", Dialect(usage_in_stream=usage_in_stream))
    body = encoded(codec=codec, stream=stream)

    assert expected == body.get("stream_options")
    assert stream == body["stream"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": 2**70}, {"seed": 2**70}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"cache": True}, {}),
        ({"extra_body": {"top_k": 3, "model": "n"}}, {"top_k": 3, "model": "n"}),
    ],
)
def test_option_is_said_in_the_wires_words(options, expected):
    """Zero is a value; what is automatic is not asked for."""
    assert encoded(**options) == {**encoded(), **expected}


def test_extra_body_wins_over_everything():
    """It is the way to say what this package has no word for."""
    extra = {"messages": [], "stream_options": None, "temperature": 1, "seed": None}
    body = encoded(stream=True, temperature=0, seed=4, extra_body=extra)

    assert extra == {name: body[name] for name in extra}


def test_dialect_names_the_fields():
    """Vendors call the limit and the seed by names of their own."""
    dialect = Dialect(token_limit_field="max_completion_tokens", seed_field="random_seed")
    body = encoded(codec=OpenAIChatCodec("Acme", dialect), max_output_tokens=5, seed=6)

    assert (body["max_completion_tokens"], body["random_seed"]) == (5, 6)
    assert not {"max_tokens", "seed"} & set(body)


def test_seed_is_refused_where_there_is_none():
    """Better than to send what is ignored."""
    codec = OpenAIChatCodec("Acme", Dialect(seed_field=None))

    with pytest.raises(UnsupportedOptionError, match="Acme takes no seed: leave it out"):
        encoded(codec=codec, seed=1)
    assert codec.features == frozenset(FEATURES) - {"seed"}
    assert "seed" not in encoded(codec=codec)


def test_all_features_can_be_said():
    """The generic dialect has a word for each."""
    assert CODEC.features == frozenset(FEATURES)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message(Role.SYSTEM, "s"), {"role": "system", "content": "s"}),
        (Message(Role.USER, ""), {"role": "user", "content": ""}),
        (Message(Role.ASSISTANT, "a"), {"role": "assistant", "content": "a"}),
        (
            Message(Role.ASSISTANT, "", refusal="no"),
            {"role": "assistant", "content": "", "refusal": "no"},
        ),
        (Message(Role.USER, "u", refusal="no"), {"role": "user", "content": "u"}),
        (Message(Role.ASSISTANT, "a", reasoning="hm"), {"role": "assistant", "content": "a"}),
        (
            Message(Role.TOOL, "sunny", tool_call_id="a"),
            {"role": "tool", "content": "sunny", "tool_call_id": "a"},
        ),
    ],
)
def test_message_of_each_role(message, expected):
    """What only a reply has is not sent back."""
    assert encoded(message)["messages"] == [expected]


@pytest.mark.parametrize(("content", "sent"), [("", None), ("hm", "hm")])
def test_calls_are_sent_back(content, sent):
    """Without a text the content is null; empty arguments become an empty object."""
    (said,) = encoded(Message(Role.ASSISTANT, content, tool_calls=CALLS))["messages"]

    assert sent == said["content"]
    assert said["tool_calls"] == [
        {
            "id": "a",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
        },
        {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
    ]


def test_reasoning_state_goes_back_within_the_turn_only():
    """Providers want it with the calls of this turn, and pay no heed to older ones, or refuse."""
    state = {"reasoning_details": [{"type": "reasoning.text"}], "reasoning_content": "r", "x": 1}
    asked = Message(Role.ASSISTANT, "", tool_calls=CALLS[:1], provider_state=state)
    plain = Message(Role.ASSISTANT, "done", provider_state=state)
    result = Message(Role.TOOL, "sunny", tool_call_id="a")
    user = Message(Role.USER, "hi")
    said = encoded(user, asked, result, plain, user, asked, result)["messages"]

    own = {"reasoning_details": state["reasoning_details"], "reasoning_content": "r"}
    assert [{k: m[k] for k in (*own, "x") if k in m} for m in said] == [{}] * 5 + [own, {}]


def test_conversation_without_a_user_is_one_turn():
    """The state goes back there, too."""
    asked = Message(
        Role.ASSISTANT, "", tool_calls=CALLS[:1], provider_state={"reasoning_content": "r"}
    )

    assert encoded(asked)["messages"][0]["reasoning_content"] == "r"


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (
            Attachment.from_bytes(PNG),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ),
        (
            Attachment.from_url("https://e.com/a.jpg"),
            {"type": "image_url", "image_url": {"url": "https://e.com/a.jpg"}},
        ),
        (
            Attachment.from_bytes(b"ID3"),
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
        ),
        (
            Attachment.from_bytes(b"RIFF....WAVE"),
            {"type": "input_audio", "input_audio": {"data": "UklGRi4uLi5XQVZF", "format": "wav"}},
        ),
        (
            Attachment.from_bytes(b"%PDF-1", name="a.pdf"),
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"},
            },
        ),
        (
            Attachment.from_bytes(b"%PDF-1"),
            {
                "type": "file",
                "file": {
                    "filename": "document.pdf",
                    "file_data": "data:application/pdf;base64,JVBERi0x",
                },
            },
        ),
    ],
)
def test_attachment_becomes_a_part(attachment, expected):
    """After the text, if there is one."""
    with_text = Message(Role.USER, "see", attachments=[attachment])
    without = Message(Role.USER, "", attachments=[attachment])
    said = encoded(with_text, without)["messages"]

    assert said[0]["content"] == [{"type": "text", "text": "see"}, expected]
    assert said[1]["content"] == [expected]


@pytest.mark.parametrize(
    ("attachment", "match"),
    [
        (Attachment.from_url("https://e.com/a.pdf"), r"images only, not of application/pdf: use"),
        (Attachment.from_url("https://e.com/a.mp3"), r"images only, not of audio/mpeg: use"),
        (Attachment.from_bytes(b"x", "text/plain"), r"takes no text/plain: send"),
        (Attachment.from_bytes(b"x", "video/mp4"), r"takes no video/mp4: send"),
    ],
)
def test_attachment_the_wire_cannot_say_is_refused(attachment, match):
    """Before any I/O, with what to do."""
    with pytest.raises(UnsupportedOptionError, match=match):
        encoded(Message(Role.USER, "see", attachments=[attachment]))


def test_tools_are_functions():
    """The schema goes as it is, whatever kind of mapping it is."""
    frozen = ToolDefinition("f", "d", types.MappingProxyType({"type": "object"}))

    assert encoded(tools=[WEATHER, frozen])["tools"] == [
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
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_tool_choice_is_a_word_or_a_tool(choice, expected):
    """The name of a tool forces it."""
    assert expected == encoded(tools=[WEATHER], tool_choice=choice).get("tool_choice")


@pytest.mark.parametrize(
    ("tools", "choice", "match"),
    [
        ([], "auto", "'auto' without tools: Acme would refuse it"),
        ([WEATHER], "wether", "'wether' is none of auto, none, required .* the tools are weather"),
    ],
)
def test_tool_choice_that_cannot_be_is_refused(tools, choice, match):
    """A slip in a name is found before any I/O."""
    with pytest.raises(UnsupportedOptionError, match=match):
        encoded(tools=tools, tool_choice=choice)


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"type": "object"}, "reply"),
        ({"type": "object", "title": ""}, "reply"),
        ({"type": "object", "title": "City report, kurz \ud83c"}, "City_report__kurz__"),
        ({"type": "object", "title": "a" * 80}, "a" * 64),
    ],
)
def test_response_schema_gets_a_name(schema, name):
    """OpenAI wants one, of few characters."""
    said = encoded(response_schema=schema)["response_format"]

    assert said["type"] == "json_schema"
    assert (said["json_schema"]["name"], said["json_schema"]["strict"]) == (name, True)
    assert said["json_schema"]["schema"]["type"] == "object"


def test_lone_surrogates_in_a_request_are_replaced():
    """Text that a caller cut in mid-character must not fail with a codec's error."""
    body = encoded(
        Message(Role.USER, "a\ud83c"), tools=[WEATHER], extra_body={"k\udf27": ["\udf27", ("x", 1)]}
    )

    assert body["messages"][0]["content"] == "a\ufffd"
    assert body["k\ufffd"] == ["\ufffd", ["x", 1]]


CIRCULAR: dict = {}
CIRCULAR["self"] = CIRCULAR


@pytest.mark.parametrize(
    "extra",
    [
        {"a": object()},
        {"a": {None: 1}},
        CIRCULAR,
        {"b": "\ud83c", "a": CIRCULAR},
        {"b": {"\ud83c"}},
    ],
)
def test_what_is_no_json_is_refused(extra):
    """Objects, odd keys, circles."""
    with pytest.raises(UnsupportedOptionError, match="the request cannot be said in JSON"):
        encoded(extra_body=extra)


def refusal(body, cls=BadRequestError):
    return cls("no", status_code=400, body=body)


def streamed(codec=CODEC, **options):
    request = ChatRequest("m", (Message(Role.USER, "hi"),), (), ChatOptions(**options), True)
    return codec.encode(request)


@pytest.mark.parametrize("said", ["unknown field stream_options", "Include_Usage: not permitted"])
def test_refused_stream_options_are_left_out(said):
    """The same request again, and no more of it from then on."""
    amended = CODEC.amend(streamed(temperature=0.5), refusal(said))
    wire, codec = amended

    assert json.loads(wire.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "temperature": 0.5,
    }
    assert wire.path == "/chat/completions"
    assert b"stream_options" not in streamed(codec).body


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (streamed(), refusal("unknown field temperature")),
        (streamed(), refusal("stream_options", ServerError)),
        (WireRequest("/x", b'{"stream":false}'), refusal("stream_options")),
        (WireRequest("/x", b'{"a":{"stream_options":1}}'), refusal("stream_options")),
    ],
)
def test_other_refusals_are_not_amended(wire, error):
    """They are the caller's to know."""
    assert CODEC.amend(wire, error) is None
