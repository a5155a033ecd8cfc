"""Options, tools and the path of requests to Gemini."""

from __future__ import annotations

import json

import pytest

from cloudllm_sync.codecs import FEATURES, ChatRequest
from cloudllm_sync.codecs.gemini import GeminiCodec
from cloudllm_sync.errors import BadRequestError, UnsupportedOptionError
from cloudllm_sync.values import ChatOptions, Message, Role, ToolDefinition

WEATHER = ToolDefinition("weather", "Tells the weather", {"type": "object", "properties": {}})
CLOCK = ToolDefinition("clock", "Tells the time", {})


def wire(*, model="gemini-3.5-flash", tools=(), stream=True, **options):
    messages = (Message(Role.USER, "Hi"),)
    request = ChatRequest(model, messages, tuple(tools), ChatOptions(**options), stream)
    return GeminiCodec("Gemini").encode(request)


def body(**options):
    return json.loads(wire(**options).body)


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3.5-flash", True, "gemini-3.5-flash:streamGenerateContent?alt=sse"),
        ("gemini-3.5-flash", False, "gemini-3.5-flash:generateContent"),
        ("models/gemini-2.5-pro", False, "gemini-2.5-pro:generateContent"),
        ("a/b?c #ü\ud800", False, "a%2Fb%3Fc%20%23%C3%BC%3F:generateContent"),
    ],
)
def test_path_names_model_and_method(model, stream, path):
    """The name is quoted; the prefix that Google lists models with is not doubled."""
    assert wire(model=model, stream=stream).path == f"/v1beta/models/{path}"


def test_tools_are_declared():
    """Parameters as JSON Schema; none where there are none."""
    assert body(tools=[WEATHER, CLOCK])["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "Tells the weather",
                    "parametersJsonSchema": {"type": "object", "properties": {}},
                },
                {"name": "clock", "description": "Tells the time"},
            ]
        }
    ]


def test_schemas_go_out_whole():
    """Gemini reads JSON Schema here, and no keyword is dropped in silence."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"Day": {"type": ["string", "null"], "format": "date"}},
        "type": "object",
        "properties": {"day": {"$ref": "#/$defs/Day"}, "n": {"anyOf": [{"const": 1}]}},
        "required": ["day"],
        "additionalProperties": False,
    }
    said = body(tools=[ToolDefinition("f", "", schema)], response_schema=schema)

    assert [{"name": "f", "parametersJsonSchema": schema}] == said["tools"][0][
        "functionDeclarations"
    ]
    assert schema == said["generationConfig"]["responseJsonSchema"]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("clock", {"mode": "ANY", "allowedFunctionNames": ["clock"]}),
    ],
)
def test_tool_choice(choice, config):
    """One name is any tool of a list of one."""
    said = body(tools=[WEATHER, CLOCK], tool_choice=choice)

    assert said["toolConfig"] == {"functionCallingConfig": config}


def test_all_options_have_their_place():
    """Names as in generationConfig."""
    schema = {"type": "object", "title": "Größe"}
    said = body(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("a", "b", "c", "d", "e"),
        seed=3,
        response_schema=schema,
    )

    assert said["generationConfig"] == {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["a", "b", "c", "d", "e"],
        "seed": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-3.5-flash", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("models/gemini-3-pro-preview", "High", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-flash-latest", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash-lite", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-pro", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_effort_is_a_level_or_a_budget(model, effort, config):
    """Levels since Gemini 3, tokens before."""
    said = body(model=model, reasoning_effort=effort)

    assert said["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stop": tuple("abcdef")}, "5 stop sequences, not 6"),
        ({"reasoning_effort": "none"}, "cannot switch thinking off: use one of minimal"),
        ({"reasoning_effort": "none", "model": "gemini-3-pro"}, "'none' for 'gemini-3-pro'"),
        (
            {"reasoning_effort": "none", "model": "gemini-2.5-pro"},
            "'none' for 'gemini-2.5-pro', which cannot switch thinking off: use one of minimal",
        ),
        (
            {"reasoning_effort": "none", "model": "models/gemini-2.5-pro-preview-06-05"},
            "cannot switch thinking off",
        ),
        ({"reasoning_effort": "extreme", "model": "gemini-2.5-flash"}, "one of none, minimal"),
        ({"tool_choice": "auto"}, "without tools"),
        ({"tool_choice": "telescope", "tools": [CLOCK]}, "the tools are clock"),
    ],
)
def test_what_the_wire_cannot_say(options, says):
    """The error names the provider and what to do."""
    with pytest.raises(UnsupportedOptionError, match=says) as caught:
        wire(**options)

    assert "Gemini" in str(caught.value)


def test_extra_body_is_merged_last():
    """Into objects that are there, over all else."""
    said = json.loads(
        wire(
            max_output_tokens=9,
            tools=[CLOCK],
            extra_body={
                "generationConfig": {"topK": 4, "maxOutputTokens": 5},
                "tools": [{"googleSearch": {}}],
                "safetySettings": [],
            },
        ).body
    )

    assert said["generationConfig"] == {"topK": 4, "maxOutputTokens": 5}
    assert said["tools"] == [{"googleSearch": {}}]
    assert said["safetySettings"] == []


def test_codec_says_all_features():
    """And never asks again in other words."""
    codec = GeminiCodec("Gemini")

    assert codec.features == frozenset(FEATURES)
    assert codec.amend(wire(), BadRequestError("refused")) is None
