"""Conversations as Gemini gets them: turns, attachments, calls and results."""

from __future__ import annotations

import json

import pytest
from gemini_request import (
    MADE,
    PNG,
    assistant,
    body,
    result,
    wire,
)

from cloudllm_sync.errors import ConfigurationError, UnsupportedOptionError
from cloudllm_sync.values import (
    Attachment,
    Message,
    Role,
    ToolCall,
)

UNSIGNED = "skip_thought_signature_validator"


def test_plain_question_is_one_turn():
    """Nothing is said that was not asked for."""
    assert body("Hi") == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_refusal_is_sent_back_as_text():
    """Beside calls as well, which other wires may give it."""
    said = body(
        [Message(Role.USER, "Hi"), assistant("A", ToolCall("x", "f", ""), refusal="No"),
         result("x", "1")]
    )  # fmt: skip

    assert [{"text": "A"}, {"text": "No"}] == said["contents"][1]["parts"][:2]


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
                {"functionCall": {"name": "dice", "args": {}}, "thoughtSignature": UNSIGNED},
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


@pytest.mark.parametrize(
    "text",
    [
        "", "sunny", "{half", "null", '"x"', "[" * 100_000, '{"a": NaN}', '{"a": -Infinity}',
        '{"a": {"$ref": "#/$defs/A"}}',
    ],
)  # fmt: skip
def test_result_that_is_no_object_is_wrapped(text):
    """Gemini takes objects only, no numbers but JSON's, and no "$ref" of others."""
    said = body(
        [Message(Role.USER, "Hi"), assistant("", ToolCall("x", "f", "")), result("x", text)]
    )

    assert said["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": text}


def test_lone_surrogates_become_replacement_characters():
    """No UTF-8 can say them."""
    assert body("a\ud800")["contents"][0]["parts"][0]["text"] == "a\ufffd"


FOREIGN = [
    Message(Role.USER, "Hi"),
    assistant("", ToolCall("functions.f:0", "f", ""), ToolCall("", "g", "")),
    result("functions.f:0", "1"),
    result("", "2"),
    assistant("", ToolCall("functions.f:0", "f", "")),
    result("functions.f:0", "3"),
]


@pytest.mark.parametrize("model", ["gemini-3-pro-preview", "gemini-3.5-flash", "gemini-pro-latest"])
def test_calls_of_other_providers_are_marked_as_unsigned(model):
    """The first of each step: Gemini 3 refuses those without a signature."""
    contents = body(FOREIGN, model=model)["contents"]

    signatures = [
        part.get("thoughtSignature")
        for content in contents
        for part in content["parts"]
        if "functionCall" in part
    ]
    assert [UNSIGNED, None, UNSIGNED] == signatures


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-2.0-flash", "models/gemini-1.5-pro"])
def test_older_models_want_no_signatures(model):
    """They are not known to take the mark."""
    assert "thoughtSignature" not in json.dumps(body(FOREIGN, model=model))


def test_ids_of_other_providers_go_out_as_they_are():
    """Google matches by them; an empty one is left out."""
    parts = body(FOREIGN)["contents"][1]["parts"]

    assert ["functions.f:0", None] == [part["functionCall"].get("id") for part in parts]
